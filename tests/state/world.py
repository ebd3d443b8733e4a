"""One referral's way through the app, in memory, with control over the order of steps."""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from referral_fn.errors import RetryableError
from referral_fn.forwarder import Forwarder
from referral_fn.partner_center import Fetched
from referral_fn.queues.base import Message, MessageTooLargeError
from referral_fn.referrals.outcome import Forwarded, Outcome, Unchanged
from referral_fn.referrals.request import ReferralRequest, Trace
from referral_fn.referrals.wire import read_referral
from referral_fn.settings import read_settings
from referral_fn.state.memory import Memory
from referral_fn.state.table import Row
from referral_fn.strict_json import loads
from tests.documents import SEED_ID, encode, seed
from tests.environment import ENVIRONMENT
from tests.state.memory_table import MemoryTable

SETTINGS = read_settings(ENVIRONMENT)
NOTIFIED = ReferralRequest(SEED_ID, cause="referral-updated")
ASKED = ReferralRequest(SEED_ID)


class Steps:
    """Lets a test decide which of several tasks goes on: each waits here before it does anything that others see."""

    def __init__(self) -> None:
        self.waiting: dict[asyncio.Future[None], asyncio.Task[Any]] = {}

    async def turn(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        future = asyncio.get_running_loop().create_future()
        self.waiting[future] = task
        try:
            await future
        finally:
            self.waiting.pop(future, None)

    async def settle(self, running: set[asyncio.Task[Any]]) -> None:
        """Let all tasks run until each waits for its turn or has ended."""
        while running - {task for future, task in self.waiting.items() if not future.done()} - done(running):
            await asyncio.sleep(0)


def done(tasks: set[asyncio.Task[Any]]) -> set[asyncio.Task[Any]]:
    return {task for task in tasks if task.done()}


async def _no_step() -> None:
    """Go on at once."""


@dataclass
class World:
    """Partner Center, the events queue and the table, all in memory."""

    versions: list[dict[str, Any]] = field(default_factory=lambda: [snapshot(0)])
    table: MemoryTable = field(default_factory=MemoryTable)
    events: list[dict[str, Any]] = field(default_factory=list)
    messages: list[Message] = field(default_factory=list)
    step: Callable[[], Any] = _no_step
    stale: Callable[[int], int] = lambda newest: newest
    row_sequence: str = ""
    """The greatest sequence that was written to the row."""
    bad_rows: list[Mapping[str, Any]] = field(default_factory=list)
    """What was written to the row in place of a later snapshot."""
    bad_events: list[Mapping[str, Any]] = field(default_factory=list)
    """Events that do not name the one that the row named when it was read for them."""
    recalled: dict[asyncio.Task[Any] | None, str | None] = field(default_factory=dict)
    """By task, the event that the row named when the task last read it."""
    hindered: set[asyncio.Task[Any] | None] = field(default_factory=set)
    """Tasks for which the table failed."""
    max_body: int = sys.maxsize
    """Bytes that the events queue accepts."""
    span_attributes: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        world: Any = self
        self.forwarder = Forwarder(SETTINGS, world, world, Memory(SteppedTable(self)))

    async def fetch(self, request: ReferralRequest, _trace: Trace | None = None) -> Fetched:
        await self.step()
        document = self.versions[self.stale(len(self.versions) - 1)]
        return Fetched(read_referral(encode(document), request.referral_id), {}, {})

    async def put(self, message: Message, *, delay: float = 0) -> None:
        assert delay == 0
        await self.step()
        if len(message.body) > self.max_body:
            raise MessageTooLargeError("the event is too large")
        self.messages.append(message)
        self.events.append(loads(message.body))
        self.check_predecessor(self.events[-1])

    def alter(self, change: Mapping[str, Any]) -> None:
        """Change the newest snapshot without a new version, as a new release of the app may do."""
        self.versions[-1] = {**self.versions[-1], **change}

    def calm(self) -> None:
        """End all trouble, and all waiting."""
        self.step, self.stale, self.table.is_down = _no_step, lambda newest: newest, False

    async def forward(self, request: ReferralRequest = NOTIFIED) -> Outcome:
        return await self.forwarder.forward(request)

    def check(self) -> None:
        """Each event names one that came before it, and exactly the fields that differ from that one's."""
        for number, event in enumerate(self.events):
            if "previousid" not in event:
                assert not {"changed", "outoforder"} & event.keys()
                continue
            assert event["previousid"] != event["id"]
            named = [one for one in self.events[:number] if one["id"] == event["previousid"]]
            changed = event["changed"].split(",") if "changed" in event else []
            assert changed in [differing(one["data"], event["data"]) for one in named]
            assert ("outoforder" in event) is (event["sequence"] < named[0]["sequence"])
        assert self.bad_rows == self.bad_events == []

    def check_predecessor(self, event: Mapping[str, Any]) -> None:
        """An event names the one that the row named, which is the last published one unless something failed."""
        named, known = event.get("previousid"), self.recalled.get(asyncio.current_task())
        if known != event["id"] and named != known:
            self.bad_events.append(event)

    def check_outcome(self, task: asyncio.Task[Outcome]) -> None:
        """What ends as unchanged was published; what was published is in the row, or overtaken, if nothing failed."""
        outcome = task.result()
        if isinstance(outcome, Unchanged):
            assert outcome.event.id in [event["id"] for event in self.events]
        elif isinstance(outcome, Forwarded) and task not in self.hindered:
            assert outcome.event.extensions["sequence"] <= self.row_sequence

    def check_row(self, values: Mapping[str, Any]) -> None:
        """The row names an event with the greatest sequence that was ever written to it."""
        (sequence,) = {event["sequence"] for event in self.events if event["id"] == values["EventId"]}
        if sequence != values["Sequence"] or sequence < self.row_sequence:
            self.bad_rows.append(values)
        self.row_sequence = max(self.row_sequence, sequence)


class SteppedTable(MemoryTable):
    """The world's table, each call a step."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self._world = world

    async def get(self, partition: str, key: str) -> Row | None:
        task = asyncio.current_task()
        self._world.recalled[task] = None
        async with self._noted():
            row = await self._world.table.get(partition, key)
        self._world.recalled[task] = row.values.get("EventId") if row else None
        return row

    async def save(self, partition: str, key: str, values: Mapping[str, Any], *, etag: str | None) -> None:
        async with self._noted():
            await self._world.table.save(partition, key, values, etag=etag)
        self._world.check_row(values)

    @contextlib.asynccontextmanager
    async def _noted(self) -> AsyncIterator[None]:
        """A step, with a note of its task if it fails."""
        try:
            await self._world.step()
            yield
        except (RetryableError, asyncio.CancelledError):
            self._world.hindered.add(asyncio.current_task())
            raise


def differing(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    return sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))


def snapshot(number: int, **changes: Any) -> dict[str, Any]:
    return seed(eTag=f'"v{number}"', updatedDateTime=f"2026-01-01T00:00:{number:02}Z", **changes)
