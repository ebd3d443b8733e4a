"""The triggers: each reads its message, calls the package and answers."""

import logging
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import azure.functions as func

from referral_fn import contract_triggers, log, state_triggers
from referral_fn.settings import CONNECTION, SettingsError, on_service_bus, read_settings

if TYPE_CHECKING:
    from referral_fn.api.handlers import Response
    from referral_fn.app import App

app = func.FunctionApp(http_auth_level=func.AuthLevel.FUNCTION)
logging.getLogger("azure.core").setLevel(logging.WARNING)  # logs each request with its headers at INFO
logging.getLogger("azure.identity").setLevel(logging.CRITICAL)  # logs Entra's refusals whole, with people's names

_opened: "App | None" = None


@app.function_name("forward_referral")
@app.route("referrals/{referralId}", methods=["POST"])
async def forward_referral(req: func.HttpRequest) -> func.HttpResponse:
    """Forward the referral in the path."""
    return _response(await _handlers().forward(_app, req.headers, req.route_params.get("referralId")))


@app.function_name("request_referrals")
@app.route("referrals", methods=["POST"])
async def request_referrals(req: func.HttpRequest) -> func.HttpResponse:
    """Forward the referral in the body, or queue several."""
    return _response(await _handlers().request(_app, req.headers, req.get_body()))


@app.function_name("partner_center_webhook")
@app.route("webhooks/partner-center", methods=["POST"], auth_level=func.AuthLevel.ANONYMOUS)
async def partner_center_webhook(req: func.HttpRequest) -> func.HttpResponse:
    """Take a notification from Partner Center. Its signature authenticates it."""
    return _response(await _handlers().webhook(_app, req.headers, req.get_body()))


@app.function_name("health")
@app.route("health", methods=["GET"], auth_level=func.AuthLevel.ANONYMOUS)
async def health(req: func.HttpRequest) -> func.HttpResponse:  # noqa: ARG001 - a trigger's signature
    """Report whether the app can work."""
    return _response(await _handlers().health(_app))


async def forward_from_storage(msg: func.QueueMessage) -> None:
    """Take one message of the requests queue to its outcome."""
    await _process(msg.get_body(), msg.id, msg.dequeue_count)


async def forward_from_service_bus(msg: func.ServiceBusMessage) -> None:
    """Take one message of the requests queue to its outcome."""
    await _process(msg.get_body(), f"{msg.message_id}@{msg.sequence_number}", msg.delivery_count)


def register_by_settings(functions: func.FunctionApp, environment: Mapping[str, str]) -> None:
    """Register what depends on settings. While any is invalid that is nothing, and messages wait, untouched.

    Messages are bound as bytes, because the host lets the members of a JSON text override the message's own metadata.
    """
    try:
        settings = read_settings(environment)
    except SettingsError as error:  # raising would hide the HTTP functions, too, and with them the reason
        log.at_startup("settings.wrong", detail=str(error))
        return
    queue, name = "%REFERRAL_REQUESTS_QUEUE%", functions.function_name("forward_queued_referral")
    if on_service_bus(environment):
        service_bus = functions.service_bus_queue_trigger("msg", CONNECTION, queue, data_type=func.DataType.BINARY)
        name(service_bus(forward_from_service_bus))
    else:
        storage = functions.queue_trigger("msg", queue, CONNECTION, data_type=func.DataType.BINARY)
        name(storage(forward_from_storage))
    state_triggers.register(functions, settings, _app, _response)


async def _process(body: bytes, message_id: str | None, count: int | None) -> None:
    from referral_fn.queue_worker import Delivery  # noqa: PLC0415

    worker = _app()
    await worker.queue_worker.process(Delivery(body, message_id, count or 1, worker.settings.max_deliveries))


def _handlers() -> Any:
    """The HTTP API, imported by the first invocation that needs it: indexing should not wait for it."""
    from referral_fn.api import handlers  # noqa: PLC0415

    return handlers


def _app() -> "App":
    """The worker's app, opened by the first invocation that needs it."""
    global _opened  # noqa: PLW0603 - one per worker process
    if _opened is None:
        from referral_fn.app import App  # noqa: PLC0415

        _opened = App.open(os.environ)
    return _opened


def _response(response: "Response") -> func.HttpResponse:
    return func.HttpResponse(
        response.body, status_code=response.status, headers=response.headers, mimetype=response.content_type
    )


contract_triggers.register(app, _response)
register_by_settings(app, os.environ)
