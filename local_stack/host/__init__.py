"""The Functions host's side."""
