"""Tokens: azure-identity's credentials, asked once however many wait."""

import asyncio
import time
from collections.abc import Callable
from typing import Protocol

from azure.core.credentials import AccessToken
from azure.core.exceptions import AzureError
from azure.identity.aio import DefaultAzureCredential, ManagedIdentityCredential

from referral_fn import log
from referral_fn.credentials import aadsts
from referral_fn.errors import RetryableError

REFRESH_AHEAD = 300
"""Seconds before its expiry from which a token is renewed; azure-identity's own margin, below which it asks again."""

PATIENCE = 10
"""Seconds that one caller waits for a token; the request for it goes on for those that come after."""


class Credential(Protocol):
    """What every credential of azure-identity can do."""

    async def get_token(self, *scopes: str) -> AccessToken:
        """Get a token, cached or new."""

    async def close(self) -> None:
        """Close its connections."""


class TokenSource:
    """Access tokens by scope, kept until shortly before they expire. A hundred first callers make one request."""

    def __init__(self, make_credential: Callable[[], Credential]) -> None:
        self._make_credential = make_credential
        self._credential = make_credential()
        self._held: dict[str, AccessToken] = {}
        self._flights: dict[str, asyncio.Task[AccessToken]] = {}
        self._replaced: dict[str, str] = {}

    async def token(self, scope: str, *, refused: str | None = None) -> str:
        """A token for the scope.

        Args:
            scope: such as `https://storage.azure.com/.default`.
            refused: a token that the service just refused. It is replaced by a new one, once.

        Raises:
            RetryableError: `token-unavailable`, with what is wrong in a sentence.
        """
        held = self._held.get(scope)
        replace = held is not None and held.token == refused and self._replaced.get(scope) != refused
        if held and not replace and held.expires_on - time.time() > REFRESH_AHEAD:
            return held.token
        if scope not in self._flights:
            flight = asyncio.create_task(self._request(scope, refused if replace else None))
            flight.add_done_callback(lambda task: self._on_request_done(scope, task))
            self._flights[scope] = flight
        try:
            async with asyncio.timeout(PATIENCE):
                return (await asyncio.shield(self._flights[scope])).token
        except (AzureError, OSError, ValueError, RetryableError) as error:
            if held and held.token != refused and held.expires_on > time.time():
                return held.token
            why = str(error) if isinstance(error, RetryableError) else aadsts.explain(error)
            log.error("token.failed", scope=scope, detail=why)
            raise RetryableError("token-unavailable", f"no token for {scope}: {why}", quick=False) from None

    async def close(self) -> None:
        """Close the credential's connections."""
        await self._credential.close()

    async def _request(self, scope: str, refused: str | None) -> AccessToken:
        if refused is not None:
            await self._forget()
        self._held[scope] = await self._credential.get_token(scope)
        if refused is not None:
            self._replaced[scope] = refused
        return self._held[scope]

    def _on_request_done(self, scope: str, flight: asyncio.Task[AccessToken]) -> None:
        del self._flights[scope]
        if not flight.cancelled():
            flight.exception()  # so that one nobody waits for any more is not reported as lost

    async def _forget(self) -> None:
        """A credential hands out its cached token until that expires, refused or not; a new one has none."""
        old, self._credential = self._credential, self._make_credential()
        await old.close()


def make_token_source(auth: str, client_id: str | None) -> TokenSource:
    """The source of tokens for a mode of `REFERRALS_AUTH`, with the user-assigned identity where one is named."""
    if auth == "developer":
        return TokenSource(lambda: DefaultAzureCredential(managed_identity_client_id=client_id))
    return TokenSource(lambda: ManagedIdentityCredential(client_id=client_id))
