"""The queues the app writes to, over REST."""
