"""Row to target input: the input mapping, its types and the input schema."""
