"""The optional table: what the app remembers between invocations."""
