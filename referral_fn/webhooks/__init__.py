"""Partner Center webhooks: who signed a notification."""
