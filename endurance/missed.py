"""Check that no change is missed: some notifications never arrive; hosts, workers, queues and the table fail.

The run fails if the last version of a referral is not published in the end, if an event names a predecessor that was
not published, if its `changed` are not the fields that differ from that predecessor's, if more events name none than
failures of the table, hosts and workers explain, if no event names one, or if a message ends in the poison queue.
"""

import asyncio
import contextlib
import json
import random
import sys
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from endurance.command import Figures, execute, parser
from endurance.ledger import Ledger
from endurance.load import open_queues, patiently
from endurance.platform import LEASE, Platform, with_queues_at
from local_stack.stack import Queues, Stack, running
from local_stack.stand_ins.flaky import FlakyQueues
from local_stack.stand_ins.partner_center import Fault
from local_stack.stand_ins.referrals import SEED
from local_stack.stand_ins.serving import serving
from local_stack.stand_ins.webhooks import notification
from referral_fn.queues.base import Message, Queue

DEFAULT_N = 500
MUST_BE_ZERO = (
    "last versions not published",
    "events that are not true",
    "of these, more than failures explain",
    "in the poison queue",
)
DROPPED = 0.05
"""The share of notifications that never arrive."""

_CHANGED_AGAIN = 0.3
"""The share of referrals that change once more."""

_BACKLOG = 100
"""Referrals in flight: few enough that most changes come after the first event."""

_LIST_LAG = timedelta(minutes=29, seconds=20)
"""How much older than its change a referral's `updatedDateTime` is. Reconciliation starts 30 minutes before its last
run: any longer lag would lose changes, and a shorter one would make each run read again what hours have in production.
"""

_OUTAGE = 5
"""Seconds for which the table refuses every call, or answers none."""

_LOST_BY_A_DEATH = 8
"""Predecessors that the death of a host or a worker may lose: of 32 referrals in flight, those between their event and
their row."""

_PATIENCE = 120
"""Seconds without any new event after which the rest counts as lost."""

_SETTINGS = {
    "REFERRALS_DEFERRAL_SCHEDULE": "1,1,2,2,3,3,4,4",
    "REFERRALS_RETRY_BUDGET": "2",
    "RECONCILE_SCHEDULE": "*/15 * * * * *",
    "AzureFunctionsJobHost__extensions__queues__maxPollingInterval": "00:00:00.2",
    "AzureFunctionsJobHost__extensions__queues__visibilityTimeout": "00:00:01",
}
_FAULTS = (Fault("status", status=503), Fault("reset"), Fault("status", status=429), Fault("truncated"))


@dataclass(frozen=True)
class World:
    """What a run works with."""

    stack: Stack
    queues: Queues
    platform: Platform
    session: aiohttp.ClientSession
    table: FlakyQueues
    """The proxy in front of the table."""


