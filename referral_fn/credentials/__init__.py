"""Access tokens, and where they come from."""
