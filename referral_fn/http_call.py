"""One HTTP call with a bound on its time and on the size of its answer."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import aiohttp
from multidict import CIMultiDictProxy

MAX_BODY = 1024 * 1024
"""Bytes of an answer that are read unless the caller says otherwise."""


class NoResponseError(Exception):
    """No complete answer arrived. The text is the kind of failure, without the URL or any payload."""

    def __init__(self, kind: str, *, timed_out: bool = False) -> None:
        super().__init__(kind)
        self.timed_out = timed_out


class Response(NamedTuple):
    """An answer, read up to the limit."""

    status: int
    headers: CIMultiDictProxy[str]
    body: bytes
    truncated: bool = False
    """Whether the body is longer than the limit; `body` is then longer than the limit, too, but not whole."""


async def send(
    session: aiohttp.ClientSession,
    method: str,
    url: str,
    *,
    seconds: float,
    max_bytes: int = MAX_BODY,
    connect_seconds: float | None = None,
    headers: Mapping[str, str] | None = None,
    **options: Any,
) -> Response:
    """Send a request and read its answer, following no redirect.

    Args:
        session: the connections to use.
        method: the HTTP method.
        url: where to.
        seconds: the time for everything, connecting and reading included.
        max_bytes: where reading stops.
        connect_seconds: the part of the time that connecting may take.
        headers: to send.
        options: passed on to aiohttp, such as `data`, `json` or `middlewares`.

    Raises:
        NoResponseError: time ran out, or the connection failed.
    """
    timeout = aiohttp.ClientTimeout(total=max(seconds, 0.001), sock_connect=connect_seconds)
    body = bytearray()
    try:
        async with session.request(
            method, url, headers=headers, timeout=timeout, allow_redirects=False, **options
        ) as answer:
            async for chunk in answer.content.iter_any():
                body += chunk
                if len(body) > max_bytes:
                    _abort(answer)
                    break
    except TimeoutError:
        raise NoResponseError("timeout", timed_out=True) from None
    except aiohttp.ClientError as error:
        raise NoResponseError(type(error).__name__) from None
    return Response(answer.status, answer.headers, bytes(body), truncated=len(body) > max_bytes)


def _abort(answer: aiohttp.ClientResponse) -> None:
    """Drop the connection at once: an orderly end of TLS would wait for a server that does not stop sending."""
    if answer.connection and answer.connection.transport:
        answer.connection.transport.abort()
