"""The HTTP API, without Azure Functions types: headers and body in, a response out."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING

from referral_fn import log, strict_json
from referral_fn.api import problems
from referral_fn.api.batch import enqueue_all
from referral_fn.api.problems import Problem
from referral_fn.errors import RetryableError, SignatureError
from referral_fn.referrals.events import CONTENT_TYPE
from referral_fn.referrals.messages import request_message
from referral_fn.referrals.outcome import Forwarded, Unchanged
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
from referral_fn.settings import SettingsError

if TYPE_CHECKING:
    from referral_fn.app import App

OpenApp = Callable[[], "App"]
"""Returns the worker's app, opening it at the first call.

Raises:
    SettingsError: settings are missing or invalid.
"""

_Refused = (InvalidRequestError, RetryableError, SettingsError)


@dataclass(frozen=True, slots=True)
class Response:
    """An HTTP response."""

    status: int
    body: bytes = b""
    content_type: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)


async def forward(open_app: OpenApp, headers: Mapping[str, str], referral_id: str | None) -> Response:
    """`POST /api/referrals/{referralId}`: forward the referral and answer with its event, or queue it if preferred."""
    try:
        return await _forward(open_app(), headers, read_referral_id(referral_id))
    except _Refused as error:
        return refusal("forward_referral", problems.of_error(error))


async def request(open_app: OpenApp, headers: Mapping[str, str], body: bytes) -> Response:
    """`POST /api/referrals`: like `forward` for a single ID in the body; several IDs are queued."""
    name = "request_referrals"
    if is_missing(headers, body):
        return refusal(name, Problem("length-required", "send the body with a Content-Length, not chunked"))
    try:
        ids = read_body(body)
        if isinstance(ids, str):
            return await _forward(open_app(), headers, ids)
        results = await enqueue_all(open_app().requests, ids, Trace.of(headers))
    except _Refused as error:
        return refusal(name, problems.of_error(error))
    if problem := problems.of_results(results):
        return refusal(name, problem)
    return Response(HTTPStatus.ACCEPTED, strict_json.dumps({"results": results}))


async def webhook(open_app: OpenApp, headers: Mapping[str, str], body: bytes) -> Response:
    """`POST /api/webhooks/partner-center`: check the signature, queue the request, answer."""
    name = "partner_center_webhook"
    if is_missing(headers, body):
        detail = "the body did not arrive: send it with a Content-Length, not chunked"
        return refusal(name, Problem("body-missing", detail, retry_after=60))
    try:
        if len(body) > MAX_NOTIFICATION:
            raise InvalidRequestError("", f"must have at most {MAX_NOTIFICATION} bytes", "request-too-large")
        return await _notify(open_app(), headers, body)
    except SignatureError as error:  # already logged, with the check that failed
        return _response(problems.of_error(error))
    except _Refused as error:
        return refusal(name, problems.of_error(error))


async def health(open_app: OpenApp) -> Response:
    """`GET /api/health`: whether the settings are valid and the user's consent still holds.

    Key Vault is asked for the consent, because on Flex Consumption this runs in another instance than the queue worker.
    """
    try:
        app = open_app()
    except SettingsError as error:
        return refusal("health", problems.of_error(error))
    if reason := await app.tokens.check_consent():
        return refusal("health", Problem("consent-lapsed", reason))
    if reason := app.partner_center.mfa_required.current:
        return refusal("health", Problem("consent-lapsed", reason))
    document = {"status": "ok"}
    if app.state and app.state.webhook_watch and (drift := await app.state.webhook_watch.drift()):
        document["webhook"] = drift  # the app works, and what is not announced is found by reconciliation
    return Response(HTTPStatus.OK, strict_json.dumps(document))


async def _forward(app: "App", headers: Mapping[str, str], referral_id: str) -> Response:
    asked = ReferralRequest(referral_id, trace=Trace.of(headers))
    if prefers_async(headers):
        await app.requests.put(request_message(asked))
        body = strict_json.dumps({"referralId": referral_id, "status": "queued"})
        return Response(HTTPStatus.ACCEPTED, body, headers={"Preference-Applied": "respond-async"})
    outcome = await app.forwarder.forward(asked)
    if isinstance(outcome, Forwarded):
        return Response(HTTPStatus.OK, outcome.encoded, CONTENT_TYPE)
    if isinstance(outcome, Unchanged):
        return Response(HTTPStatus.OK, outcome.event.encode(), CONTENT_TYPE)
    return refusal("forward_referral", problems.of_outcome(outcome), referralId=referral_id)


async def _notify(app: "App", headers: Mapping[str, str], body: bytes) -> Response:
    await app.intake.verify(headers, body)
    event, document = read_event_name(body)
    if event == TEST_EVENT:
        return Response(HTTPStatus.OK)
    if event not in REFERRAL_EVENTS:
        return Response(HTTPStatus.NO_CONTENT)
    notified = read_notification(document, Trace.of(headers))
    is_first = await app.notifications.once(notified, body, lambda: app.requests.put(request_message(notified)))
    log.info("webhook.accepted", referralId=notified.referral_id, cause=notified.cause, repeated=not is_first)
    return Response(HTTPStatus.ACCEPTED)


def is_missing(headers: Mapping[str, str], body: bytes) -> bool:
    """Whether there may be a body that the host did not hand over: it reads one only if it has a Content-Length."""
    return not body and "content-length" not in headers


def refusal(function: str, problem: Problem, **fields: object) -> Response:
    """Answer with a problem, and log it: the host keeps only what is logged during an invocation."""
    if settings := problem.members.get("settings"):
        log.error("settings.wrong", function=function, detail="; ".join(f"{s['name']} {s['rule']}" for s in settings))
    else:
        log.warning("request.refused", function=function, status=problem.status, reason=problem.reason, **fields)
    return _response(problem)


def _response(problem: Problem) -> Response:
    return Response(problem.status, problem.encode(), problems.CONTENT_TYPE, problem.headers())
