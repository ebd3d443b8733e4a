"""The functions that `STATE_URL` adds to the app: the timer, and the backfills."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import azure.functions as func

from referral_fn.settings import Settings

if TYPE_CHECKING:
    from referral_fn.app import App


def register(functions: func.FunctionApp, settings: Settings, open_app: Callable[[], "App"]) -> None:
    """Add the functions, if the settings name a table.

    Args:
        functions: the function app.
        settings: valid ones.
        open_app: returns the worker's app.
    """
    if settings.state_url is None:
        return

    async def reconcile(timer: func.TimerRequest) -> None:  # noqa: ARG001 - a trigger's signature
        """Ask for the referrals that changed without an event."""
        if state := open_app().state:
            await state.reconciler.run_from_timer()

    timer = functions.timer_trigger("timer", settings.reconcile_schedule, run_on_startup=False)
    functions.function_name("reconcile")(timer(reconcile))
