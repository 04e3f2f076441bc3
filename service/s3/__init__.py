"""Objects in S3: found, read to their last byte, written in parts."""
