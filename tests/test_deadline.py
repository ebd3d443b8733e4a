"""Nothing comes near functionTimeout, whatever is slow: a time-out would restart the worker and all it works on."""

import asyncio
import contextlib
import itertools
import json
import selectors
import uuid
from collections import deque
from collections.abc import AsyncIterator, Coroutine
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from multidict import CIMultiDict, CIMultiDictProxy

from referral_fn import http_call
from referral_fn.backfill import Backfiller
from referral_fn.credentials.token_source import TokenSource
from referral_fn.errors import RetryableError
from referral_fn.forwarder import Forwarder
from referral_fn.http_call import NoResponseError, Response
from referral_fn.optional_state import State
from referral_fn.partner_center import PartnerCenter
from referral_fn.queue_worker import Delivery, QueueWorker
from referral_fn.queues.base import Message
from referral_fn.queues.storage import StorageQueue
from referral_fn.reconcile import Reconciler
from referral_fn.referral_list import Listed, Page, Query
from referral_fn.referrals.backfill_page import BackfillPage
from referral_fn.referrals.request import ReferralRequest, read_queued
from referral_fn.settings import read_settings
from referral_fn.state.backfill_runs import BackfillRuns
from referral_fn.state.memory import Memory
from referral_fn.state.retention import Retention
from referral_fn.state.table import Row
from referral_fn.state.watermark import Watermark
from referral_fn.state.webhook_watch import WebhookWatch
from tests.environment import ENVIRONMENT
from tests.state.memory_table import MemoryTable

ID = "8b9dbf1c-1c5c-4b1a-9e37-3a6f7c2f2a11"
SETTINGS = {**ENVIRONMENT, "REFERRALS_RETRY_BUDGET": "30"}  # the most that is allowed
HOST_JSON = json.loads((Path(__file__).parent.parent / "host.json").read_text(encoding="utf-8"))
NEVER = 10_000.0
SLOW_CALL = 9.4
"""Seconds: a first attempt at a call of a queue, or of Partner Center, that just succeeds."""


