"""Runs timer-triggered functions by their NCRONTAB schedules, in UTC.

Unlike Azure's, it keeps no record of the last run, so that a missed run is not caught up on, and several
hosts each run the function.
"""

import asyncio
from datetime import UTC, datetime
from typing import Any

from croniter import croniter

from local_stack.host import wire
from local_stack.host.channel import Call, InvocationError
from local_stack.host.dispatcher import Function, Invoker
from local_stack.host.host_json import resolve
from local_stack.host.http_site import new_trace_parent

_FIELDS = 6


class TimerListener:
    """The listener of one function."""

    def __init__(self, function: Function, dispatcher: Invoker) -> None:
        self._function = function
        self._dispatcher = dispatcher
        self._schedule = resolve(function.trigger["schedule"])
        self._last: datetime | None = None
        self._running: set[asyncio.Task[None]] = set()
        next_time(self._schedule, datetime.now(UTC))

    async def run(self) -> None:
        """Run the function at each time of its schedule until cancelled, then let it finish."""
        try:
            if self._function.trigger.get("runOnStartup"):
                await self.run_now()
            due = datetime.now(UTC)
            while True:
                due = next_time(self._schedule, max(due, datetime.now(UTC)))
                await asyncio.sleep((due - datetime.now(UTC)).total_seconds())
                await self._fire()
        finally:
            if self._running:
                await asyncio.wait(self._running)

    async def run_now(self) -> None:
        """Start the function now, regardless of its schedule, and do not wait for it."""
        task = asyncio.create_task(self._fire())
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _fire(self) -> None:
        now = datetime.now(UTC)
        info: dict[str, Any] = {
            "Schedule": {"AdjustForDST": True},
            "ScheduleStatus": {
                "Last": _text(self._last or datetime.min.replace(tzinfo=UTC)),
                "Next": _text(next_time(self._schedule, now)),
                "LastUpdated": _text(self._last or datetime.min.replace(tzinfo=UTC)),
            },
            "IsPastDue": False,
        }
        inputs = {self._function.trigger["name"]: wire.as_json(info)}
        metadata = {"TimerTrigger": wire.string(now.strftime("%m/%d/%Y %H:%M:%S"))}
        call = Call(self._function.id, self._function.name, inputs, metadata, new_trace_parent())
        self._last = now
        try:
            await self._dispatcher.invoke(call, f"Timer fired at {now.isoformat()}")
        except InvocationError:
            return  # it is logged, and the next time comes


def next_time(schedule: str, after: datetime) -> datetime:
    """The first time of an NCRONTAB schedule after a moment. Day of month and day of week must both match.

    Raises:
        LookupError: the schedule is not one.
    """
    if len(schedule.split()) != _FIELDS or not croniter.is_valid(schedule, second_at_beginning=True):
        raise LookupError(f"The schedule expression '{schedule}' was not recognized as a valid cron expression.")
    next_run: datetime = croniter(schedule, after, second_at_beginning=True, day_or=False).get_next(datetime)
    return next_run


def _text(moment: datetime) -> str:
    return moment.isoformat()
