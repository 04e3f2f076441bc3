"""The embedded stack: a local AWS in a process of its own."""
