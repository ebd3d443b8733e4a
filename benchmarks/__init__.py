"""What the code costs, as a ratio against the least that could do."""
