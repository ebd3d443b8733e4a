"""Check that a backfill requests every referral, although hosts and workers are killed in the middle of its pages.

The requests queue counts the requests for referrals, and does not deliver them: the other runs forward such requests.
Pages are delivered. The run fails if a referral is not requested, if the backfill does not finish, or if a message
ends on the rejects or the poison queue.
"""

import asyncio
import base64
import bisect
import contextlib
import json
import random
import re
import sys
import time
import uuid
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Any

import aiohttp
from aiohttp import web
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from endurance.command import Figures, execute, parser
from endurance.platform import Platform, with_queues_at
from local_stack.stack import Queues, Stack, running
from local_stack.stand_ins.flaky import FlakyQueues
from local_stack.stand_ins.listing import Listing, position, sortable
from local_stack.stand_ins.partner_center import LIST, Fault
from local_stack.stand_ins.referrals import SEED
from local_stack.stand_ins.serving import serving

DEFAULT_N = 1000
_PATIENCE = 120
"""Seconds without any request for a referral after which the run has failed."""

_SETTINGS = {
    "REFERRALS_DEFERRAL_SCHEDULE": "1,1,2,2,3,3,4,4",
    "BACKFILL_RATE": "1000",
    "AzureFunctionsJobHost__extensions__queues__maxPollingInterval": "00:00:00.2",
    "AzureFunctionsJobHost__extensions__queues__visibilityTimeout": "00:00:01",
}
_TEXT = re.compile(rb"<MessageText>(.*)</MessageText>", re.DOTALL)
_LIST_FAULTS = (Fault("status", status=503, times=1), Fault("reset", times=1), Fault("status", status=429, times=4))


class CountingQueues(FlakyQueues):
    """Counts requests for referrals in place of Azurite, and passes everything else on to it."""

    def __init__(self, service_url: str, session: aiohttp.ClientSession) -> None:
        super().__init__(service_url, session)
        self.requested: Counter[str] = Counter()
        """By referral, how often it was requested."""
        self.plan: list[tuple[int, Any]] = []
        """After how many requests something is called, the last one first."""

    async def _pass_on(self, request: web.Request) -> web.StreamResponse:
        asked_for = referral_id(await request.read()) if request.method == "POST" else None
        if asked_for is None:
            return await super()._pass_on(request)
        if random.random() < self.refused:
            return web.Response(status=HTTPStatus.SERVICE_UNAVAILABLE, headers={"x-ms-error-code": "ServerBusy"})
        self.requested[asked_for] += 1
        if self.plan and len(self.requested) >= self.plan[-1][0]:
            self.plan.pop()[1]()
        if random.random() < self.lost:
            return self._broken(request)
        return web.Response(status=HTTPStatus.CREATED)


def referral_id(body: bytes) -> str | None:
    """The referral that a message asks for; None if it is a page of a backfill."""
    match = _TEXT.search(body)
    message: dict[str, Any] = json.loads(base64.b64decode(match[1])) if match else {}
    return message.get("referralId")


class SortedListing(Listing):
    """The list of referrals that do not change: sorted once, so that a page takes no longer where there are many."""

    def __init__(self, referrals: Mapping[str, Any]) -> None:
        super().__init__()
        self._referrals = referrals
        self._positions = sorted((sortable(one["createdDateTime"]), one["id"]) for one in referrals.values())

    def answer(self, referrals: Iterable[Any], query: Mapping[str, str]) -> dict[str, Any]:  # noqa: ARG002 - the same
        """The body of a response."""
        after = position(query["$skiptoken"]) if "$skiptoken" in query else ()
        start = bisect.bisect_right(self._positions, after)
        near = self._positions[start : start + self.page_size + 1]
        return super().answer([self._referrals[referral_id] for _, referral_id in near], query)


