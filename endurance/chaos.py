"""Lose nothing, tried: many referrals, faults at every far end, workers killed, the queue service restarted.

Each referral is fed with the fate it must meet: an event, however long the trouble before it, or a reject for a given
reason. The run fails if one meets another fate or none, if two events of one referral have different IDs, or if a
message ends in the poison queue.
"""

import argparse
import asyncio
import contextlib
import dataclasses
import json
import random
import re
import sys
import time
import uuid
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from typing import Any, Self

import aiohttp
from azure.core.credentials import AccessToken
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from local_stack.azurite import AzuriteError
from local_stack.stack import SERVICE_BUS, STORAGE, Host, HostError, Queues, Stack, running
from local_stack.stand_ins.flaky import FlakyQueues
from local_stack.stand_ins.partner_center import Fault
from local_stack.stand_ins.referrals import SEED
from local_stack.stand_ins.serving import serving
from referral_fn.credentials.token_source import TokenSource
from referral_fn.errors import RetryableError
from referral_fn.queues.base import LeasedMessage, Message, Queue
from referral_fn.queues.opening import open_queue

DEFAULT_N = 500
SCHEDULE = "1,1,2,2,3,3,4,4"
"""Seconds for what takes two days."""

_SETTINGS = {
    "REFERRALS_DEFERRAL_SCHEDULE": SCHEDULE,
    "REFERRALS_RETRY_BUDGET": "2",
    "SERVICE_BUS_MAX_DELIVERY_COUNT": "6",
    "AzureFunctionsJobHost__extensions__queues__maxDequeueCount": "6",
    "AzureFunctionsJobHost__extensions__queues__maxPollingInterval": "00:00:00.2",
    "AzureFunctionsJobHost__extensions__queues__visibilityTimeout": "00:00:01",
}
_LEASE = 3
_BACKLOG = 200
"""Referrals under way at once: as many as a queue may hold without Azurite getting slow."""

_BESIDE = 20
"""Healthy referrals that one which stops workers may take with it: 31 are in flight with it, half of them each time, or
more on a busy machine. All of them, if redelivered messages did not pause."""

_BATCH = 20
_PATIENCE = 120
"""Seconds without any outcome after which the rest counts as lost."""

_TIMES = (1, 2, 4, 8, 13)
"""How many requests in a row meet a fault; three are made at each try."""

FAULTS: tuple[tuple[float, Fault, str | None], ...] = (
    (0.0005, Fault("status", status=429, retry_after="1"), None),
    (0.0005, Fault("status", status=503, retry_after="1"), None),
    (0.02, Fault("status", status=429), None),
    (0.02, Fault("status", status=500), None),
    (0.02, Fault("status", status=502), None),
    (0.02, Fault("status", status=503), None),
    (0.02, Fault("status", status=504), None),
    (0.02, Fault("reset"), None),
    (0.02, Fault("reset-mid-body"), None),
    (0.01, Fault("stall"), None),
    (0.02, Fault("truncated"), None),
    (0.02, Fault("garbage"), None),
    (0.01, Fault("html"), None),
    (0.02, Fault("status", status=404), "referral-not-found"),
    (0.01, Fault("status", status=400), "upstream-refused"),
    (0.01, Fault("replace", document={**SEED, "team": "no list"}), "invalid-referral"),
    (0.002, Fault("status", status=500), "retries-exhausted"),
)
"""The share of referrals that meet a fault, and the reason they are rejected for, where they are. A fault that leads to
no reject passes after some requests."""


@dataclasses.dataclass
class Fed:
    """A referral that was asked for."""

    must: str
    """`event`, or the reason of its reject."""
    events: Counter[str] = dataclasses.field(default_factory=Counter)
    rejects: Counter[str] = dataclasses.field(default_factory=Counter)

    given_up: bool = False
    """Whether it was rejected because workers had been stopped in its presence too often."""

    @property
    def met(self) -> bool:
        """Whether anything has come of it."""
        return bool(self.events or self.rejects)

    def wrong(self) -> str | None:
        """How its fate differs from the one it had to meet."""
        if not self.met:
            return "lost"
        if len(self.events) > 1:
            return f"has events of different IDs: {sorted(self.events)}"
        met = {*self.rejects, *(["event"] if self.events else [])} - ({"retries-exhausted"} if self.given_up else set())
        return None if met <= {self.must} else f"must end as {self.must}, and ended as {sorted(met)}"


class Everyone(dict[str, Any]):
    """All referrals there could be: one for any ID."""

    def __contains__(self, referral_id: object) -> bool:
        return True

    def __missing__(self, referral_id: str) -> dict[str, Any]:
        return {**SEED, "id": referral_id, "eTag": f'"{referral_id[:8]}"'}