class Run:
    """The changes and disturbances of one run."""

    def __init__(self, world: World, count: int) -> None:
        self.world = world
        self.random = random.Random(count)
        self.ledger = Ledger()
        self.changes = self.dropped = self.outages = self.restarts = 0
        self._count = count
        self.requests, self.events, _ = open_queues(world.stack, world.session, world.queues)
        self.referrals: dict[str, Any] = world.stack.partner_center.referrals
        self.referrals.clear()

    def missing(self) -> list[str]:
        """The referrals whose last version was not published."""
        return [
            referral_id
            for referral_id, referral in list(self.referrals.items())
            if referral["eTag"].strip('"') not in self.ledger.versions.get(referral_id, ())
        ]

    async def run(self, progress: Progress) -> None:
        """Change, disturb and collect, until everything is published or nothing happens any more."""
        bar = progress.add_task("referrals", total=self._count)
        changing = asyncio.create_task(self._change_all())
        tasks = [changing, asyncio.create_task(self._collect()), asyncio.create_task(self._disturb())]
        try:
            while not changing.done() or (self.missing() and not self._is_late()):
                await asyncio.sleep(1)
                progress.update(bar, completed=len(self.ledger.versions))
                for task in tasks:
                    if task.done():
                        task.result()
                self.world.platform.check()
            await asyncio.sleep(LEASE)  # for what would come twice
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        self.ledger.check()

    def _is_late(self) -> bool:
        return time.monotonic() - self.ledger.last_news > _PATIENCE

    async def _change_all(self) -> None:
        """Make all changes after a first reconciliation, which would find any change, and announce most of them."""
        while not self.world.platform.logged["reconcile.finished"]:  # noqa: ASYNC110 - the log is read elsewhere
            await asyncio.sleep(0.2)
        for _ in range(self._count):
            while len(self.referrals) - len(self.ledger.versions) > _BACKLOG:  # noqa: ASYNC110 - events come in steps
                await asyncio.sleep(0.05)
            referral_id = str(uuid.UUID(int=self.random.getrandbits(128), version=4))
            await self._change(referral_id, "referral-created")
            if self.random.random() < _CHANGED_AGAIN:
                known = list(self.ledger.versions) or [referral_id]
                await self._change(self.random.choice(known), "referral-updated")

    async def _change(self, referral_id: str, event: str) -> None:
        """Change a referral, or create it, and put the notification's request on the queue, or not."""
        self.changes += 1
        updated = (datetime.now(UTC) - _LIST_LAG).isoformat()
        self.referrals[referral_id] = {
            **SEED,
            "id": referral_id,
            "createdDateTime": self.referrals.get(referral_id, {}).get("createdDateTime", updated),
            "updatedDateTime": updated,
            "eTag": f'"{uuid.uuid4().hex[:12]}"',
            "statusDetail": None,
            "name": self.random.choice("abc"),
            "status": "New",
            "substatus": self.random.choice(["Pending", "Received"]),
        }
        if self.random.random() < 0.05:
            fault = self.random.choice(_FAULTS)
            times = self.random.choice([1, 4])
            self.world.stack.partner_center.faults[referral_id] = Fault(fault.kind, fault.status, times=times)
        if self.random.random() < DROPPED:
            self.dropped += 1
        else:
            await patiently(self.requests.put, Message(notification(event, referral_id)))

    async def _collect(self) -> None:
        """Take events until cancelled."""
        queue: Queue = self.events
        while True:
            taken = await patiently(queue.take, 60) or []
            for message in taken:
                self.ledger.note(json.loads(message.body))
            await asyncio.gather(*(patiently(queue.remove, message) for message in taken))
            if not taken:
                await asyncio.sleep(0.3)

    async def _disturb(self) -> None:
        """Kill, refuse and restart at random moments, spread over the run."""
        kills, outages = max(2, min(40, self._count // 500)), max(1, min(20, self._count // 1000))
        platform = self.world.platform
        plan = self._plan(kills, lambda: _at_once(platform.kill_host))
        plan += self._plan(kills, lambda: _at_once(platform.kill_worker))
        plan += self._plan(outages, lambda: self._table_outage(stalled=0, refused=1))
        plan += self._plan(outages, lambda: self._table_outage(stalled=1, refused=0))
        restarts = max(1, min(4, self._count // 10_000))
        plan += self._plan(restarts, self._restart)
        for moment, disturb in sorted(plan, key=lambda entry: entry[0]):
            while len(self.ledger.versions) < moment or not platform.up.is_set():
                await asyncio.sleep(0.1)
                platform.look()
            await disturb()

    def _plan(self, number: int, disturb: Callable[[], Awaitable[None]]) -> list[tuple[int, Any]]:
        """So many moments, as numbers of referrals published, before the last tenth."""
        return [(self.random.randrange(self._count * 9 // 10), disturb) for _ in range(number)]

    async def _table_outage(self, *, refused: float, stalled: float) -> None:
        table = self.world.table
        before = table.refused
        table.refused, table.stalled = refused, stalled
        self.outages += 1
        await asyncio.sleep(_OUTAGE)
        table.refused, table.stalled = before, 0

    async def _restart(self) -> None:
        """Restart the queue service. Azurite's table service would come back without its tables."""
        self.restarts += 1
        await self.world.stack.azurite.restart()


async def _at_once(kill: Callable[[], None]) -> None:
    kill()


@contextlib.asynccontextmanager
async def _troubled_app(stack: Stack) -> AsyncIterator[World]:
    """The app behind faulty queues and with a faulty table."""
    queues, table_url = await stack.queues(), await stack.fresh_table()
    connector = aiohttp.TCPConnector(ssl=stack.authority.client_context(), limit=0)
    tls = stack.authority.server_context()
    async with aiohttp.ClientSession(connector=connector) as session:
        flaky, table = FlakyQueues(stack.azurite.origin, session), FlakyQueues(stack.tables.origin, session)
        flaky.refused, flaky.lost = 0.01, 0.003
        table.refused, table.lost = 0.02, 0.01
        async with serving(flaky.app, tls=tls) as queues_at, serving(table.app, tls=tls) as table_at:
            state_url = table_url.replace(stack.tables.origin, table_at)
            settings = stack.environment(queues, STATE_URL=state_url, **_SETTINGS)
            async with Platform(stack, with_queues_at(settings, stack.azurite.origin, queues_at)) as platform:
                yield World(stack, queues, platform, session, table)


async def run(count: int, console: Console) -> Figures:
    """Run it. Returns the report."""
    started = time.monotonic()
    columns = BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}")
    async with running(on_disk=True) as stack, _troubled_app(stack) as world:
        one = Run(world, count)
        with Progress(*columns, console=console, refresh_per_second=2) as progress:
            await one.run(progress)
        return await report(one, time.monotonic() - started)


async def report(one: Run, seconds: float) -> Figures:
    """The figures of the run."""
    ledger, platform, queues, missing = one.ledger, one.world.platform, one.world.queues, one.missing()
    deaths = platform.kills.total() + platform.ended_by_themselves
    explained = platform.logged["state.unavailable"] + _LOST_BY_A_DEATH * deaths
    return {
        "referrals": len(one.referrals),
        "changes": one.changes,
        "notifications dropped": one.dropped,
        "last versions not published": len(missing),
        "events that are not true": len(ledger.untrue),
        "in the poison queue": await queues.poison.count(),
        "rejects": await queues.rejects.count(),
        "events": ledger.delivered,
        "events by cause": dict(sorted(ledger.causes.items())),
        "events that name a predecessor": ledger.with_predecessor,
        "events with a predecessor that name none": ledger.without_predecessor,
        "of these, more than failures explain": max(0, ledger.without_predecessor - explained),
        "requests that ended as unchanged": platform.logged["referral.unchanged"],
        "reconciliations": platform.logged["reconcile.finished"],
        "reconciliations that failed": platform.reasons.get("reconcile.failed", {"": 0}),
        "changes logged as missed": platform.logged["referral.missed"],
        "calls to Partner Center": len(one.world.stack.partner_center.calls),
        "deferrals": platform.logged["referral.deferred"],
        "table calls that failed, as logged": platform.logged["state.unavailable"],
        "table outages": one.outages,
        "hosts killed": platform.kills["host"],
        "workers killed": platform.kills["worker"],
        "hosts that ended by themselves": platform.ended_by_themselves,
        "queue service restarted": one.restarts,
        "seconds": round(seconds),
        "worker's peak memory, MiB": round(platform.peak_memory / 2**20),
        "violations": [*ledger.untrue[:20], *(f"{one_id} is missing" for one_id in missing[:20])],
    }


def failed(figures: Figures) -> bool:
    """Whether the figures show a defect in the app."""
    return any(figures[name] for name in MUST_BE_ZERO) or not figures["events that name a predecessor"]


def main() -> int:
    """Run it from the command line. Returns the exit status."""
    options = parser("missed", __doc__, DEFAULT_N).parse_args()
    return execute(lambda console: run(options.n, console), failed)


if __name__ == "__main__":
    sys.exit(main())
