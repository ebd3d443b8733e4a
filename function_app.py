"""The triggers: each reads its message, calls the package, and answers."""

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import azure.functions as func

from referral_fn import log
from referral_fn.api import handlers
from referral_fn.settings import SettingsError, on_service_bus, read_max_dequeue_count, read_settings, with_sessions

if TYPE_CHECKING:
    from referral_fn.forwarder import Forwarder

app = func.FunctionApp(http_auth_level=func.AuthLevel.FUNCTION)
logging.getLogger("azure").setLevel(logging.WARNING)  # azure-core logs every request and its headers at INFO
logging.getLogger("azure.identity").setLevel(logging.CRITICAL)  # and this, refusals whole, people's names in them

_max_dequeue_count = read_max_dequeue_count(Path(__file__).with_name("host.json"), os.environ)
_opened: "Forwarder | None" = None

try:
    read_settings(os.environ)
except SettingsError as wrong:  # said, and no more: a host that found no functions would hide the reason
    log.error("settings.wrong", detail=str(wrong))


@app.function_name("forward_referral")
@app.route("referrals/{referralId}", methods=["POST"])
async def forward_referral(req: func.HttpRequest) -> func.HttpResponse:
    """Forward the referral in the path."""
    return _response(await handlers.forward(_forwarder, req.headers, req.route_params.get("referralId")))


@app.function_name("request_referrals")
@app.route("referrals", methods=["POST"])
async def request_referrals(req: func.HttpRequest) -> func.HttpResponse:
    """Forward the one referral in the body, or queue the many."""
    return _response(await handlers.request(_forwarder, req.headers, req.get_body()))


@app.function_name("partner_center_webhook")
@app.route("webhooks/partner-center", methods=["POST"], auth_level=func.AuthLevel.ANONYMOUS)
async def partner_center_webhook(req: func.HttpRequest) -> func.HttpResponse:
    """Take a notification of Partner Center's. Its signature is its key."""
    return _response(await handlers.webhook(_forwarder, req.headers, req.get_body()))


@app.function_name("health")
@app.route("health", methods=["GET"], auth_level=func.AuthLevel.ANONYMOUS)
async def health(req: func.HttpRequest) -> func.HttpResponse:  # noqa: ARG001 - what a trigger is called with
    """Say whether the settings are right."""
    return _response(handlers.health(os.environ, _opened))


@app.function_name("openapi")
@app.route("openapi.json", methods=["GET"], auth_level=func.AuthLevel.ANONYMOUS)
async def openapi(req: func.HttpRequest) -> func.HttpResponse:  # noqa: ARG001 - what a trigger is called with
    """Describe this API."""
    return _response(handlers.description())


_requests: dict[str, Any] = {"queue_name": "%REFERRAL_REQUESTS_QUEUE%", "connection": "ReferralRequests"}

if on_service_bus(os.environ):

    @app.function_name("forward_queued_referral")
    @app.service_bus_queue_trigger(arg_name="msg", is_sessions_enabled=with_sessions(os.environ), **_requests)
    async def forward_queued_referral(msg: func.ServiceBusMessage) -> None:
        """Take one message of the requests queue to its outcome."""
        await _settle(msg.get_body(), f"{msg.message_id}@{msg.sequence_number}", msg.delivery_count)

else:

    @app.function_name("forward_queued_referral")
    @app.queue_trigger(arg_name="msg", **_requests)
    async def forward_queued_referral(msg: func.QueueMessage) -> None:
        """Take one message of the requests queue to its outcome."""
        await _settle(msg.get_body(), msg.id, msg.dequeue_count)


async def _settle(body: bytes, message_id: str | None, delivery: int | None) -> None:
    again, last = (delivery or 1) > 1, (delivery or 1) >= _max_dequeue_count
    await _forwarder().settle(body, message_id=message_id, again=again, last=last)


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


def _response(answer: handlers.Answer) -> func.HttpResponse:
    return func.HttpResponse(
        answer.body, status_code=answer.status, headers=answer.headers, mimetype=answer.content_type
    )
