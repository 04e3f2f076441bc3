"""Lambda handlers: one thin module per Task state of the state machine."""
