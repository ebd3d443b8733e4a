"""The environment of an app with the fewest settings that it accepts, for tests that call no queue."""

ACCOUNT = "https://acme.queue.core.windows.net"
ENVIRONMENT = {
    "REFERRALS_AUTH": "managed-identity",
    "EVENTS_URL": f"{ACCOUNT}/events",
    "REJECTS_URL": f"{ACCOUNT}/rejects",
    "REQUESTS_URL": f"{ACCOUNT}/requests",
}
