"""Check that nothing is lost: faults in every dependency, killed hosts and workers, queue service restarts.

Each referral is requested with an expected fate: an event, however long the faults before it last, or a reject with a
particular reason. The run fails if a referral meets another fate or none, if two events of one referral have different
IDs, or if a message ends in the poison queue.
"""

import asyncio
import contextlib
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import Any

import aiohttp
from aiohttp import web
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from endurance.command import Figures, add_queue, execute, parser
from endurance.fates import AnyReferral
from endurance.load import Load
from endurance.platform import LEASE, Platform, with_queues_at
from local_stack.stack import SERVICE_BUS, STORAGE, Queues, Stack, running
from local_stack.stand_ins.flaky import FlakyQueues
from local_stack.stand_ins.serving import serving

DEFAULT_N = 500

_SETTINGS = {
    "REFERRALS_DEFERRAL_SCHEDULE": "1,1,2,2,3,3,4,4",  # seconds for what takes two days
    "REFERRALS_RETRY_BUDGET": "2",
    "AzureFunctionsJobHost__extensions__queues__maxPollingInterval": "00:00:00.2",
    "AzureFunctionsJobHost__extensions__queues__visibilityTimeout": "00:00:01",
}
_BESIDE = 10
"""Healthy referrals that one which kills workers may take with it, of the 31 in flight: few, because redelivered
messages pause. All of them, if they did not."""

_CALM = 3
"""Seconds between two planned kills, so that a short run does not kill the same messages again and again."""

_PATIENCE = 120
"""Seconds without any outcome after which the rest counts as lost."""

_CALLS_UNTIL_REFUSED = 40
"""Calls to the requests queue after which a host's identity has lost its role on it."""


