"""Entra ID: the two kinds of token that Partner Center's API accepts.

Neither needs a client secret or a certificate. The app itself authenticates with its managed identity, a federated
credential of the app registration: the identity's token for `EXCHANGE_SCOPE` is the client assertion (RFC 7521,
section 4.2). A user's refresh token is bound to the kind of client it was issued to (RFC 6749, section 6). Those of
`referral-fn consent` belong to a public client, which must not authenticate; those of a web redirect URI to a
confidential client, which must.
"""

import asyncio
import os
import time
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Any

import aiohttp
from azure.core.credentials import AccessToken

from referral_fn import http_call, log
from referral_fn.credentials import aadsts
from referral_fn.credentials.consent_check import ConsentCheck, RecentReason
from referral_fn.credentials.token_source import TokenSource, make_token_source
from referral_fn.credentials.vault import Secret, SecretVersion
from referral_fn.errors import RetryableError
from referral_fn.http_call import NoResponseError
from referral_fn.settings import CredentialSettings
from referral_fn.strict_json import InvalidJSONError, loads

EXCHANGE_SCOPE = "api://AzureADTokenExchange/.default"
PUBLIC_CLOUD = "login.microsoftonline.com"
TIME_OUT = 10
"""Seconds for one answer of Entra ID."""

MAX_ANSWER = 256 * 1024
"""Bytes of an answer. Tokens have a few kilobytes."""

MAX_SECRET = 25_000
"""Characters of a refresh token that fit into a Key Vault secret."""

STORE_AFTER = timedelta(days=1)
"""The age of the stored refresh token from which its successor is stored, so that few valid ones are in Key Vault.

A successor that is not stored is no loss: the use of a refresh token does not revoke it, so the stored one works for
the rest of its 90 days ("Refresh tokens in the Microsoft identity platform").
"""

REREAD_AFTER = 3
"""Seconds until a refused refresh token is read again: another instance may be storing its successor."""

MAX_REREADS = 5
"""The most times it is read again while others keep replacing it."""

_ASSERTION_WANTED = {"7000218": True, "700025": False}
"""Whether the client must send an assertion, by the error that says that it did the opposite."""

_JWT_BEARER = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


def authority() -> str:
    """The host that issues tokens. `AZURE_AUTHORITY_HOST` names another in sovereign clouds."""
    return os.environ.get("AZURE_AUTHORITY_HOST", PUBLIC_CLOUD).removeprefix("https://").rstrip("/")


class RefusedError(RetryableError):
    """Entra ID answered with an OAuth error (RFC 6749, section 5.2)."""

    def __init__(self, code: str, number: str | None) -> None:
        super().__init__("token-unavailable", aadsts.advice(number) if number else f"Entra ID answered {code}")
        self.code = code
        self.number = number

    @property
    def means_lapsed(self) -> bool:
        """Whether the user must consent again."""
        return self.number in aadsts.LAPSED or self.code in ("invalid_grant", "interaction_required")


class AppRegistration:
    """The app registration at Entra ID's token endpoint."""

    def __init__(self, settings: CredentialSettings, session: aiohttp.ClientSession, identity: TokenSource) -> None:
        self._url = f"https://{authority()}/{settings.app_tenant_id}/oauth2/v2.0/token"
        self._client_id = settings.app_client_id or ""
        self._session = session
        self._identity = identity

    async def redeem(self, *, with_assertion: bool = True, **grant: str) -> dict[str, Any]:
        """Exchange a grant for tokens ("OAuth 2.0 client credentials flow", "Refresh the access token").

        Args:
            with_assertion: whether to authenticate, as a confidential client does and a public one must not.
            grant: the parameters of the grant.

        Returns:
            Entra ID's answer, which is a success but otherwise unchecked.

        Raises:
            RetryableError: Entra ID refuses, cannot be reached, or answers something else than documented; or the
                managed identity has no token.
        """
        form = {"client_id": self._client_id, **grant}
        if with_assertion:
            form["client_assertion_type"] = _JWT_BEARER
            form["client_assertion"] = await self._identity.token(EXCHANGE_SCOPE)
        try:
            response = await http_call.send(
                self._session, "POST", self._url, seconds=TIME_OUT, max_bytes=MAX_ANSWER, data=form
            )
        except NoResponseError as error:
            raise RetryableError("token-unavailable", f"Entra ID cannot be reached: {error}") from None
        answer = _document(response)
        if response.status != HTTPStatus.OK or "error" in answer:
            raise RefusedError(_word(answer.get("error")), aadsts.error_number(str(answer.get("error_description"))))
        return answer


class FederatedAppCredential:
    """Tokens of the app itself (REFERRALS_AUTH=federated-app)."""

    def __init__(self, app: AppRegistration) -> None:
        self._app = app

    async def get_token(self, *scopes: str) -> AccessToken:
        """Request a new token.

        Raises:
            RetryableError: as `AppRegistration.redeem`.
        """
        return _access_token(await self._app.redeem(grant_type="client_credentials", scope=" ".join(scopes)))

    async def close(self) -> None:
        """Nothing is kept open."""


