"""The command line `batch-processor`."""
