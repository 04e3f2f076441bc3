"""The web view of a stack."""
