"""A batch between its runs: how far it is, when it stops, which rows lack a result and which are run again."""
