"""Results as a file in S3: CSV, JSON lines or Parquet, a line for every row."""
