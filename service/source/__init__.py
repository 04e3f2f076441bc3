"""The source CSV: its encoding, its rows as exact bytes, its chunks."""
