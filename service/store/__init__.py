"""DynamoDB: the three tables, and the fast paths for results."""