class Chaos:
    """The disturbances of one run."""

    def __init__(self, stack: Stack, queues: Queues, platform: Platform, load: Load, count: int) -> None:
        self._is_storage = queues.requests.url.startswith("https")
        self._service = stack.azurite if self._is_storage else stack.service_bus
        self._platform = platform
        self._load = load
        self._count = count
        self.restarts = 0
        self.refused: dict[str, str] = {}
        """Settings with which a host is refused by its queue service after some calls."""

    async def run(self, progress: Progress) -> None:
        """Ask, disturb and collect, until everything has met its fate or nothing happens any more."""
        bar = progress.add_task("referrals", total=self._count)
        load = self._load
        asking = asyncio.create_task(load.ask())
        tasks = [asking, *(asyncio.create_task(load.collect(queue)) for queue in (load.events, load.rejects))]
        tasks.append(asyncio.create_task(self._disturb()))
        started = time.monotonic()
        try:
            while not (asking.done() and load.under_way == 0):
                await asyncio.sleep(0.2)
                progress.update(bar, completed=load.done, description=self._state(started))
                for task in tasks:
                    if task.done():
                        task.result()
                self._platform.check()
                if time.monotonic() - load.last_outcome > _PATIENCE:
                    break
            await asyncio.sleep(LEASE)  # for what would come twice
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _state(self, started: float) -> str:
        rate = self._load.done / (time.monotonic() - started)
        kills = f"{self._platform.kills['host']} hosts and {self._platform.kills['worker']} workers killed"
        ended = f"{self._platform.ended_by_themselves} hosts ended"
        return f"{rate:.1f}/s, {self._load.under_way} under way, {kills}, {ended}, {self.restarts} restarts"

    async def _disturb(self) -> None:
        """Kill, refuse and restart at random moments, spread over the run."""
        kills = max(2, min(60, self._count // 1000))
        plan = [(moment, self._platform.kill_host) for moment in self._moments(kills)]
        plan += [(moment, self._platform.kill_worker) for moment in self._moments(kills)]
        if self._is_storage:  # what a refusal does to a Service Bus listener is not imitated
            plan += [(moment, self._refuse) for moment in self._moments(max(1, min(20, self._count // 3000)))]
        restarts = self._moments(max(1, min(6, self._count // 10_000)))
        plan.sort(key=lambda entry: entry[0])
        while True:
            await asyncio.sleep(self._load.random.uniform(0.05, 0.3))
            self._platform.look()
            if plan and self._load.done >= plan[0][0] and self._platform.up.is_set():
                plan.pop(0)[1]()
                await asyncio.sleep(_CALM)
            if restarts and self._load.done >= restarts[0]:
                restarts.pop(0)
                await self._service.restart()
                self.restarts += 1

    def _refuse(self) -> None:
        self._platform.replace_host(self.refused)

    def _moments(self, number: int) -> list[int]:
        """So many numbers of referrals done, in order, before the last tenth."""
        return sorted(self._load.random.randrange(self._count * 9 // 10) for _ in range(number))


@contextlib.asynccontextmanager
async def _troubled_app(stack: Stack, queues: Queues) -> AsyncIterator[tuple[Platform, dict[str, str]]]:
    """The app with a faulty queue service.

    Yields:
        The app, and the settings with which a host finds a service that refuses it after some calls.
    """
    connector = aiohttp.TCPConnector(ssl=stack.authority.client_context(), limit=0)
    origin = stack.azurite.origin if queues.events.url.startswith("https") else stack.service_bus.url
    tls = stack.authority.server_context()
    async with aiohttp.ClientSession(connector=connector) as session:
        flaky, refusing = FlakyQueues(origin, session), FlakyQueues(origin, session)
        flaky.refused, flaky.lost = 0.01, 0.003
        refusing.fault = _RefusesLater()
        async with serving(flaky.app, tls=tls) as url, serving(refusing.app, tls=tls) as refusing_url:
            environment = stack.environment(queues, **_SETTINGS)
            async with Platform(stack, with_queues_at(environment, origin, url)) as platform:
                stack.partner_center.referrals = AnyReferral()
                stack.partner_center.killing = platform.kill_worker
                stack.identity.failure_rate = 0.4
                yield platform, with_queues_at(environment, origin, refusing_url)


class _RefusesLater:
    """Answers 403 once after some calls, as if a role were removed briefly; then it starts counting again."""

    def __init__(self) -> None:
        self._calls = 0

    def __call__(self, _: web.Request) -> web.Response | None:
        self._calls += 1
        if self._calls % _CALLS_UNTIL_REFUSED:
            return None
        headers = {"x-ms-error-code": "AuthorizationPermissionMismatch"}
        return web.Response(status=HTTPStatus.FORBIDDEN, headers=headers)


async def run(count: int, console: Console, kind: str = STORAGE) -> Figures:
    """Run it. Returns the report."""
    started = time.monotonic()
    columns = (
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.description}"),
    )
    async with running(on_disk=True) as stack:
        locks: dict[str, Any] = {"lock_seconds": LEASE} if kind == SERVICE_BUS else {}
        queues = await stack.queues(inbound=kind, outbound=kind, dedup_seconds=600, **locks)
        connector = aiohttp.TCPConnector(ssl=stack.authority.client_context(), limit=0)
        async with (
            aiohttp.ClientSession(connector=connector) as session,
            _troubled_app(stack, queues) as (platform, refused),
        ):
            load = Load(stack, session, queues, platform, count)
            chaos = Chaos(stack, queues, platform, load, count)
            chaos.refused = refused
            with Progress(*columns, console=console, refresh_per_second=2) as progress:
                await chaos.run(progress)
            return await report(chaos, load, platform, queues, time.monotonic() - started) | {
                "calls to Partner Center": len(stack.partner_center.calls)
            }


async def report(chaos: Chaos, load: Load, platform: Platform, queues: Queues, seconds: float) -> Figures:
    """The figures of the run."""
    asked = load.asked.values()
    violations = {referral_id: why for referral_id, one in load.asked.items() if (why := one.violation())}
    delivered = sum(sum(one.events.values()) for one in asked)
    forwarded = sum(bool(one.events) for one in asked)
    return {
        "referrals": len(asked),
        "forwarded": forwarded,
        "rejected": dict(sorted(Counter(reason for one in asked for reason in one.rejects).items())),
        "lost": sum(why == "lost" for why in violations.values()),
        "other than expected": sum(why != "lost" for why in violations.values()),
        "that kill workers": load.stoppers,
        "healthy, rejected after sharing a crashed worker": sum(one.gave_up and one.must == "event" for one in asked),
        "in the poison queue": await queues.poison.count(),
        "left on the requests queue": await queues.requests.count(),
        "unexpected events": load.strangers,
        "requests sent twice": load.sent_twice,
        "events delivered twice, with the same ID": delivered - forwarded,
        "deferrals": platform.logged["referral.deferred"],
        "put back at the last delivery": platform.logged["message.held"],
        "failed invocations": platform.logged["failed invocations"],
        "token failures": platform.logged["token.failed"] + platform.logged["token.not-renewed"],
        "hosts killed": platform.kills["host"],
        "workers killed": platform.kills["worker"],
        "hosts that ended by themselves": platform.ended_by_themselves,
        "queue service restarted": chaos.restarts,
        "seconds": round(seconds),
        "referrals a second": round(len(asked) / seconds, 1),
        "worker's peak memory, MiB": round(platform.peak_memory / 2**20),
        "violations": [f"{referral_id} {why}" for referral_id, why in list(violations.items())[:20]],
    }


def failed(figures: Figures) -> bool:
    """Whether the figures show a defect in the app."""
    beside = figures["healthy, rejected after sharing a crashed worker"] > _BESIDE * figures["that kill workers"]
    none_of = ("lost", "other than expected", "in the poison queue", "unexpected events")
    return beside or any(figures[name] for name in none_of)


def main() -> int:
    """Run it from the command line. Returns the exit status."""
    arguments = parser("chaos", __doc__, DEFAULT_N)
    add_queue(arguments)
    options = arguments.parse_args()
    return execute(lambda console: run(options.n, console, options.queue), failed)


if __name__ == "__main__":
    sys.exit(main())
