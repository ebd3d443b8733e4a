"""What the code costs, relative to the least work that is possible."""