class AppUserCredential:
    """Tokens of the app on behalf of a user (REFERRALS_AUTH=app-user), from the refresh token of the user's consent."""

    def __init__(self, app: AppRegistration, secret: Secret) -> None:
        self.lapsed = RecentReason()
        """Why the consent no longer works. Reset when a token is next obtained."""
        self._app = app
        self._secret = secret
        self._with_assertion = False

    async def get_token(self, *scopes: str) -> AccessToken:
        """Redeem the newest refresh token, and store its successor if the token is over a day old.

        Raises:
            RetryableError: as `AppRegistration.redeem`, or Key Vault does not return the refresh token.
        """
        try:
            used, answer = await self._redeem_newest(" ".join((*scopes, "offline_access")))
        except RefusedError as error:
            if error.means_lapsed:
                self.lapsed.set(str(error))
                log.error("consent.lapsed", advice=str(error))
            raise
        self.lapsed.set(None)
        await self._store(answer.get("refresh_token"), used)
        return _access_token(answer)

    async def close(self) -> None:
        """Nothing is kept open."""

    async def _redeem_newest(self, scope: str) -> tuple[SecretVersion, dict[str, Any]]:
        """Redeem the newest refresh token. If it is refused, look for a newer one as long as there is one.

        Returns:
            The refresh token, and Entra ID's answer.
        """
        used = await self._secret.read()
        for pause in (REREAD_AFTER, *[REREAD_AFTER / 10] * MAX_REREADS):
            try:
                return used, await self._redeem(used.value, scope)
            except RefusedError as error:
                if error.code != "invalid_grant":
                    raise
                await asyncio.sleep(pause)
                newest = await self._secret.read()
                if newest.value == used.value:
                    raise
                used = newest
        return used, await self._redeem(used.value, scope)

    async def _redeem(self, refresh_token: str, scope: str) -> dict[str, Any]:
        """Redeem a refresh token as the kind of client that worked last, or else as the other kind."""
        grant = {"grant_type": "refresh_token", "refresh_token": refresh_token, "scope": scope}
        try:
            return await self._app.redeem(with_assertion=self._with_assertion, **grant)
        except RefusedError as error:
            wanted = _ASSERTION_WANTED.get(error.number or "", self._with_assertion)
            if wanted == self._with_assertion:
                raise
        self._with_assertion = wanted
        return await self._app.redeem(with_assertion=wanted, **grant)

    async def _store(self, successor: Any, used: SecretVersion) -> None:
        """Store the new refresh token. If that fails, the old one works for the rest of its 90 days."""
        if not isinstance(successor, str) or not 0 < len(successor) <= MAX_SECRET or successor == used.value:
            return
        if used.stored_at and datetime.now(UTC) - used.stored_at < STORE_AFTER:
            return
        try:
            await self._secret.write(successor)
        except RetryableError as error:
            log.error("consent.not-stored", detail=str(error))


class Tokens:
    """The token sources for the settings: one for Azure's own services, and one for Partner Center."""

    def __init__(self, settings: CredentialSettings, session: aiohttp.ClientSession) -> None:
        auth = "developer" if settings.referrals_auth == "developer" else "managed-identity"
        self.identity = make_token_source(auth, settings.client_id)
        self.partner_center = self.identity
        self._user: AppUserCredential | None = None
        self._consent_check: ConsentCheck | None = None
        app = AppRegistration(settings, session, self.identity)
        if settings.referrals_auth == "federated-app":
            self.partner_center = TokenSource(lambda: FederatedAppCredential(app))
        if settings.referrals_auth == "app-user":
            secret = Secret(settings.refresh_token_secret or "", session, self.identity)
            user = self._user = AppUserCredential(app, secret)
            self.partner_center = TokenSource(lambda: user)
            self._consent_check = ConsentCheck(secret)

    @property
    def lapsed(self) -> str | None:
        """Why the user's consent no longer works, in mode `app-user`, as far as this process knows."""
        return self._user.lapsed.current if self._user else None

    async def check_consent(self) -> str | None:
        """Why no token for Partner Center can be had, in mode `app-user`: from this process, or else from Key Vault.

        Cheap enough for a health probe: Key Vault is asked at most every five minutes, and Entra ID never.
        """
        if (reason := self.lapsed) or not self._consent_check:
            return reason
        return await self._consent_check.reason()

    async def close(self) -> None:
        """Close all connections."""
        await self.partner_center.close()
        await self.identity.close()


def _document(response: http_call.Response) -> dict[str, Any]:
    try:
        document = None if response.truncated else loads(response.body)
    except InvalidJSONError:
        document = None
    if not isinstance(document, dict):
        raise RetryableError("token-unavailable", f"Entra ID's answer ({response.status}) is not a JSON object")
    return document


def _word(error: Any) -> str:
    """An OAuth error code. Anything else is not repeated, because it may name people."""
    is_code = isinstance(error, str) and error.isascii() and error.isidentifier()
    return error[:64] if is_code else "an unknown error"


def _access_token(answer: dict[str, Any]) -> AccessToken:
    """Read a token response (RFC 6749, section 5.1); the token source checks the token itself.

    Raises:
        RetryableError: the lifetime is missing or not a number.
    """
    lifetime = answer.get("expires_in")
    if isinstance(lifetime, str) and lifetime.isascii() and lifetime.isdecimal():
        lifetime = int(lifetime[:18])
    if not isinstance(lifetime, int | float):
        raise RetryableError("token-unavailable", "Entra ID's answer states no lifetime")
    return AccessToken(answer.get("access_token", ""), int(time.time() + lifetime))