class Worker:
    """The app under its host, started again whenever it is gone."""

    def __init__(self, stack: Stack, environment: dict[str, str]) -> None:
        self._stack = stack
        self._environment = environment
        self.host: Host | None = None
        self.up = asyncio.Event()
        self.kills = 0
        self.peak_memory = 0
        self.said: Counter[str] = Counter()

    async def __aenter__(self) -> Self:
        self._running = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        self.look()
        self._running.cancel()
        await asyncio.gather(self._running, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            async with self._stack.host(self._environment, 0, "--lease", str(_LEASE)) as self.host:
                self.host.heard = self._hear
                self.up.set()
                await self.host.ended()
                self.up.clear()

    def check(self) -> None:
        """Whether it is still started again.

        Raises:
            HostError: it did not come up.
        """
        if self._running.done():
            self._running.result()

    def kill(self) -> None:
        """SIGKILL, at once."""
        if self.host and self.up.is_set():
            self.up.clear()
            self.kills += 1
            self.look()
            self.host.kill_now()

    def look(self) -> None:
        """Note how much memory it has needed."""
        if self.host:
            self.peak_memory = max(self.peak_memory, self.host.peak_memory)

    def _hear(self, line: str) -> None:
        for found in re.findall(r'"event":"([a-z.-]+)"', line):
            self.said[found] += 1
        if "handover.failed" in line or line.startswith("Traceback"):
            self.said["failed deliveries"] += 1


class Chaos:
    """One run."""

    def __init__(
        self, stack: Stack, session: aiohttp.ClientSession, queues: Queues, worker: Worker, count: int
    ) -> None:
        self.stack = stack
        self._session = session
        self._worker = worker
        self._count = count
        self._service = stack.service_bus if queues.events.url.startswith("sb://") else stack.azurite
        self._random = random.Random(count)
        self.requests, self.events, self.rejects = opened(stack, session, queues)
        self.fed: dict[str, Fed] = {}
        self.open = 0
        self.strangers = 0
        self.stoppers = 0
        """Referrals that stop every worker that tries them."""
        self.restarts = 0
        self.duplicate_requests = 0
        self.last_outcome = time.monotonic()
        self.killing = False

    async def run(self, progress: Progress) -> None:
        """Feed, disturb and collect, until everything fed has met its fate or nothing happens any more."""
        bar = progress.add_task("referrals", total=self._count)
        feeding = asyncio.create_task(self._feed())
        tasks = [
            feeding,
            asyncio.create_task(self._collect(self.events)),
            asyncio.create_task(self._collect(self.rejects)),
            asyncio.create_task(self._disturb()),
        ]
        try:
            while not (feeding.done() and self.open == 0):
                await asyncio.sleep(0.2)
                done = len(self.fed) - self.open
                progress.update(bar, completed=done, description=self._state())
                for task in tasks:
                    if task.done():
                        task.result()
                self._worker.check()
                if time.monotonic() - self.last_outcome > _PATIENCE:
                    break
            await asyncio.sleep(_LEASE)  # for what would come twice
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _state(self) -> str:
        return f"{self.open} under way, {self._worker.kills} kills, {self.restarts} restarts"

    async def _feed(self) -> None:
        while len(self.fed) < self._count:
            if self.open > _BACKLOG:
                await asyncio.sleep(0.05)
                continue
            batch = [self._invent() for _ in range(min(_BATCH, self._count - len(self.fed)))]
            if self._random.random() < 0.05:
                await self._ask_over_http(batch)
            else:
                await asyncio.gather(*(self._send(referral_id) for referral_id in batch))

    def _invent(self) -> str:
        """A referral, and what is to happen to it."""
        referral_id = str(uuid.UUID(int=self._random.getrandbits(128), version=4))
        must = "event"
        draw = self._random.random()
        if len(self.fed) % 20_000 == 150:
            self.stoppers += 1
            self.stack.partner_center.faults[referral_id] = Fault("kill")
            draw, must = 1, "retries-exhausted"
        for share, fault, reason in FAULTS:
            draw -= share
            if draw < 0:
                times = None if reason else self._random.choice(_TIMES)
                self.stack.partner_center.faults[referral_id] = dataclasses.replace(fault, times=times)
                must = reason or must
                break
        self.fed[referral_id] = Fed(must)
        self.open += 1
        return referral_id

    async def _send(self, referral_id: str) -> None:
        shapes: list[Any] = [
            {"referralId": referral_id.upper()},
            {"EventName": "referral-updated", "ResourceUri": f"https://example.com/v1/referrals/{referral_id}"},
            {"specversion": "1.0", "type": "t", "source": "s", "id": "1", "subject": referral_id},
        ]
        text = referral_id if self._random.random() < 0.7 else json.dumps(self._random.choice(shapes))
        twice = self._random.random() < 0.03
        self.duplicate_requests += twice
        for _ in range(1 + twice):
            await self._patiently(self.requests.put, Message(text.encode()))

    async def _ask_over_http(self, referral_ids: list[str]) -> None:
        """As a caller does: again until each is queued."""
        while referral_ids:
            await self._worker.up.wait()
            try:
                url = f"{self._worker.host.url}/api/referrals"  # type: ignore[union-attr]
                async with self._session.post(url, json={"referralIds": referral_ids}) as answer:
                    results = (await answer.json())["results"] if answer.status == 202 else []
                queued = {result["referralId"] for result in results if result["status"] == "queued"}
                referral_ids = [referral_id for referral_id in referral_ids if referral_id not in queued]
            except (aiohttp.ClientError, TimeoutError, ValueError):
                await asyncio.sleep(0.2)

    async def _collect(self, queue: Queue) -> None:
        while True:
            taken: list[LeasedMessage] = await self._patiently(queue.take, 60)
            for held in taken:
                self._note(json.loads(held.body))
            await asyncio.gather(*(self._patiently(queue.remove, held) for held in taken))
            if not taken:
                await asyncio.sleep(0.1)

    def _note(self, event: dict[str, Any]) -> None:
        self.last_outcome = time.monotonic()
        fed = self.fed.get(event["subject"])
        if fed is None:
            self.strangers += 1
            return
        self.open -= not fed.met
        if "reason" in event["data"]:
            fed.rejects[event["data"]["reason"]] += 1
            fed.given_up |= event["data"]["detail"].startswith("the last delivery")
        else:
            fed.events[event["id"]] += 1

    async def _disturb(self) -> None:
        """Kill and restart at random moments, spread over the run."""
        moments = self._count + 1
        kills = self._moments(max(3, min(60, self._count // 1000)))
        restarts = self._moments(max(1, min(6, self._count // 10_000)))
        while True:
            await asyncio.sleep(self._random.uniform(0.05, 0.3))
            self._worker.look()
            done = len(self.fed) - self.open
            if kills and done >= kills[0] and self._worker.up.is_set():
                kills.pop(0)
                self._worker.kill()
            if restarts and done >= min(restarts[0], moments):
                restarts.pop(0)
                await self._service.restart()
                self.restarts += 1

    def _moments(self, number: int) -> list[int]:
        """So many numbers of referrals done, in order, before the last tenth."""
        return sorted(self._random.randrange(self._count * 9 // 10) for _ in range(number))

    async def _patiently(self, act: Any, *arguments: Any) -> Any:
        """Whatever the queue service goes through, do it in the end."""
        while True:
            try:
                return await act(*arguments)
            except RetryableError as trouble:
                if "404" in str(trouble):  # removed before, by a call whose answer was lost
                    return None
                await asyncio.sleep(0.2)


class Caller:
    """Tokens for a caller beside the app."""

    def __init__(self, stack: Stack) -> None:
        self._issuer = stack.issuer

    async def get_token(self, *scopes: str) -> AccessToken:
        """A token for a service."""
        lifetime = 24 * 3600
        token = self._issuer.mint(scopes[0].removesuffix("/.default"), "somebody", lifetime)
        return AccessToken(token, int(time.time()) + lifetime)

    async def close(self) -> None:
        """Nothing is kept open."""


def opened(stack: Stack, session: aiohttp.ClientSession, queues: Queues) -> tuple[Queue, Queue, Queue]:
    """The queues of requests, events and rejects, as somebody beside the app uses them."""
    requests, events, rejects = (
        open_queue(queue.url, session, TokenSource(lambda: Caller(stack)), 256 * 1024)
        for queue in (queues.requests, queues.events, queues.rejects)
    )
    return requests, events, rejects


@contextlib.asynccontextmanager
async def _troubled_worker(stack: Stack, queues: Queues) -> AsyncIterator[Worker]:
    """The app, before a queue service in trouble."""
    connector = aiohttp.TCPConnector(ssl=stack.authority.client_context())
    async with aiohttp.ClientSession(connector=connector) as session:
        origin = stack.azurite.origin if queues.events.url.startswith("https") else stack.service_bus.url
        flaky = FlakyQueues(origin, session)
        flaky.refused, flaky.lost = 0.01, 0.003
        async with serving(flaky.app, tls=stack.authority.server_context()) as url:
            places = {origin: url, origin.replace("https://", "sb://"): url.replace("https://", "sb://")}
            urls = {
                f"{name}_URL": _moved(queue.url, places)
                for name, queue in (
                    ("EVENTS", queues.events),
                    ("REJECTS", queues.rejects),
                    ("REQUESTS", queues.requests),
                )
            }
            async with Worker(stack, stack.environment(queues, **_SETTINGS, **urls)) as worker:
                stack.partner_center.referrals = Everyone()
                stack.partner_center.killing = worker.kill
                stack.identity.failure_rate = 0.4
                yield worker


def _moved(url: str, places: dict[str, str]) -> str:
    for here, there in places.items():
        if url.startswith(here):
            return url.replace(here, there)
    return url


async def run(count: int, console: Console, kind: str = STORAGE) -> dict[str, Any]:
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
        locks: dict[str, Any] = {"lock_seconds": _LEASE, "max_delivery_count": 6} if kind == SERVICE_BUS else {}
        queues = await stack.queues(inbound=kind, outbound=kind, dedup_seconds=600, **locks)
        connector = aiohttp.TCPConnector(ssl=stack.authority.client_context(), limit=0)
        async with aiohttp.ClientSession(connector=connector) as session, _troubled_worker(stack, queues) as worker:
            chaos = Chaos(stack, session, queues, worker, count)
            with Progress(*columns, console=console, refresh_per_second=2) as progress:
                await chaos.run(progress)
            return await report(chaos, worker, queues, time.monotonic() - started)


async def report(chaos: Chaos, worker: Worker, queues: Queues, seconds: float) -> dict[str, Any]:
    """What came of it all."""
    wrong = {referral_id: why for referral_id, fed in chaos.fed.items() if (why := fed.wrong())}
    rejects: dict[str, int] = defaultdict(int)
    for fed in chaos.fed.values():
        for reason in fed.rejects:
            rejects[reason] += 1
    delivered = sum(sum(fed.events.values()) for fed in chaos.fed.values())
    forwarded = sum(bool(fed.events) for fed in chaos.fed.values())
    return {
        "referrals": len(chaos.fed),
        "forwarded": forwarded,
        "rejected": dict(sorted(rejects.items())),
        "lost": sum(why == "lost" for why in wrong.values()),
        "other than expected": sum(why != "lost" for why in wrong.values()),
        "that stop workers": chaos.stoppers,
        "given up beside one of them": sum(fed.given_up and fed.must == "event" for fed in chaos.fed.values()),
        "in the poison queue": await queues.poison.count(),
        "left on the requests queue": await queues.requests.count(),
        "events of nobody": chaos.strangers,
        "requests sent twice": chaos.duplicate_requests,
        "events delivered twice, with the same ID": delivered - forwarded,
        "deferrals": worker.said["referral.deferred"],
        "held at the last delivery": worker.said["message.held"],
        "failed deliveries": worker.said["failed deliveries"],
        "token failures": worker.said["token.failed"],
        "calls to Partner Center": len(chaos.stack.partner_center.calls),
        "workers killed": worker.kills,
        "queue service restarted": chaos.restarts,
        "seconds": round(seconds),
        "referrals a second": round(len(chaos.fed) / seconds, 1),
        "worker's peak memory, MiB": round(worker.peak_memory / 2**20),
        "wrong": dict(list(wrong.items())[:20]),
    }


def failed(found: dict[str, Any]) -> bool:
    """Whether the run shows a fault of the app's."""
    beside = found["given up beside one of them"] > _BESIDE * found["that stop workers"]
    wrong = ("lost", "other than expected", "in the poison queue", "events of nobody")
    return beside or any(found[what] for what in wrong)


def main() -> int:
    """Run it from the command line. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m endurance.chaos", description=__doc__)
    parser.add_argument("-n", type=int, default=DEFAULT_N, help=f"how many referrals; default: {DEFAULT_N}")
    kinds = [STORAGE, SERVICE_BUS]
    parser.add_argument("--queue", choices=kinds, default=STORAGE, help="where the queues are; default: storage")
    options = parser.parse_args()
    console = Console(stderr=True)
    try:
        found = asyncio.run(run(options.n, console, options.queue))
    except (AzuriteError, HostError) as error:
        console.print(str(error), style="red", markup=False)
        return 1
    wrong = found.pop("wrong")
    for what, value in found.items():
        for name, number in value.items() if isinstance(value, dict) else [("", value)]:
            print(f"{what}{': ' if name else ''}{name:<1}".ljust(48) + f"{number:>10,}")
    for referral_id, why in wrong.items():
        print(f"WRONG: {referral_id} {why}")
    return 1 if failed(found) else 0


if __name__ == "__main__":
    sys.exit(main())
