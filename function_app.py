"""The triggers: each reads its message, calls the package, and answers."""

import logging
import os
from collections.abc import Awaitable
from pathlib import Path
from typing import TYPE_CHECKING

import azure.functions as func

from referral_fn import log, problems, strict_json
from referral_fn.event import CONTENT_TYPE
from referral_fn.outcome import Forwarded, TroubleError
from referral_fn.requests import InvalidRequestError, ReferralRequest, Trace, read_body, read_referral_id
from referral_fn.settings import SettingsError, read_max_dequeue_count, read_settings

if TYPE_CHECKING:
    from referral_fn.forwarder import Forwarder

app = func.FunctionApp(http_auth_level=func.AuthLevel.FUNCTION)
logging.getLogger("azure").setLevel(logging.WARNING)  # azure-core logs every request and its headers at INFO

_max_dequeue_count = read_max_dequeue_count(Path(__file__).with_name("host.json"), os.environ)
_opened: "Forwarder | None" = None

try:
    read_settings(os.environ)
except SettingsError as wrong:
    log.error("settings.wrong", detail=str(wrong))


@app.function_name("forward_referral")
@app.route("referrals/{referralId}", methods=["POST"])
async def forward_referral(req: func.HttpRequest) -> func.HttpResponse:
    """Forward the referral in the path."""
    return await _answer(_forward(req, req.route_params.get("referralId")))


@app.function_name("request_referrals")
@app.route("referrals", methods=["POST"])
async def request_referrals(req: func.HttpRequest) -> func.HttpResponse:
    """Forward the one referral in the body, or queue the many."""
    return await _answer(_request(req))


@app.function_name("health")
@app.route("health", methods=["GET"], auth_level=func.AuthLevel.ANONYMOUS)
async def health(req: func.HttpRequest) -> func.HttpResponse:  # noqa: ARG001 - what a trigger is called with
    """Say whether the settings are right."""
    return await _answer(_health())


@app.function_name("forward_queued_referral")
@app.queue_trigger(arg_name="msg", queue_name="%REFERRAL_REQUESTS_QUEUE%", connection="ReferralRequests")
async def forward_queued_referral(msg: func.QueueMessage) -> None:
    """Take one message of the requests queue to its outcome."""
    last_delivery = (msg.dequeue_count or 1) >= _max_dequeue_count
    await _forwarder().settle(msg.get_body(), message_id=msg.id, last_delivery=last_delivery)


async def close() -> None:
    """Close the worker's connections, for a host that stops in an orderly way."""
    if _opened is not None:
        await _opened.close()


def _forwarder() -> "Forwarder":
    """The worker's one forwarder. Its imports, aiohttp and azure-identity among them, wait for whoever needs it."""
    global _opened  # noqa: PLW0603 - one per worker
    if _opened is None:
        from referral_fn.forwarder import Forwarder  # noqa: PLC0415

        _opened = Forwarder.open(os.environ)
    return _opened


async def _answer(answer: Awaitable[func.HttpResponse]) -> func.HttpResponse:
    try:
        return await answer
    except (InvalidRequestError, TroubleError, SettingsError) as error:
        return _problem(problems.of_error(error))


async def _health() -> func.HttpResponse:
    read_settings(os.environ)
    return _json({"status": "ok"}, 200)


async def _forward(req: func.HttpRequest, referral_id: object) -> func.HttpResponse:
    request = ReferralRequest(read_referral_id(referral_id), trace=Trace.of(req.headers))
    preferences = {preference.split(";")[0].strip().lower() for preference in req.headers.get("prefer", "").split(",")}
    if "respond-async" in preferences:
        await _forwarder().enqueue(request)
        return _json(
            {"referralId": request.referral_id, "status": "queued"}, 202, {"Preference-Applied": "respond-async"}
        )
    outcome = await _forwarder().forward(request)
    if isinstance(outcome, Forwarded):
        return func.HttpResponse(outcome.event.encode(), mimetype=CONTENT_TYPE)
    return _problem(problems.of_outcome(outcome))


async def _request(req: func.HttpRequest) -> func.HttpResponse:
    asked = read_body(req.get_body())
    if isinstance(asked, str):
        return await _forward(req, asked)
    results = await _forwarder().enqueue_all(asked, Trace.of(req.headers))
    problem = problems.of_results(results)
    return _problem(problem) if problem else _json({"results": results}, 202)


def _problem(problem: problems.Problem) -> func.HttpResponse:
    return func.HttpResponse(
        problem.encode(), status_code=problem.status, headers=problem.headers(), mimetype=problems.CONTENT_TYPE
    )


def _json(value: object, status: int, headers: dict[str, str] | None = None) -> func.HttpResponse:
    return func.HttpResponse(strict_json.dumps(value), status_code=status, headers=headers, mimetype="application/json")
