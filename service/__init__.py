"""The batch processor: a CSV, row by row, through a tool or an agent, and back to a CSV."""
