"""A mapping file drafted for a source and a target."""