class Run:
    """One backfill, and its disturbances."""

    def __init__(self, stack: Stack, platform: Platform, queues: CountingQueues, count: int) -> None:
        self._stack = stack
        self._platform = platform
        self._random = random.Random(count)
        self.queues = queues
        self.referrals = stack.partner_center.referrals
        self.document: dict[str, Any] = {}
        """The run as the app's API shows it."""
        self.referrals.clear()
        created = datetime.now(UTC)
        for number in range(count):
            referral_id = str(uuid.UUID(int=self._random.getrandbits(128), version=4))
            at = (created - timedelta(minutes=number)).isoformat()
            self.referrals[referral_id] = {**SEED, "id": referral_id, "createdDateTime": at, "updatedDateTime": at}
        stack.partner_center.listing = SortedListing(self.referrals)
        kills = max(2, min(20, count // 1000))
        disturbances = [platform.kill_host] * kills + [platform.kill_worker] * kills + [self._disturb_list] * kills
        queues.plan = [(self._random.randrange(1, count), disturb) for disturb in disturbances]
        queues.plan.sort(key=lambda entry: -entry[0])

    def _disturb_list(self) -> None:
        self._stack.partner_center.faults[LIST] = self._random.choice(_LIST_FAULTS)

    @property
    def list_calls(self) -> int:
        """How often the app called the list; attempts that met a fault included."""
        return sum(call.referral_id == LIST for call in self._stack.partner_center.calls)

    async def run(self, session: aiohttp.ClientSession, progress: Progress) -> None:
        """Start the backfill, and wait until it has finished or nothing happens any more."""
        bar = progress.add_task("referrals", total=len(self.referrals))
        answer = await self._call(session, "POST", "backfills")
        path = f"backfills/{answer['id']}"
        before, last_news = 0, time.monotonic()
        while self.document.get("status") != "finished" and time.monotonic() - last_news < _PATIENCE:
            await asyncio.sleep(1)
            self._platform.look()
            self._platform.check()
            self.document = await self._call(session, "GET", path)
            if self.queues.requested.total() > before:
                before, last_news = self.queues.requested.total(), time.monotonic()
            progress.update(bar, completed=len(self.queues.requested))

    async def _call(self, session: aiohttp.ClientSession, method: str, path: str) -> Any:
        """Call the app's API, again if it is being killed."""
        while True:
            await self._platform.up.wait()
            with contextlib.suppress(aiohttp.ClientError):
                url = f"{self._platform.host.url}/api/{path}"  # type: ignore[union-attr]
                async with session.request(method, url, json={} if method == "POST" else None) as answer:
                    if answer.ok:
                        return await answer.json()
            await asyncio.sleep(0.2)


async def run(count: int, console: Console) -> Figures:
    """Run it. Returns the report."""
    started = time.monotonic()
    columns = BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}")
    async with running(on_disk=True) as stack:
        queues = await stack.queues()
        settings = stack.environment(queues, STATE_URL=await stack.fresh_table(), **_SETTINGS)
        connector = aiohttp.TCPConnector(ssl=stack.authority.client_context(), limit=0)
        async with aiohttp.ClientSession(connector=connector) as session:
            counting = CountingQueues(stack.azurite.origin, session)
            counting.refused, counting.lost = 0.01, 0.003
            async with (
                serving(counting.app, tls=stack.authority.server_context()) as url,
                Platform(stack, with_queues_at(settings, stack.azurite.origin, url)) as platform,
            ):
                one = Run(stack, platform, counting, count)
                with Progress(*columns, console=console, refresh_per_second=2) as progress:
                    await one.run(session, progress)
                return await report(one, platform, queues, time.monotonic() - started)


async def report(one: Run, platform: Platform, queues: Queues, seconds: float) -> Figures:
    """The figures of the run."""
    requested = one.queues.requested
    missing = [referral_id for referral_id in one.referrals if not requested[referral_id]]
    return {
        "referrals": len(one.referrals),
        "requested": len(one.referrals) - len(missing),
        "not requested": len(missing),
        "requested more than once": sum(number > 1 for number in requested.values()),
        "requests in all": requested.total(),
        "not finished": int(one.document.get("status") != "finished"),
        "pages": one.document.get("pages", 0),
        "calls of the list": one.list_calls,
        "pages deferred": platform.logged["backfill.deferred"],
        "messages of pages that were done": platform.logged["backfill.repeated"],
        "rejects": await queues.rejects.count(),
        "in the poison queue": await queues.poison.count(),
        "hosts killed in the middle of a page": platform.kills["host"],
        "workers killed in the middle of a page": platform.kills["worker"],
        "seconds": round(seconds),
        "worker's peak memory, MiB": round(platform.peak_memory / 2**20),
        "violations": [f"{referral_id} is not requested" for referral_id in missing[:20]],
    }


def failed(figures: Figures) -> bool:
    """Whether the figures show a defect in the app."""
    return any(figures[name] for name in ("not requested", "not finished", "rejects", "in the poison queue"))


def main() -> int:
    """Run it from the command line. Returns the exit status."""
    options = parser("backfill", __doc__, DEFAULT_N).parse_args()
    return execute(lambda console: run(options.n, console), failed)


if __name__ == "__main__":
    sys.exit(main())
