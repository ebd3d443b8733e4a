"""The client of Partner Center's webhook registration API.

Source: "Webhook" in the Partner Center REST reference. An account has one registration: one URL, and the events that go
there, of whichever product.
"""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Self

import aiohttp

from referral_fn import http_call, strict_json
from referral_fn.credentials.token_source import TokenSource
from referral_fn.http_call import NoResponseError
from referral_fn.referrals.request import REFERRAL_EVENTS, TEST_EVENT

API = "https://api.partnercenter.microsoft.com"
SCOPE = f"{API}/.default"
ROLES = "Referrals Admin, Billing admin, Admin agent, Sales agent or Helpdesk agent"
"""Roles in Partner Center that may register. The webhook page names the last four, the connector's page the first."""

_SECONDS = 30
POLL_INTERVAL = 2.0
"""Seconds between two looks at a test event."""

_ADVICE: dict[int, str] = {
    HTTPStatus.BAD_REQUEST: "Partner Center does not accept the registration: the URL must be public and https, "
    "and the events must exist",
    HTTPStatus.UNAUTHORIZED: "Partner Center does not accept the token: these calls need an app with a user",
    HTTPStatus.FORBIDDEN: f"Partner Center denies access: the user needs one of the roles {ROLES}",
    HTTPStatus.NOT_FOUND: "there is no registration yet: register first",
    HTTPStatus.CONFLICT: "the registration was changed by somebody else just now: look at it, then try again",
    HTTPStatus.TOO_MANY_REQUESTS: "too many test events: two a minute are allowed, try again in a minute",
}


class RegistrationError(Exception):
    """The API refused the call, or could not be reached; the text says what to do."""


@dataclass(frozen=True, slots=True)
class Registration:
    """The webhook registration of an account."""

    url: str
    """Where notifications go."""
    events: tuple[str, ...]
    """The names of the events that are sent."""
    own_header: bool | None
    """Whether signatures come in `x-ms-signature`, which no proxy in front of the app takes for its own
    `Authorization`. None if Partner Center does not say."""

    @classmethod
    def read(cls, document: Any) -> Self:
        """Read Partner Center's answer.

        Raises:
            RegistrationError: it is no registration.
        """
        members = {name.lower(): value for name, value in document.items()} if isinstance(document, dict) else {}
        match members:
            case {"webhookurl": str(url), "webhookevents": [*events]} if all(isinstance(name, str) for name in events):
                own_header = members.get("signaturetokentomssignatureheader")
                return cls(url, tuple(events), own_header if isinstance(own_header, bool) else None)
        raise RegistrationError("Partner Center's answer is not a registration")

    def document(self) -> dict[str, Any]:
        """The registration as Partner Center writes it."""
        document: dict[str, Any] = {"WebhookUrl": self.url, "WebhookEvents": list(self.events)}
        if self.own_header is not None:
            document["SignatureTokenToMsSignatureHeader"] = self.own_header
        return document

    def other_events(self) -> tuple[str, ...]:
        """The events that belong to other products."""
        return tuple(name for name in self.events if name not in REFERRAL_EVENTS and name != TEST_EVENT)


class RegistrationClient:
    """Reads, changes and tests the registration."""

    def __init__(self, session: aiohttp.ClientSession, tokens: TokenSource, api: str = API) -> None:
        self._session = session
        self._tokens = tokens
        self._url = f"{api}/webhooks/v1/registration"

    async def known_events(self) -> list[str]:
        """The names of all events that Partner Center can send.

        Raises:
            RegistrationError: the API refused the call, or could not be reached.
            RetryableError: `token-unavailable`.
        """
        events = await self._call("GET", "/events")
        if not isinstance(events, list) or not all(isinstance(name, str) for name in events):
            raise RegistrationError("Partner Center's answer is not a list of events")
        return events

    async def show(self) -> Registration | None:
        """The registration, or None if there is none.

        Raises:
            RegistrationError, RetryableError: as for `known_events`.
        """
        try:
            document = await self._call("GET")
        except _NotFoundError:
            return None
        return Registration.read(document) if document else None

    async def save(self, registration: Registration, *, replaces: bool) -> None:
        """Create the registration, or replace the one there is.

        Raises:
            RegistrationError, RetryableError: as for `known_events`.
        """
        await self._call("PUT" if replaces else "POST", body=registration.document())

    async def test(self, seconds: float) -> AsyncIterator[dict[str, Any]]:
        """Request a test event, and follow it for so many seconds.

        Yields:
            Its `status` and `results`, whenever another attempt to deliver it is in them, until it has ended.

        Raises:
            RegistrationError: as for `known_events`; or the event has not ended in time.
            RetryableError: as for `known_events`.
        """
        event = await self._call("POST", "/validationEvents")
        correlation_id = event.get("correlationId") if isinstance(event, dict) else event
        if not isinstance(correlation_id, str):
            raise RegistrationError("Partner Center's answer names no test event")
        deadline, seen = time.monotonic() + seconds, -1
        while time.monotonic() < deadline:
            state = _test_state(await self._call("GET", f"/validationEvents/{correlation_id}"))
            has_ended = state.get("status") in ("completed", "failed")
            if len(state["results"]) > seen or has_ended:
                seen = len(state["results"])
                yield state
            if has_ended:
                return
            await asyncio.sleep(min(POLL_INTERVAL, max(deadline - time.monotonic(), 0)))
        raise RegistrationError(f"the test event has not ended after {seconds:.0f} seconds")

    async def _call(self, method: str, path: str = "", body: Any = None) -> Any:
        """Make one call. Returns the answer's JSON, or None for an empty answer."""
        correlation_id = str(uuid.uuid4())
        headers = {
            "Accept": "application/json",
            "Authorization": f"Bearer {await self._tokens.token(SCOPE)}",
            "ms-correlationid": correlation_id,
        }
        try:
            response = await http_call.send(
                self._session, method, self._url + path, seconds=_SECONDS, headers=headers, json=body
            )
        except NoResponseError as error:
            raise RegistrationError(f"Partner Center cannot be reached: {error}") from None
        if response.status == HTTPStatus.NOT_FOUND:
            raise _NotFoundError(_ADVICE[HTTPStatus.NOT_FOUND])
        if response.status >= HTTPStatus.MULTIPLE_CHOICES:
            advice = _ADVICE.get(
                response.status, "Partner Center does not work as documented just now: try again later"
            )
            raise RegistrationError(f"{advice} ({response.status}, ms-correlationid {correlation_id})")
        try:
            return strict_json.loads(response.body) if response.body else None
        except strict_json.InvalidJSONError:
            raise RegistrationError("Partner Center's answer is not JSON") from None


def _test_state(document: Any) -> dict[str, Any]:
    """The state of a test event, with `results` as a list of objects."""
    if not isinstance(document, dict):
        raise RegistrationError("Partner Center's answer is not the state of a test event")
    results = document.get("results")
    attempts = [one for one in results if isinstance(one, dict)] if isinstance(results, list) else []
    return {**document, "results": attempts}


class _NotFoundError(RegistrationError):
    """The answer was 404."""


def merged(current: Registration | None, wanted: Registration) -> Registration:
    """The wanted registration with the test event, and with the current one's events of other products."""
    events: Sequence[str] = (*wanted.events, TEST_EVENT, *(current.other_events() if current else ()))
    return Registration(wanted.url, tuple(dict.fromkeys(events)), wanted.own_header)
