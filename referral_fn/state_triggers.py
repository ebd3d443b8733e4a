"""The functions that `STATE_URL` adds to the app: the timer, and the backfills."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import azure.functions as func

from referral_fn.settings import Settings

if TYPE_CHECKING:
    from referral_fn.api.handlers import Response
    from referral_fn.app import App


def register(
    functions: func.FunctionApp,
    settings: Settings,
    open_app: Callable[[], "App"],
    as_azure: Callable[["Response"], func.HttpResponse],
) -> None:
    """Add the functions, if the settings name a table.

    Args:
        functions: the function app.
        settings: the app's settings, all of them valid.
        open_app: returns the worker's app.
        as_azure: makes an answer one of Azure Functions.
    """
    if settings.state_url is None:
        return

    async def reconcile(timer: func.TimerRequest) -> None:  # noqa: ARG001 - a trigger's signature
        """Ask for the referrals that changed without an event."""
        if state := open_app().state:
            await state.run_timer()

    timer = functions.timer_trigger("timer", settings.reconcile_schedule, run_on_startup=False)
    functions.function_name("reconcile")(timer(reconcile))

    @functions.function_name("start_backfill")
    @functions.route("backfills", methods=["POST"])
    async def start_backfill(req: func.HttpRequest) -> func.HttpResponse:
        """Start to load everything that Partner Center lists."""
        from referral_fn.api import backfills  # noqa: PLC0415 - indexing should not wait for it

        return as_azure(await backfills.start(open_app, req.headers, req.get_body()))

    @functions.function_name("show_backfill")
    @functions.route("backfills/{id}", methods=["GET"])
    async def show_backfill(req: func.HttpRequest) -> func.HttpResponse:
        """Show the progress of a backfill."""
        from referral_fn.api import backfills  # noqa: PLC0415

        return as_azure(await backfills.show(open_app, req.route_params.get("id")))
