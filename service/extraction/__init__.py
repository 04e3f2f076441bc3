"""Output to fields: what a target gave, read by the output mapping."""
