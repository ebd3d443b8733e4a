"""Entra ID: the two kinds of token that Partner Center's own API accepts, and its refusals in plain words.

Neither needs a client secret or a certificate: the managed identity is a federated credential of the app registration,
so its token for `EXCHANGE_SCOPE` is the client assertion (RFC 7521, section 4.2).
"""

import asyncio
import os
import time
from typing import Any, NoReturn

import aiohttp
import msal
from azure.core.credentials import AccessToken
from azure.core.exceptions import ClientAuthenticationError
from azure.identity.aio import ClientAssertionCredential

from referral_fn import log
from referral_fn.credentials import aadsts
from referral_fn.credentials.token_source import TokenSource, make_token_source
from referral_fn.credentials.vault import Secret
from referral_fn.errors import RetryableError
from referral_fn.settings import CredentialSettings

EXCHANGE_SCOPE = "api://AzureADTokenExchange/.default"
PUBLIC_CLOUD = "login.microsoftonline.com"
TIME_OUT = 10
"""Seconds that Entra ID may take for one answer."""

REREAD_AFTER = 3
"""Seconds after which a refused refresh token is looked up again: another instance may be writing its successor."""

MOST_REREADS = 5
"""How often it is, at the most, while others keep replacing it."""


def authority() -> str:
    """The authority's host; another in sovereign clouds."""
    return os.environ.get("AZURE_AUTHORITY_HOST", PUBLIC_CLOUD).removeprefix("https://").rstrip("/")


class FederatedAppCredential:
    """Tokens of the app itself (REFERRALS_AUTH=federated-app)."""

    def __init__(self, tenant: str, client_id: str, identity: TokenSource) -> None:
        self._identity = identity
        self._assertion = ""
        self._credential = ClientAssertionCredential(
            tenant, client_id, lambda: self._assertion, authority=authority(), connection_timeout=TIME_OUT
        )

    async def get_token(self, *scopes: str) -> AccessToken:
        """Get a token, with a new assertion where the last one has expired.

        Raises:
            AzureError: Entra ID refuses, or cannot be reached.
            RetryableError: the managed identity has no token for the exchange.
        """
        self._assertion = await self._identity.token(EXCHANGE_SCOPE)
        return await self._credential.get_token(*scopes)

    async def close(self) -> None:
        """Close its connections."""
        await self._credential.close()


class AppUserCredential:
    """Tokens of the app with a user (REFERRALS_AUTH=app-user), by the refresh token that the user's consent left."""

    def __init__(self, tenant: str, client_id: str, identity: TokenSource, secret: Secret) -> None:
        self.lapsed: str | None = None
        """Why no consent is left, once that is so; none again after the next success."""
        self._tenant = tenant
        self._client_id = client_id
        self._identity = identity
        self._secret = secret

    async def get_token(self, *scopes: str) -> AccessToken:
        """Redeem the newest refresh token, and store its successor.

        Raises:
            ClientAuthenticationError: Entra ID refuses; the text holds the number of its error, and no more.
            RetryableError: the managed identity has no token, or Key Vault does not answer.
        """
        used, result = await self._redeem_newest(scopes)
        if "access_token" not in result:
            self._refuse(result)
        self.lapsed = None
        await self._store(result.get("refresh_token"), used)
        return AccessToken(result["access_token"], int(time.time()) + int(result["expires_in"]))

    async def close(self) -> None:
        """Nothing is kept open."""

    async def _redeem_newest(self, scopes: tuple[str, ...]) -> tuple[str, dict[str, Any]]:
        """Redeem the newest refresh token; refused, look for a newer one, as long as there is one.

        Returns:
            The refresh token, and what Entra ID answered.
        """
        used, result = "", {"error": "invalid_grant"}
        for pause in (REREAD_AFTER, *[REREAD_AFTER / 10] * MOST_REREADS):
            newest = await self._secret.read()
            if newest == used:
                break
            used, result = newest, await self._redeem(newest, scopes)
            if result.get("error") != "invalid_grant":
                break
            await asyncio.sleep(pause)
        return used, result

    async def _store(self, successor: str | None, used: str) -> None:
        """Store the new refresh token. Where that fails, the old one is good for what is left of its 90 days."""
        if successor and successor != used:
            try:
                await self._secret.write(successor)
            except RetryableError as trouble:
                log.error("consent.not-stored", detail=str(trouble))

    async def _redeem(self, refresh_token: str, scopes: tuple[str, ...]) -> dict[str, Any]:
        """Ask Entra ID, in a thread: MSAL blocks."""
        assertion = await self._identity.token(EXCHANGE_SCOPE)
        return await asyncio.to_thread(self._ask, assertion, refresh_token, list(scopes))

    def _ask(self, assertion: str, refresh_token: str, scopes: list[str]) -> dict[str, Any]:
        app = msal.ConfidentialClientApplication(
            self._client_id,
            client_credential={"client_assertion": assertion},
            authority=f"https://{authority()}/{self._tenant}",
            instance_discovery=False,
            timeout=TIME_OUT,
        )
        result: dict[str, Any] = app.acquire_token_by_refresh_token(refresh_token, scopes=scopes)
        return result

    def _refuse(self, result: dict[str, Any]) -> NoReturn:
        number = aadsts.number(str(result.get("error_description")))
        error = ClientAuthenticationError(f"AADSTS{number}" if number else str(result.get("error")))
        if number in aadsts.LAPSED or result.get("error") in ("invalid_grant", "interaction_required"):
            self.lapsed = aadsts.explain(error)
            log.error("consent.lapsed", advice=self.lapsed)
        raise error


class Tokens:
    """The token sources that the settings ask for: one for Azure's own services, one for Partner Center."""

    def __init__(self, settings: CredentialSettings, session: aiohttp.ClientSession) -> None:
        own = "developer" if settings.referrals_auth == "developer" else "managed-identity"
        self.identity = make_token_source(own, settings.client_id)
        self.partner_center = self.identity
        self._user: AppUserCredential | None = None
        tenant, client_id = settings.app_tenant_id or "", settings.app_client_id or ""
        if settings.referrals_auth == "federated-app":
            self.partner_center = TokenSource(lambda: FederatedAppCredential(tenant, client_id, self.identity))
        if settings.referrals_auth == "app-user":
            secret = Secret(settings.refresh_token_secret or "", session, self.identity)
            user = self._user = AppUserCredential(tenant, client_id, self.identity, secret)
            self.partner_center = TokenSource(lambda: user)

    @property
    def lapsed(self) -> str | None:
        """Why there is no consent any more, in mode `app-user`, as far as this worker knows."""
        return self._user.lapsed if self._user else None

    async def close(self) -> None:
        """Close all connections."""
        await self.partner_center.close()
        await self.identity.close()
