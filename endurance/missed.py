"""Check that no change is missed: some notifications never arrive; hosts, workers and the table fail.

The run fails if the last version of a referral is not published in the end, if an event names a predecessor that was
not published, or if its `changed` are not the fields that differ from that predecessor's.
"""

import argparse
import asyncio
import contextlib
import hashlib
import json
import random
import sys
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import aiohttp
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from endurance.load import open_queues, patiently
from endurance.platform import Platform
from local_stack.azurite import AzuriteError
from local_stack.host.process import HostError
from local_stack.stack import Stack, running
from local_stack.stand_ins.flaky import FlakyQueues
from local_stack.stand_ins.partner_center import Fault
from local_stack.stand_ins.referrals import SEED
from local_stack.stand_ins.serving import serving
from local_stack.stand_ins.webhooks import notification
from referral_fn.queues.base import Message

DEFAULT_N = 500
DROPPED = 0.05
"""The share of notifications that never arrive."""

_CHANGED_AGAIN = 0.3
"""The share of referrals that change once more."""

_SETTINGS = {
    "REFERRALS_DEFERRAL_SCHEDULE": "1,1,2,2,3,3,4,4",
    "REFERRALS_RETRY_BUDGET": "2",
    "RECONCILE_SCHEDULE": "*/10 * * * * *",
    "BACKFILL_RATE": "1000",
    "AzureFunctionsJobHost__extensions__queues__maxPollingInterval": "00:00:00.2",
    "AzureFunctionsJobHost__extensions__queues__visibilityTimeout": "00:00:01",
}
_BACKLOG = 50
"""Referrals in flight: few enough that most changes come after the first event."""
_PATIENCE = 120
"""Seconds without any new event after which the rest counts as lost."""


class Ledger:
    """The events that came, checked against each other."""

    def __init__(self) -> None:
        self.versions: dict[str, set[str]] = {}
        """By referral, the versions published."""
        self.delivered = 0
        self.untrue: list[str] = []
        self.causes: Counter[str] = Counter()
        self.without_attributes = 0
        self.last_news = time.monotonic()
        self._fields: dict[str, dict[str, str]] = {}
        self._unchecked: list[dict[str, Any]] = []

    def note(self, event: dict[str, Any]) -> None:
        """Keep an event, its data as hashes."""
        referral_id, _, version = event["id"].partition("@")
        self.delivered += 1
        self.causes[event.get("cause", "none")] += 1
        if version not in self.versions.setdefault(referral_id, set()):
            self.versions[referral_id].add(version)
            self.last_news = time.monotonic()
        self._fields[event["id"]] = {
            name: hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]
            for name, value in event["data"].items()
        }
        self._unchecked.append({name: event.get(name) for name in ("id", "previousid", "changed")})

    def check(self) -> None:
        """Compare each event with the one it names."""
        for event in self._unchecked:
            if event["previousid"] is None:
                self.without_attributes += 1
                continue
            before, after = self._fields.get(event["previousid"]), self._fields[event["id"]]
            if before is None:
                self.untrue.append(f"{event['id']} names {event['previousid']}, which was never published")
                continue
            differing = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
            if differing != (event["changed"] or "").split(",") and (differing or event["changed"]):
                self.untrue.append(f"{event['id']} says {event['changed']}, and {differing} differ")


