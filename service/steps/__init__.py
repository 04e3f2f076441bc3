"""What the steps of the state machine do, one module for each."""
