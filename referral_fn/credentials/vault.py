"""One secret in Key Vault, by its REST API. The SDK would slow every cold start for the sake of one mode.

Source: "Get Secret" and "Set Secret" in the Key Vault REST reference.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from referral_fn.credentials import authorized_call
from referral_fn.credentials.token_source import TokenSource
from referral_fn.errors import RetryableError
from referral_fn.http_call import NoResponseError
from referral_fn.retry import retrying
from referral_fn.strict_json import InvalidJSONError, loads

API_VERSION = "7.4"
BUDGET = 10
"""Seconds for all attempts at one call."""

MAX_ANSWER = 256 * 1024
"""Bytes. A secret has at most 25 KiB, which JSON may spell with six characters each."""

_ADVICE: dict[int, str] = {
    HTTPStatus.UNAUTHORIZED: "does not accept the app's token",
    HTTPStatus.FORBIDDEN: "refuses the app: its identity needs the role Key Vault Secrets Officer on the vault",
    HTTPStatus.NOT_FOUND: "does not exist: run `referral-fn consent`",
}


class UnusableSecretError(RetryableError):
    """The secret is missing, or the app may not use it: it works again after an operator has acted."""


@dataclass(frozen=True, slots=True)
class SecretVersion:
    """The newest version of a secret."""

    value: str = field(repr=False)
    stored_at: datetime | None
    """When it was stored; None if Key Vault does not say."""


class Secret:
    """A secret, by its URL without a version: `https://{vault}.vault.azure.net/secrets/{name}`."""

    def __init__(self, url: str, session: aiohttp.ClientSession, identity: TokenSource) -> None:
        self._url = url
        self._session = session
        self._identity = identity

    async def read(self) -> SecretVersion:
        """Read the newest version.

        Raises:
            UnusableSecretError: `token-unavailable`; the message names the secret, and what to do.
            RetryableError: `token-unavailable`; the message names the secret.
        """
        return await self._call("GET", None)

    async def write(self, value: str) -> None:
        """Store a new version.

        Raises:
            RetryableError: as `read`.
        """
        await self._call("PUT", {"value": value})

    async def _call(self, method: str, body: dict[str, str] | None) -> SecretVersion:
        return await retrying(
            lambda seconds: self._attempt(method, body, seconds),
            budget=BUDGET,
            on_timeout=lambda: self._error("did not answer in time"),
        )

    async def _attempt(self, method: str, body: dict[str, str] | None, seconds: float) -> SecretVersion:
        try:
            response = await authorized_call.send(
                self._session,
                self._identity,
                audience(self._url),
                method,
                f"{self._url}?api-version={API_VERSION}",
                seconds=seconds,
                max_bytes=MAX_ANSWER,
                json=body,
            )
        except NoResponseError as error:
            raise self._error(f"cannot be reached: {error}") from None
        if advice := _ADVICE.get(response.status):
            raise UnusableSecretError("token-unavailable", self._message(f"{advice} ({response.status})"), quick=False)
        if response.status != HTTPStatus.OK:
            raise self._error(f"is unavailable ({response.status})")
        version = None if response.truncated else _read(response.body)
        if version is None:
            raise self._error("returned an unexpected response", quick=False)
        return version

    def _error(self, what: str, *, quick: bool = True) -> RetryableError:
        return RetryableError("token-unavailable", self._message(what), quick=quick)

    def _message(self, what: str) -> str:
        return f"Key Vault's secret {urlsplit(self._url).path.rpartition('/')[2]} {what}"


def audience(url: str) -> str:
    """The scope of a vault's tokens: the domain of the vault, which differs between clouds."""
    domain = (urlsplit(url).hostname or "").partition(".")[2]
    return f"https://{domain if domain.startswith('vault.') else 'vault.azure.net'}/.default"


def _read(body: bytes) -> SecretVersion | None:
    try:
        document = loads(body)
    except InvalidJSONError:
        return None
    value = document.get("value") if isinstance(document, dict) else None
    if not isinstance(value, str) or not value:
        return None
    return SecretVersion(value, _stored_at(document.get("attributes")))


def _stored_at(attributes: Any) -> datetime | None:
    created = attributes.get("created") if isinstance(attributes, dict) else None
    try:
        return datetime.fromtimestamp(created, UTC) if isinstance(created, int) else None
    except (OverflowError, OSError, ValueError):
        return None