class Run:
    """The changes of one run."""

    def __init__(self, stack: Stack, platform: Platform, session: aiohttp.ClientSession, count: int) -> None:
        self.random = random.Random(count)
        self.ledger = Ledger()
        self.dropped = 0
        self._stack = stack
        self._platform = platform
        self._session = session
        self._count = count
        self.referrals: dict[str, Any] = stack.partner_center.referrals
        self.referrals.clear()

    def calls(self) -> int:
        """The number of calls to Partner Center."""
        return len(self._stack.partner_center.calls)

    def missing(self) -> list[str]:
        """The referrals whose last version was not published."""
        return [
            referral_id
            for referral_id, referral in list(self.referrals.items())
            if referral["eTag"].strip('"') not in self.ledger.versions.get(referral_id, ())
        ]

    def change(self, referral_id: str) -> None:
        """Change a referral, or create it."""
        now = datetime.now(UTC).isoformat()
        fields = {
            "name": self.random.choice("abc"),
            "status": "New",
            "substatus": self.random.choice(["Pending", "Received"]),
        }
        self.referrals[referral_id] = {
            **SEED,
            "id": referral_id,
            "createdDateTime": self.referrals.get(referral_id, {}).get("createdDateTime", now),
            "updatedDateTime": now,
            "eTag": f'"{uuid.uuid4().hex[:12]}"',
            "statusDetail": None,
            **fields,
        }
        if self.random.random() < 0.05:
            fault = self.random.choice([Fault("status", status=503), Fault("reset"), Fault("status", status=429)])
            self._stack.partner_center.faults[referral_id] = Fault(
                fault.kind, fault.status, times=self.random.choice([1, 4])
            )

    async def change_all(self, requests: Any) -> None:
        """Make all changes, and announce most of them."""
        for _ in range(self._count):
            while len(self.referrals) - len(self.ledger.versions) > _BACKLOG:  # noqa: ASYNC110 - events come in steps
                await asyncio.sleep(0.05)
            referral_id = str(uuid.UUID(int=self.random.getrandbits(128), version=4))
            await self._announce(requests, referral_id, "referral-created")
            if self.random.random() < _CHANGED_AGAIN:
                known = list(self.ledger.versions) or [referral_id]
                await self._announce(requests, self.random.choice(known), "referral-updated")

    async def _announce(self, requests: Any, referral_id: str, event: str) -> None:
        self.change(referral_id)
        if self.random.random() < DROPPED:
            self.dropped += 1
            return
        await patiently(requests.put, Message(notification(event, referral_id)))

    async def backfill(self) -> None:
        """Create all referrals at once, and start a backfill."""
        for _ in range(self._count):
            self.change(str(uuid.UUID(int=self.random.getrandbits(128), version=4)))
        while True:
            await self._platform.up.wait()
            with contextlib.suppress(aiohttp.ClientError):
                url = f"{self._platform.host.url}/api/backfills"  # type: ignore[union-attr]
                async with self._session.post(url, json={}) as answer:
                    if answer.status == 202:
                        return
            await asyncio.sleep(0.5)

    async def collect(self, queue: Any) -> None:
        """Take events until cancelled."""
        while True:
            taken = await patiently(queue.take, 60) or []
            for message in taken:
                self.ledger.note(json.loads(message.body))
            await asyncio.gather(*(patiently(queue.remove, message) for message in taken))
            if not taken:
                await asyncio.sleep(0.3)

    async def disturb(self) -> None:
        """Kill hosts and workers, spread over the run."""
        kills = max(2, min(40, self._count // 500))
        moments = sorted(self.random.randrange(self._count * 9 // 10) for _ in range(2 * kills))
        while moments:
            await asyncio.sleep(0.1)
            if len(self.ledger.versions) >= moments[0] and self._platform.up.is_set():
                moments.pop(0)
                self.random.choice([self._platform.kill_host, self._platform.kill_worker])()


@contextlib.asynccontextmanager
async def _troubled_table(stack: Stack, url: str) -> AsyncIterator[str]:
    """The table behind a proxy that refuses calls and loses answers. Yields the table's URL there."""
    connector = aiohttp.TCPConnector(ssl=stack.authority.client_context(), limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:
        flaky = FlakyQueues(stack.tables.origin, session)
        flaky.refused, flaky.lost = 0.02, 0.01
        async with serving(flaky.app, tls=stack.authority.server_context()) as origin:
            yield url.replace(stack.tables.origin, origin)


async def run(count: int, console: Console, *, backfill: bool) -> dict[str, Any]:
    """Run it. Returns the report."""
    started = time.monotonic()
    async with running(on_disk=True) as stack:
        queues = await stack.queues()
        connector = aiohttp.TCPConnector(ssl=stack.authority.client_context(), limit=0)
        async with (
            _troubled_table(stack, await stack.fresh_table()) as table,
            aiohttp.ClientSession(connector=connector) as session,
            Platform(stack, stack.environment(queues, STATE_URL=table, **_SETTINGS)) as platform,
        ):
            one = Run(stack, platform, session, count)
            requests, events, _ = open_queues(stack, session, queues)
            changing = asyncio.create_task(one.backfill() if backfill else one.change_all(requests))
            tasks = [changing, asyncio.create_task(one.collect(events)), asyncio.create_task(one.disturb())]
            columns = BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}")
            try:
                with Progress(*columns, console=console, refresh_per_second=2) as progress:
                    bar = progress.add_task("referrals", total=count)
                    while not changing.done() or (one.missing() and not _is_late(one)):
                        await asyncio.sleep(1)
                        progress.update(bar, completed=len(one.ledger.versions))
                        for task in tasks:
                            if task.done():
                                task.result()
                        platform.check()
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
            one.ledger.check()
            return _report(one, platform, await queues.rejects.count(), time.monotonic() - started)


def _is_late(one: Run) -> bool:
    return time.monotonic() - one.ledger.last_news > _PATIENCE


def _report(one: Run, platform: Platform, rejects: int, seconds: float) -> dict[str, Any]:
    ledger = one.ledger
    return {
        "referrals": len(one.referrals),
        "notifications dropped": one.dropped,
        "last versions not published": len(one.missing()),
        "rejects": rejects,
        "events": ledger.delivered,
        "events by cause": dict(sorted(ledger.causes.items())),
        "events without a predecessor": ledger.without_attributes,
        "events that are not true": len(ledger.untrue),
        "calls to Partner Center": one.calls(),
        "unchanged": platform.logged["referral.unchanged"],
        "reconciliations": platform.logged["reconcile.finished"],
        "reconciliations that failed": platform.logged["reconcile.failed"],
        "backfill pages deferred": platform.logged["backfill.deferred"],
        "backfill pages that came again": platform.logged["backfill.repeated"],
        "table in trouble": platform.logged["state.unavailable"],
        "hosts killed": platform.kills["host"],
        "workers killed": platform.kills["worker"],
        "seconds": round(seconds),
        "violations": [*ledger.untrue[:20], *(f"{one_id} is missing" for one_id in one.missing()[:20])],
    }


def main() -> int:
    """Run it from the command line. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m endurance.missed", description=__doc__)
    parser.add_argument("-n", type=int, default=DEFAULT_N, help=f"how many referrals; default: {DEFAULT_N}")
    parser.add_argument("--backfill", action="store_true", help="load them by a backfill, with no notification at all")
    options = parser.parse_args()
    console = Console(stderr=True)
    try:
        figures = asyncio.run(run(options.n, console, backfill=options.backfill))
    except (AzuriteError, HostError) as error:
        console.print(str(error), style="red", markup=False)
        return 1
    violations = figures.pop("violations")
    for what, value in figures.items():
        for name, number in value.items() if isinstance(value, dict) else [("", value)]:
            print(f"{what}{': ' if name else ''}{name}".ljust(48) + f"{number:>10,}")
    for violation in violations:
        print(f"VIOLATION: {violation}")
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
