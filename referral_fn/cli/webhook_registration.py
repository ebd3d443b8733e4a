"""The client of Partner Center's webhook registration API.

Source: "Webhook" in the Partner Center REST reference.
"""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Sequence
from http import HTTPStatus
from typing import Any

import aiohttp

from referral_fn.credentials.token_source import TokenSource
from referral_fn.strict_json import InvalidJSONError, loads

API = "https://api.partnercenter.microsoft.com"
SCOPE = f"{API}/.default"

_TIME_OUT = aiohttp.ClientTimeout(total=30)
_BETWEEN_LOOKS = 2
_ADVICE: dict[int, str] = {
    HTTPStatus.BAD_REQUEST: "the registration is not accepted: is the URL public and https, and are the events known?",
    HTTPStatus.UNAUTHORIZED: "the token is not accepted: these calls want an app with a user",
    HTTPStatus.FORBIDDEN: "the credentials may not do this: the user needs a role in Partner Center",
    HTTPStatus.NOT_FOUND: "there is no registration yet: register first",
    HTTPStatus.TOO_MANY_REQUESTS: "too many test events: two a minute are allowed, try again in a minute",
}


class RegistrationError(Exception):
    """The API did not do what was asked; the message says what to do."""


class Registration:
    """The one webhook registration of an account."""

    def __init__(self, session: aiohttp.ClientSession, tokens: TokenSource, api: str = API) -> None:
        self._session = session
        self._tokens = tokens
        self._url = f"{api}/webhooks/v1/registration"

    async def known_events(self) -> list[str]:
        """The events that can be registered for."""
        events: list[str] = await self._call("GET", "/events")
        return events

    async def show(self) -> dict[str, Any] | None:
        """The registration; none where there is none."""
        try:
            registration: dict[str, Any] = await self._call("GET")
        except _MissingError:
            return None
        return registration

    async def register(self, url: str, events: Sequence[str], *, own_header: bool) -> dict[str, Any]:
        """Register a webhook, or change the registration there is.

        Args:
            url: where notifications go; https, and reachable from the Internet.
            events: the events' names.
            own_header: send signatures in `x-ms-signature`, which no front of the app mistakes for its own
                `Authorization`.
        """
        wanted = {"WebhookUrl": url, "WebhookEvents": list(events), "SignatureTokenToMsSignatureHeader": own_header}
        method = "PUT" if await self.show() else "POST"
        registered: dict[str, Any] = await self._call(method, body=wanted)
        return registered

    async def test(self, patience: float) -> AsyncIterator[dict[str, Any]]:
        """Ask for a test event, and follow it.

        Args:
            patience: seconds to follow it for.

        Yields:
            Its state, `status` and `results`, each time there is another attempt in it, until it has ended.
        """
        event = await self._call("POST", "/validationEvents")
        correlation = event["correlationId"] if isinstance(event, dict) else event
        deadline, seen = time.monotonic() + patience, -1
        while time.monotonic() < deadline:
            state: dict[str, Any] = await self._call("GET", f"/validationEvents/{correlation}")
            if len(state.get("results") or ()) > seen or state.get("status") in ("completed", "failed"):
                seen = len(state.get("results") or ())
                yield state
            if state.get("status") in ("completed", "failed"):
                return
            await asyncio.sleep(_BETWEEN_LOOKS)
        raise RegistrationError(f"the test event has not ended after {patience:.0f} seconds")

    async def _call(self, method: str, path: str = "", body: Any = None) -> Any:
        """One call. Returns what it answers.

        Raises:
            RegistrationError: it was refused, or could not be made.
            RetryableError: there is no token.
        """
        headers = {
            "Accept": "application/json",
            "Authorization": f"Bearer {await self._tokens.token(SCOPE)}",
            "ms-correlationid": str(uuid.uuid4()),
        }
        try:
            async with self._session.request(
                method, self._url + path, headers=headers, json=body, timeout=_TIME_OUT, allow_redirects=False
            ) as answer:
                content = await answer.read()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise RegistrationError(f"Partner Center cannot be reached: {type(error).__name__}") from None
        if answer.status == HTTPStatus.NOT_FOUND:
            raise _MissingError(_ADVICE[HTTPStatus.NOT_FOUND])
        if answer.status >= HTTPStatus.MULTIPLE_CHOICES:
            advice = _ADVICE.get(answer.status, "Partner Center is in trouble")
            raise RegistrationError(f"{advice} ({answer.status}, ms-correlationid {headers['ms-correlationid']})")
        try:
            return loads(content) if content else {}
        except InvalidJSONError:
            raise RegistrationError("Partner Center's answer is not JSON") from None


class _MissingError(RegistrationError):
    """404."""
