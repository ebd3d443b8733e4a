"""A cache of access tokens, which shares one request between all callers that wait for the same token."""

import asyncio
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from azure.core.credentials import AccessToken
from azure.core.exceptions import AzureError
from azure.identity.aio import DefaultAzureCredential, ManagedIdentityCredential

from referral_fn import log
from referral_fn.credentials import aadsts
from referral_fn.errors import RetryableError
from referral_fn.single_flight import SingleFlight

PATIENCE = 8
"""Seconds that one caller waits for a token. The request goes on for later callers, for up to `REQUEST_TIMEOUT`."""

REQUEST_TIMEOUT = 30
"""Seconds that a credential may take. It is then cancelled, so that later callers do not wait for a hung connection."""

COOL_DOWN = 60
"""Seconds between two renewals because of a refused token, and before a failed renewal is tried again."""

MARGIN = 300
"""Seconds before its expiry from which a token is renewed. azure-identity uses the same, and has none cached then."""

_MARGIN_SHARE = 1 / 5
"""The share of its lifetime that replaces `MARGIN` for a token that lives less than 25 minutes."""

_MAX_LIFETIME = 24 * 3600
"""Seconds. The longest lifetime of any Entra ID token, that of a managed identity's."""

_TOKEN = re.compile(r"[\x21-\x7e]{1,65536}")
_MALFORMED = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)
"""What azure-identity raises when an answer lacks a field, or has one of another type or value than documented."""


class Credential(Protocol):
    """The methods of azure-identity's credentials that are used here."""

    async def get_token(self, *scopes: str) -> AccessToken:
        """Get a token, cached or new."""

    async def close(self) -> None:
        """Close its connections."""


@dataclass(slots=True)
class _CachedToken:
    text: str
    expires_at: float
    renew_at: float


class TokenSource:
    """Access tokens by scope, each kept until shortly before it expires.

    Each scope has a credential of its own, so that replacing one cannot disturb a request for another scope.
    """

    def __init__(self, make_credential: Callable[[], Credential]) -> None:
        self._make_credential = make_credential
        self._credentials: dict[str, Credential] = {}
        self._tokens: dict[str, _CachedToken] = {}
        self._requests: SingleFlight[str, _CachedToken] = SingleFlight()
        self._renewed_at: dict[str, float] = {}

    async def token(self, scope: str, *, refused: str | None = None, seconds: float = PATIENCE) -> str:
        """Get a token for a scope.

        Args:
            scope: such as `https://storage.azure.com/.default`.
            refused: a token that the service just answered 401 to. If it is still the current one, it is replaced by a
                new one; but only once per `COOL_DOWN` for all callers together. Until then it is returned again.
            seconds: how long to wait, up to `PATIENCE`.

        Raises:
            RetryableError: `token-unavailable`, with the cause in one sentence.
        """
        cached = self._tokens.get(scope)
        is_refused = cached is not None and cached.text == refused
        replace = is_refused and time.monotonic() - self._renewed_at.get(scope, -COOL_DOWN) >= COOL_DOWN
        is_being_replaced = is_refused and scope in self._requests
        if cached and not replace and not is_being_replaced and time.time() < cached.renew_at:
            return cached.text
        try:
            async with asyncio.timeout(min(seconds, PATIENCE)):
                return (await self._requests.run(scope, lambda: self._request(scope, replace=replace))).text
        except TimeoutError:
            error = _unavailable(scope, "no answer in time")
        except RetryableError as failure:
            error = failure
        # logged by each waiter: the host drops what a task logs after the invocation that started it
        if cached and not is_refused and time.time() < cached.expires_at:
            log.warning("token.not-renewed", scope=scope, detail=str(error))
            return cached.text
        log.error("token.failed", scope=scope, detail=str(error))
        raise error

    async def close(self) -> None:
        """Close the connections of all credentials."""
        for credential in self._credentials.values():
            await credential.close()

    async def _request(self, scope: str, *, replace: bool) -> _CachedToken:
        """Request a token, and cache it.

        Raises:
            RetryableError: `token-unavailable`.
        """
        try:
            async with asyncio.timeout(REQUEST_TIMEOUT):
                if replace:
                    self._renewed_at[scope] = time.monotonic()
                    await self._discard_credential(scope)
                if scope not in self._credentials:
                    self._credentials[scope] = self._make_credential()
                token = _read(await self._credentials[scope].get_token(scope))
        except RetryableError as error:
            cause = str(error)
        except (AzureError, OSError) as error:
            cause = aadsts.explain(error)
        except _MALFORMED as error:
            cause = f"the answer is not as documented ({type(error).__name__})"
        else:
            self._tokens[scope] = token
            return token
        if cached := self._tokens.get(scope):
            cached.renew_at = min(time.time() + COOL_DOWN, cached.expires_at)
        raise _unavailable(scope, cause)

    async def _discard_credential(self, scope: str) -> None:
        """A credential would return the refused token again, from its own cache."""
        if credential := self._credentials.pop(scope, None):
            await credential.close()


def _read(token: AccessToken) -> _CachedToken:
    """Check what a credential returned, which may pass on whatever it was sent.

    Raises:
        TypeError, ValueError, ArithmeticError: the token, or its expiry, is unusable.
    """
    if not isinstance(token.token, str) or not _TOKEN.fullmatch(token.token):
        raise ValueError("not a bearer token")
    now = time.time()
    lifetime = min(max(int(token.expires_on) - now, 0), _MAX_LIFETIME)
    return _CachedToken(token.token, now + lifetime, now + lifetime - min(MARGIN, lifetime * _MARGIN_SHARE))


def _unavailable(scope: str, cause: str) -> RetryableError:
    return RetryableError("token-unavailable", f"no token for {scope}: {cause}", quick=False)


def make_token_source(auth: str, client_id: str | None) -> TokenSource:
    """The token source for `developer`, or for the managed identity: a user-assigned one if `client_id` is present."""
    if auth == "developer":
        return TokenSource(lambda: DefaultAzureCredential(managed_identity_client_id=client_id))
    return TokenSource(lambda: ManagedIdentityCredential(client_id=client_id))
