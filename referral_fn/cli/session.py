"""The connections and tokens of one command."""

import contextlib
import os
import ssl
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass

import aiohttp

from referral_fn.credentials.entra import Tokens
from referral_fn.settings import CredentialSettings, read_credential_settings


@dataclass(frozen=True, slots=True)
class Session:
    """Open connections, and whose tokens a command uses."""

    http: aiohttp.ClientSession
    tokens: Tokens


def with_auth(environment: Mapping[str, str], auth: str | None) -> dict[str, str]:
    """The settings with the credentials that `--auth` names, or those of `REFERRALS_AUTH`, or the developer's."""
    return {**environment, "REFERRALS_AUTH": auth or environment.get("REFERRALS_AUTH", "").strip() or "developer"}


def open_http() -> aiohttp.ClientSession:
    """Open an HTTP session. It trusts the authorities that `SSL_CERT_FILE` names now, not when aiohttp was imported."""
    connector = aiohttp.TCPConnector(ssl=ssl.create_default_context())
    return aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())


@contextlib.asynccontextmanager
async def open_session(settings: CredentialSettings) -> AsyncIterator[Session]:
    """Open connections and the tokens of the settings' mode."""
    async with open_http() as http:
        tokens = Tokens(settings, http)
        try:
            yield Session(http, tokens)
        finally:
            await tokens.close()


@contextlib.asynccontextmanager
async def open_session_as(auth: str | None) -> AsyncIterator[Session]:
    """Open a session for a command that needs credentials and no queue.

    Args:
        auth: a mode of `REFERRALS_AUTH`; None for that of the environment.

    Raises:
        SettingsError: the settings of that mode are missing or invalid.
    """
    async with open_session(read_credential_settings(with_auth(os.environ, auth))) as session:
        yield session
