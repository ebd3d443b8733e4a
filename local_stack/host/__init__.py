"""The Functions host's side. The worker that it starts is Microsoft's library."""
