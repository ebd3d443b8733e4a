"""HTTP for the page: security headers, the check for other websites, static files, JSON bodies and errors."""

import contextlib
import json
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from pathlib import Path
from typing import Any

from aiohttp import web

_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}


@web.middleware
async def reject_other_origins(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Refuse cross-origin requests, and host names that DNS rebinding points at this machine."""
    port = request.get_extra_info("sockname")[1]
    own = {f"127.0.0.1:{port}", f"localhost:{port}"}
    origin = request.headers.get("Origin")
    if request.host not in own or (origin is not None and origin.removeprefix("http://") not in own):
        return error(f"Only available to this machine, at http://127.0.0.1:{port}.", HTTPStatus.FORBIDDEN)
    return await handler(request)


async def add_security_headers(request: web.Request, response: web.StreamResponse) -> None:
    """Add the headers to everything but the app's own responses."""
    if not request.path.startswith("/api/"):
        response.headers.update(_HEADERS)


def static_file(path: Path) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """A handler that serves one file."""

    async def serve(_: web.Request) -> web.StreamResponse:
        return web.FileResponse(path)

    return serve


async def json_object(request: web.Request) -> dict[str, Any]:
    """The body as a JSON object; empty if the body is anything else."""
    with contextlib.suppress(ValueError):
        if isinstance(body := json.loads(await request.read()), dict):
            return body
    return {}


def error(message: str, status: HTTPStatus = HTTPStatus.BAD_REQUEST) -> web.Response:
    """A response with an error message for the page to show."""
    return web.json_response({"error": message}, status=status)