class _NoWaiting(selectors.DefaultSelector):
    """Lets the loop's clock jump to the next timer instead of waiting for it."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self.now += timeout or 0
        return super().select(0)


class SimulatedLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._clock = _NoWaiting()
        super().__init__(self._clock)

    def time(self) -> float:
        return self._clock.now


def simulated_seconds(work: Coroutine[Any, Any, None]) -> float:
    loop = SimulatedLoop()
    try:
        loop.run_until_complete(work)
        return loop.time()
    finally:
        loop.close()


class SlowCredential:
    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    async def get_token(self, *scopes: str) -> Any:
        await asyncio.sleep(self._seconds)
        raise OSError

    async def close(self) -> None:
        pass


class FixedToken:
    async def token(self, scope: str, *, refused: str | None = None, seconds: float = 0) -> str:
        await asyncio.sleep(5)
        return f"{scope} {refused}"


def worker(tokens: Any) -> QueueWorker:
    session: Any = None
    settings = read_settings(SETTINGS)
    events, rejects, requests = (
        StorageQueue(url, session, tokens) for url in (settings.events_url, settings.rejects_url, settings.requests_url)
    )
    forwarder = Forwarder(settings, PartnerCenter(settings, session, tokens), events)
    return QueueWorker(settings, forwarder, requests, rejects)


async def _process(tokens: Any, delivery: Delivery) -> None:
    with contextlib.suppress(RetryableError):
        await worker(tokens).process(delivery)


def _half_of_the_time_out() -> float:
    hours, minutes, seconds = map(int, HOST_JSON["functionTimeout"].split(":"))
    return (hours * 3600 + minutes * 60 + seconds) / 2


@pytest.mark.parametrize("count", [1, 2, 10])
@pytest.mark.parametrize("status", [None, 401, 503])
@pytest.mark.parametrize("tokens", ["none in time", "slow"])
def test_a_message_takes_at_most_half_of_the_function_time_out(
    monkeypatch: pytest.MonkeyPatch, count: int, status: int | None, tokens: str
) -> None:
    calls = itertools.count()

    async def send(*_: Any, seconds: float, **__: Any) -> Response:
        """Answer at the last moment, or never."""
        next(calls)
        if status is None:
            await asyncio.sleep(seconds)
            raise NoResponseError("timeout", timed_out=True)
        await asyncio.sleep(seconds * 0.99)
        return Response(status, CIMultiDictProxy(CIMultiDict()), b"")

    monkeypatch.setattr(http_call, "send", send)
    source: Any = FixedToken() if tokens == "slow" else TokenSource(lambda: SlowCredential(NEVER))
    taken = simulated_seconds(_process(source, Delivery(ID.encode(), "message-1", count, 10)))
    assert 10 < taken <= _half_of_the_time_out()
    assert next(calls) > 0 or tokens == "none in time"


def test_a_slow_event_loop_clock_would_be_noticed() -> None:
    assert simulated_seconds(asyncio.sleep(NEVER)) == pytest.approx(NEVER)


class SlowTable(MemoryTable):
    """Answers just before a first attempt would be cancelled, or never in time."""

    def __init__(self, seconds: float = 0.9) -> None:
        super().__init__()
        self._seconds = seconds

    async def get(self, partition: str, key: str) -> Row | None:
        await self._wait()
        return await super().get(partition, key)

    async def save(self, partition: str, key: str, values: Any, *, etag: str | None) -> None:
        await self._wait()
        await super().save(partition, key, values, etag=etag)

    async def delete(self, row: Row) -> None:
        await self._wait()
        await super().delete(row)

    async def query(self, condition: str) -> AsyncIterator[Row]:
        await self._wait()
        for row in list(self.rows.values()):
            if condition:
                yield row

    async def _wait(self) -> None:
        await asyncio.sleep(min(self._seconds, 2))
        if self._seconds > 2:
            raise RetryableError("state-unavailable", "no answer")


@dataclass
class SlowWorld:
    """A list of one page or more, and a requests queue, all of them slow. No request ever becomes an event."""

    referrals: list[Listed]
    page_size: int = 100
    call: float = SLOW_CALL
    request_put: float = SLOW_CALL
    table: SlowTable = field(default_factory=SlowTable)
    queue: deque[bytes] = field(default_factory=deque)
    requested: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        world: Any = self
        self.backfiller = Backfiller(world, Memory(self.table), BackfillRuns(self.table), world, rate=2)
        self.worker = QueueWorker(read_settings(SETTINGS), world, world, world, self.backfiller)
        self.reconciler = Reconciler(world, Memory(self.table), Watermark(self.table), world, self.backfiller)

    async def page(self, query: Query, skip_token: str | None = None) -> Page:
        await asyncio.sleep(self.call)
        since = query.condition.rpartition(" ")[2] if query.condition else ""
        rows = [one for one in self.referrals if one.updated_at and one.updated_at.isoformat() >= since.rstrip("Z")]
        start = int(skip_token or 0)
        end = start + self.page_size
        return Page(tuple(rows[start:end]), str(end) if end < len(rows) else None)

    async def pages(self, query: Query) -> AsyncIterator[Page]:
        page = await self.page(query)
        yield page
        while page.skip_token:
            page = await self.page(query, page.skip_token)
            yield page

    async def put(self, message: Message, *, delay: float = 0) -> None:
        assert delay >= 0
        request = read_queued(message.body)
        if isinstance(request, ReferralRequest):
            await asyncio.sleep(self.request_put)
            self.requested.append(request.referral_id)
        else:
            await asyncio.sleep(min(self.call, SLOW_CALL))
            self.queue.append(message.body)

    async def deliver(self) -> tuple[BackfillPage, float]:
        """Deliver the first page that waits. Returns it, and the seconds that it took."""
        body = self.queue[0]
        clock = asyncio.get_running_loop().time
        started = clock()
        await self.worker.process(Delivery(body, "message", 2, 10))
        self.queue.popleft()
        page = read_queued(body)
        assert isinstance(page, BackfillPage)
        return page, clock() - started


def listed(count: int) -> list[Listed]:
    now = datetime.now(UTC)
    return [Listed(str(uuid.UUID(int=number)), now - timedelta(minutes=1000 - number), None) for number in range(count)]


@pytest.mark.parametrize("page_size", [100, 7])
def test_slow_pages_of_a_backfill_stay_below_half_of_the_time_out_and_reach_their_end(page_size: int) -> None:
    world = SlowWorld(listed(100), page_size)

    async def run() -> None:
        started = await world.backfiller.start()
        while world.queue:
            page, seconds = await world.deliver()
            assert seconds <= _half_of_the_time_out()
            assert page.attempt == 0
        run = await world.backfiller.runs.read(started.id)
        assert run is not None
        assert (run.state, run.listed, run.requested) == ("finished", 100, 100)
        assert run.page == -(-100 // page_size)

    simulated_seconds(run())
    assert sorted(world.requested) == [one.referral_id for one in world.referrals]


def test_a_page_whose_requests_cannot_be_put_is_deferred_before_half_of_the_time_out() -> None:
    world = SlowWorld(listed(100), request_put=NEVER)

    async def run() -> None:
        await world.backfiller.start()
        _, seconds = await world.deliver()
        assert 10 < seconds <= _half_of_the_time_out()

    simulated_seconds(run())
    (deferred,) = (read_queued(body) for body in world.queue)
    assert isinstance(deferred, BackfillPage)
    assert (deferred.number, deferred.attempt) == (0, 1)


class SlowRegistration:
    async def show(self) -> None:
        await asyncio.sleep(NEVER)


def _state(world: SlowWorld) -> State:
    client: Any = SlowRegistration()
    watch = WebhookWatch(client, world.table, "https://acme.example/api", is_configured=False)
    retention = Retention(world.table, 30)
    return State(Memory(world.table), world.reconciler, world.backfiller, retention, watch)


@pytest.mark.parametrize("seconds", [0.9, NEVER])
@pytest.mark.parametrize("put", [0.0, SLOW_CALL, NEVER])
@pytest.mark.parametrize("call", [0.0, SLOW_CALL, NEVER])
def test_the_timer_takes_at_most_half_of_the_function_time_out(call: float, put: float, seconds: float) -> None:
    world = SlowWorld(listed(500), call=call, request_put=put, table=SlowTable(seconds))
    assert simulated_seconds(_state(world).run_timer()) <= _half_of_the_time_out()


@pytest.mark.parametrize("page_size", [100, 7])
def test_slow_runs_of_the_timer_reach_the_end_of_the_list(page_size: int) -> None:
    world = SlowWorld(listed(100), page_size)

    async def run() -> None:
        runs = 0
        while len(set(world.requested)) < len(world.referrals):
            await _state(world).run_timer()
            runs += 1
            assert runs < 30

    simulated_seconds(run())
    assert len(world.requested) < 150  # what comes twice is what the next run starts with
