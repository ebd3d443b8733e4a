"""One secret in Key Vault, by its REST interface: the SDK would cost every cold start what one mode needs."""

from http import HTTPStatus
from urllib.parse import urlsplit

import aiohttp

from referral_fn.credentials.token_source import TokenSource
from referral_fn.errors import RetryableError
from referral_fn.retry import retrying
from referral_fn.strict_json import InvalidJSONError, loads

API_VERSION = "7.4"
BUDGET = 10
"""Seconds for all attempts at one call."""

_ADVICE: dict[int, str] = {
    HTTPStatus.UNAUTHORIZED: "does not accept the app's token",
    HTTPStatus.FORBIDDEN: "refuses the app: its identity needs the role Key Vault Secrets Officer on the secret",
    HTTPStatus.NOT_FOUND: "does not exist: run `python -m referral_fn consent`",
}


class Secret:
    """A secret, by its URL without a version: `https://{vault}.vault.azure.net/secrets/{name}`."""

    def __init__(self, url: str, session: aiohttp.ClientSession, identity: TokenSource) -> None:
        self._url = url
        self._session = session
        self._identity = identity

    async def read(self) -> str:
        """The newest version's value.

        Raises:
            RetryableError: `token-unavailable`; its text names the secret, and what is missing where something is.
        """
        return await self._call("GET", None)

    async def write(self, value: str) -> None:
        """Store a new version.

        Raises:
            RetryableError: `token-unavailable`, as for `read`.
        """
        await self._call("PUT", value)

    async def _call(self, method: str, value: str | None) -> str:
        return await retrying(lambda seconds: self._attempt(method, value, seconds), budget=BUDGET)

    async def _attempt(self, method: str, value: str | None, seconds: float) -> str:
        headers = {"Authorization": f"Bearer {await self._identity.token(audience(self._url))}"}
        body = None if value is None else {"value": value}
        try:
            async with self._session.request(
                method,
                f"{self._url}?api-version={API_VERSION}",
                json=body,
                headers=headers,
                timeout=aiohttp.ClientTimeout(total=max(seconds, 0.001)),
                allow_redirects=False,
            ) as answer:
                content = await answer.read()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise self._trouble(f"cannot be reached: {type(error).__name__}", quick=True) from None
        if answer.status != HTTPStatus.OK:
            lasting = answer.status in _ADVICE
            said = _ADVICE.get(answer.status, "cannot be had now")
            raise self._trouble(f"{said} ({answer.status})", quick=not lasting)
        try:
            return str(loads(content)["value"])
        except (InvalidJSONError, KeyError, TypeError):
            raise self._trouble("is not answered as documented", quick=False) from None

    def _trouble(self, what: str, *, quick: bool) -> RetryableError:
        name = urlsplit(self._url).path.rpartition("/")[2]
        return RetryableError("token-unavailable", f"Key Vault's secret {name} {what}", quick=quick)


def audience(url: str) -> str:
    """The scope of a vault's tokens: its domain, whichever cloud that is of."""
    domain = (urlsplit(url).hostname or "").partition(".")[2]
    return f"https://{domain if domain.startswith('vault.') else 'vault.azure.net'}/.default"
