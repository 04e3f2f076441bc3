"""What a batch costs at AWS: prices, usage, the workload that usage follows from, the estimate."""
