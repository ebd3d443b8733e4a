"""Serving an aiohttp application on a port of this machine."""

import contextlib
import socket
import ssl
from collections.abc import AsyncIterator

from aiohttp import web

HOST = "127.0.0.1"


def is_free(port: int) -> bool:
    """Whether the port is free."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def free_port(preferred: int = 0) -> int:
    """The preferred port, or another one if it is taken."""
    if preferred and is_free(preferred):
        return preferred
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


@contextlib.asynccontextmanager
async def serving(
    app: web.Application, port: int = 0, tls: ssl.SSLContext | None = None, *, grace: float = 0
) -> AsyncIterator[str]:
    """Serve the application. Yields its URL.

    Args:
        app: what is served.
        port: the preferred port; if it is taken, another one is used.
        tls: serves HTTPS.
        grace: seconds that requests in flight may take to finish; with none, a request ends when its client hangs up.
    """
    runner = web.AppRunner(app, access_log=None, handler_cancellation=not grace, shutdown_timeout=grace)
    await runner.setup()
    try:
        site = web.TCPSite(runner, HOST, port if port and is_free(port) else 0, ssl_context=tls)
        await site.start()
        yield f"{'https' if tls else 'http'}://{HOST}:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()
