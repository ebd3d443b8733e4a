"""One HTTP call with an access token, which is replaced once if the service refuses it."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import aiohttp

from referral_fn import http_call
from referral_fn.credentials.token_source import TokenSource
from referral_fn.http_call import Response


async def send(
    session: aiohttp.ClientSession,
    tokens: TokenSource,
    scope: str,
    method: str,
    url: str,
    *,
    headers: Mapping[str, str] | None = None,
    **options: Any,
) -> Response:
    """Send a request with a token. After a 401, send it once more with a new token, if there is one.

    Args:
        session: the connections to use.
        tokens: where the token comes from.
        scope: the token's.
        method: the HTTP method.
        url: where to.
        headers: to send beside the token.
        options: passed on to `http_call.send`.

    Raises:
        NoResponseError: as `http_call.send`.
        RetryableError: `token-unavailable`.
    """

    async def with_token(token: str) -> Response:
        sent = {"Authorization": f"Bearer {token}", **(headers or {})}
        return await http_call.send(session, method, url, headers=sent, **options)

    token = await tokens.token(scope)
    response = await with_token(token)
    if response.status != HTTPStatus.UNAUTHORIZED:
        return response
    replacement = await tokens.token(scope, refused=token)
    return response if replacement == token else await with_token(replacement)
