"""The HTTP API: what is asked, and what is answered. Knows nothing of Azure Functions."""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING

from referral_fn import strict_json
from referral_fn.api import problems
from referral_fn.errors import PermanentError, RetryableError
from referral_fn.referrals.events import CONTENT_TYPE
from referral_fn.referrals.outcome import Forwarded
from referral_fn.referrals.request import (
    MAX_NOTIFICATION,
    REFERRAL_EVENTS,
    TEST_EVENT,
    InvalidRequestError,
    ReferralRequest,
    Trace,
    prefers_async,
    read_body,
    read_event_name,
    read_notification,
    read_referral_id,
)
from referral_fn.settings import SettingsError, read_settings

if TYPE_CHECKING:
    from referral_fn.forwarder import Forwarder

OpenForwarder = Callable[[], "Forwarder"]
"""Opens the worker's forwarder, or returns it; called only by a request that needs it.

Raises:
    SettingsError: settings are wrong.
"""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the caller is sent."""

    status: int
    body: bytes = b""
    content_type: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)


async def forward(open_forwarder: OpenForwarder, headers: Mapping[str, str], referral_id: str | None) -> Answer:
    """`POST /api/referrals/{referralId}`: forward it and answer with its event, or queue it where that is preferred."""
    try:
        request = ReferralRequest(read_referral_id(referral_id), trace=Trace.of(headers))
        if prefers_async(headers):
            await open_forwarder().enqueue(request)
            queued = strict_json.dumps({"referralId": request.referral_id, "status": "queued"})
            return Answer(HTTPStatus.ACCEPTED, queued, headers={"Preference-Applied": "respond-async"})
        outcome = await open_forwarder().forward(request)
    except (InvalidRequestError, RetryableError, SettingsError) as error:
        return _problem(problems.of_error(error))
    if isinstance(outcome, Forwarded):
        return Answer(HTTPStatus.OK, outcome.event.encode(), CONTENT_TYPE)
    return _problem(problems.of_outcome(outcome))


async def request(open_forwarder: OpenForwarder, headers: Mapping[str, str], body: bytes) -> Answer:
    """`POST /api/referrals`: as `forward` for the one in the body, or queue the many."""
    try:
        asked = read_body(body)
        if isinstance(asked, str):
            return await forward(open_forwarder, headers, asked)
        results = await open_forwarder().enqueue_all(asked, Trace.of(headers))
    except (InvalidRequestError, SettingsError) as error:
        return _problem(problems.of_error(error))
    if problem := problems.of_results(results):
        return _problem(problem)
    return Answer(HTTPStatus.ACCEPTED, strict_json.dumps({"results": results}))


async def webhook(open_forwarder: OpenForwarder, headers: Mapping[str, str], body: bytes) -> Answer:
    """`POST /api/webhooks/partner-center`: check the signature, queue the request, answer. Nothing else takes time."""
    try:
        if len(body) > MAX_NOTIFICATION:
            raise InvalidRequestError("", f"must have at most {MAX_NOTIFICATION} bytes", "request-too-large")
        await open_forwarder().authenticate(headers, body)
        event, document = read_event_name(body)
        if event == TEST_EVENT:
            return Answer(HTTPStatus.OK)
        if event not in REFERRAL_EVENTS:
            return Answer(HTTPStatus.NO_CONTENT)
        notified = dataclasses.replace(read_notification(document), trace=Trace.of(headers))
        await open_forwarder().enqueue_notified(notified)
    except (InvalidRequestError, PermanentError, RetryableError, SettingsError) as error:
        return _problem(problems.of_error(error))
    return Answer(HTTPStatus.ACCEPTED)


def health(environment: Mapping[str, str], opened: "Forwarder | None") -> Answer:
    """`GET /api/health`: whether the settings are right, and which are not; and whether the user's consent holds."""
    try:
        read_settings(environment)
    except SettingsError as error:
        return _problem(problems.of_error(error))
    if opened and opened.lapsed:
        return _problem(problems.Problem("consent-lapsed", opened.lapsed))
    return Answer(HTTPStatus.OK, strict_json.dumps({"status": "ok"}))


def description() -> Answer:
    """`GET /api/openapi.json`: this API as an OpenAPI document, which `make schemas` writes."""
    return Answer(HTTPStatus.OK, Path(__file__).with_name("openapi.json").read_bytes())


def _problem(problem: problems.Problem) -> Answer:
    return Answer(problem.status, problem.encode(), problems.CONTENT_TYPE, problem.headers())
