"""Backfill: every listed referral is requested once or more, wherever workers die, and however often pages come."""

import asyncio
import json
import uuid
from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from referral_fn.backfill import Backfiller
from referral_fn.errors import PermanentError, RetryableError, Upstream
from referral_fn.queue_worker import Delivery, QueueWorker
from referral_fn.queues.base import Message
from referral_fn.referral_list import Listed, Page, Query
from referral_fn.referrals.backfill_page import BackfillPage
from referral_fn.referrals.outcome import Deferred, Outcome
from referral_fn.referrals.rejects import Reject, read_part
from referral_fn.referrals.request import ReferralRequest, read_queued
from referral_fn.settings import read_settings
from referral_fn.state.backfill_runs import PARTITION, BackfillRuns
from referral_fn.state.memory import ROW, Memory
from referral_fn.timestamps import utc
from tests.environment import ENVIRONMENT
from tests.state.memory_table import MemoryTable

SETTINGS = read_settings(ENVIRONMENT)
NOW = datetime.now(UTC)


class DiedError(Exception):
    """The worker has died."""


@dataclass
class World:
    """Partner Center's list, the table and the queues. A step may be the worker's last."""

    referrals: list[Listed] = field(default_factory=list)
    page_size: int = 3
    table: MemoryTable = field(default_factory=MemoryTable)
    queue: deque[tuple[bytes, float]] = field(default_factory=deque)
    rejects: list[Any] = field(default_factory=list)
    requested: list[str] = field(default_factory=list)
    queries: list[Query] = field(default_factory=list)
    failure: Exception | None = None
    repeats_token: bool = False
    queue_is_down: bool = False
    steps_left: int = 10**6

    def __post_init__(self) -> None:
        world: Any = self
        self.backfiller = Backfiller(world, Memory(self.table), BackfillRuns(self.table), world, rate=2)
        self.worker = QueueWorker(SETTINGS, world, world, Rejects(self.rejects), self.backfiller)  # type: ignore[arg-type]

    def step(self) -> None:
        self.steps_left -= 1
        if self.steps_left < 0:
            raise DiedError

    async def page(self, query: Query, skip_token: str | None = None) -> Page:
        self.step()
        self.queries.append(query)
        await asyncio.sleep(0)  # others go on meanwhile
        if self.failure:
            raise self.failure
        start = int(skip_token or 0)
        end = start + self.page_size
        following = str(start if self.repeats_token and start else end)
        return Page(tuple(self.referrals[start:end]), following if end < len(self.referrals) else None)

    async def put(self, message: Message, *, delay: float = 0) -> None:
        self.step()
        if self.queue_is_down:
            raise RetryableError("queue-unavailable", "the queue is down")
        self.queue.append((message.body, delay))

    async def forward(self, request: ReferralRequest) -> Outcome:
        return Deferred(1, "upstream-timeout", request.referral_id)

    async def deliver(self, *, count: int = 1) -> BackfillPage | None:
        """Deliver the first message. One whose worker dies stays on the queue."""
        body, _ = self.queue[0]
        message = read_queued(body)
        if isinstance(message, ReferralRequest):
            assert message.cause == "backfill"
            self.requested.append(message.referral_id)
            self.queue.popleft()
            return None
        await self.worker.process(Delivery(body, "message", count))
        self.queue.popleft()
        return message

    async def drain(self) -> None:
        while self.queue:
            await self.deliver()

    def pages(self) -> list[tuple[BackfillPage, float]]:
        read = [(read_queued(body), delay) for body, delay in self.queue]
        return [(message, delay) for message, delay in read if isinstance(message, BackfillPage)]

    def put_back(self) -> None:
        """Put the only reject back, as `replay` does."""
        part = read_part(json.dumps(self.rejects.pop()).encode())
        assert part is not None
        assert not self.rejects
        self.queue.append((Reject((part,)).restore().body, 0))

    async def run(self, run_id: str) -> dict[str, Any]:
        run = await self.backfiller.runs.read(run_id)
        assert run is not None
        return run.document()


@dataclass
class Rejects:
    documents: list[Any]

    async def put(self, message: Message, *, delay: float = 0) -> None:
        assert delay == 0
        self.documents.append(json.loads(message.body))


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("referral_fn.queue_worker.MAX_REDELIVERY_PAUSE", 0)


def listed(number: int, ago: int = 0, status: str = "New") -> Listed:
    return Listed(str(uuid.UUID(int=number)), NOW - timedelta(days=ago), status)


def ids(referrals: list[Listed]) -> list[str]:
    return [one.referral_id for one in referrals]


async def test_every_listed_referral_is_requested_and_the_run_finishes() -> None:
    world = World([listed(number) for number in range(8)])
    run = await world.backfiller.start()
    await world.drain()
    assert world.requested == ids(world.referrals)
    document = await world.run(run.id)
    assert (document["status"], document["pages"], document["listed"], document["requested"]) == ("finished", 3, 8, 8)
    assert {query.order_by for query in world.queries} == {"createdDateTime"}


async def test_requests_and_pages_come_at_the_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World([listed(number) for number in range(8)])
    await world.backfiller.start()
    await world.deliver()
    assert [delay for _, delay in world.queue] == [0, 0.5, 1, 1.5]
    ((page, delay),) = world.pages()
    assert (page.number, page.skip_token, delay) == (1, "3", 1.5)


async def test_what_was_published_is_not_requested() -> None:
    world = World([listed(number) for number in range(4)])
    values = {"EventId": "x", "Key": "00", "Fields": "{}", "Attributes": "{}", "Sequence": utc(NOW)}
    world.table.put(world.referrals[2].referral_id, ROW, values)
    run = await world.backfiller.start()
    await world.drain()
    assert len(world.requested) == 3
    assert (await world.run(run.id))["requested"] == 3


async def test_what_was_published_is_requested_and_published_again_if_asked_for() -> None:
    world = World([listed(number) for number in range(4)])
    values = {"EventId": "x", "Key": "00", "Fields": "{}", "Attributes": "{}", "Sequence": utc(NOW)}
    world.table.put(world.referrals[2].referral_id, ROW, values)
    await world.backfiller.start(republish=True)
    await world.deliver()
    requests = [read_queued(body) for body, _ in world.queue]
    assert [request.republish for request in requests] == [True] * 4
    await world.drain()
    assert world.requested == ids(world.referrals)


async def test_only_what_was_asked_for_is_requested() -> None:
    world = World([listed(1), listed(2, 9), listed(3, 1, "Closed"), listed(4, 1)])
    await world.backfiller.start(status="New", since=NOW - timedelta(days=2))
    await world.drain()
    assert world.requested == ids([world.referrals[0], world.referrals[3]])


async def test_a_referral_whose_status_changes_meanwhile_moves_no_other_off_the_pages() -> None:
    class Filtered(World):
        async def page(self, query: Query, skip_token: str | None = None) -> Page:
            status = (query.condition or "''").split("'")[1]
            rows = [one for one in self.referrals if not status or one.status == status]
            start = int(skip_token or 0)
            end = start + self.page_size
            return Page(tuple(rows[start:end]), str(end) if end < len(rows) else None)

    world = Filtered([listed(number) for number in range(6)])
    await world.backfiller.start(status="New")
    await world.deliver()
    world.referrals[0] = listed(0, status="Active")
    await world.drain()
    assert world.requested == ids(world.referrals)


@given(st.integers(0, 20), st.integers(1, 7), st.lists(st.integers(0, 25), max_size=8), st.booleans())
@settings(max_examples=50)
async def test_wherever_workers_die_every_id_is_requested_once_or_more(
    count: int, page_size: int, deaths: list[int], is_slow: bool
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        if is_slow:
            patch.setattr("referral_fn.backfill.PART_LIMIT", -1)
            patch.setattr("referral_fn.backfill.CONCURRENCY", 2)
        await _check_deaths(count, page_size, deaths)


async def _check_deaths(count: int, page_size: int, deaths: list[int]) -> None:
    world = World([listed(number) for number in range(count)], page_size)
    run = await world.backfiller.start()
    for steps in deaths:
        world.steps_left = steps
        try:
            await world.drain()
        except DiedError:
            world.queue.rotate(-1)  # others go first, as when its message is hidden for a while
    world.steps_left = 10**6
    await world.drain()
    assert set(world.requested) == set(ids(world.referrals))
    assert (await world.run(run.id))["status"] == "finished"


async def test_a_page_that_comes_twice_does_no_harm() -> None:
    world = World([listed(number) for number in range(8)])
    run = await world.backfiller.start()
    world.queue.append(world.queue[0])
    await world.drain()
    assert world.requested == ids(world.referrals)
    assert (await world.run(run.id))["listed"] == 8


@pytest.mark.parametrize("parts", [False, True])
async def test_a_page_that_is_delivered_before_the_row_says_so_waits(
    parts: bool, request: pytest.FixtureRequest
) -> None:
    if parts:
        request.getfixturevalue("slow")
    world = World([listed(number) for number in range(8)])
    run = await world.backfiller.start()
    row = world.table.rows[PARTITION, run.id]
    await world.deliver()
    written, world.table.rows[PARTITION, run.id] = world.table.rows[PARTITION, run.id], row
    while len(world.queue) > 1:
        await world.deliver()
    await world.deliver()
    ((page, delay),) = world.pages()
    assert (page.number, page.attempt, delay) == (0 if parts else 1, 1, 10)
    world.table.rows[PARTITION, run.id] = written
    await world.drain()
    assert world.requested == ids(world.referrals)
    assert (await world.run(run.id))["status"] == "finished"


async def test_a_page_that_fails_for_a_while_is_deferred_by_the_schedule() -> None:
    world = World([listed(1)], failure=RetryableError("upstream-throttled", "pause", retry_after=70))
    await world.backfiller.start()
    await world.deliver()
    ((page, delay),) = world.pages()
    assert (page.attempt, delay) == (1, 70)


async def test_a_page_that_fails_for_good_ends_the_run_and_its_message_goes_on() -> None:
    world = World([listed(1)], failure=RetryableError("upstream-timeout", "no answer"))
    run = await world.backfiller.start()
    for _ in range(9):
        await world.deliver()
    assert not world.queue
    assert [reject["data"]["reason"] for reject in world.rejects] == ["retries-exhausted"]
    assert (await world.run(run.id))["detail"] == "upstream-timeout: no answer"
    world.put_back()
    await world.deliver()
    assert not world.rejects
    world.failure = None
    await world.drain()
    assert world.requested == ids(world.referrals)
    assert (await world.run(run.id))["status"] == "finished"


MALFORMED: tuple[dict[str, Any], ...] = ({}, {"State": "running"}, {"State": "asleep", "Page": 0}, {"Page": "x"})


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("referral_fn.backfill.PART_LIMIT", -1)
    monkeypatch.setattr("referral_fn.backfill.CONCURRENCY", 2)


@pytest.mark.usefixtures("slow")
async def test_a_slow_page_is_requested_in_parts_and_a_part_that_comes_twice_is_recognized() -> None:
    world = World([listed(number) for number in range(8)], page_size=5)
    run = await world.backfiller.start()
    await world.deliver()
    ((page, delay),) = world.pages()
    assert (page.number, page.after, page.attempt, delay) == (0, ids(world.referrals)[1], 0, 1)
    world.queue.append(world.queue[-1])
    await world.drain()
    assert world.requested == ids(world.referrals)
    document = await world.run(run.id)
    assert (document["status"], document["pages"], document["listed"], document["requested"]) == ("finished", 2, 8, 8)


@pytest.mark.usefixtures("slow")
async def test_a_page_whose_last_requested_referral_is_gone_starts_over() -> None:
    world = World([listed(number) for number in range(5)], page_size=5)
    await world.backfiller.start()
    await world.deliver()
    del world.referrals[1]
    await world.drain()
    assert set(ids(world.referrals)) <= set(world.requested)


@pytest.mark.parametrize("count", [1, 10])
@pytest.mark.parametrize("values", MALFORMED)
async def test_a_page_whose_run_has_a_malformed_row_is_rejected(
    values: dict[str, Any], count: int, caplog: pytest.LogCaptureFixture
) -> None:
    world = World([listed(1)])
    run = await world.backfiller.start()
    world.table.put(PARTITION, run.id, values)
    await world.deliver(count=count)
    assert not world.queue
    assert [reject["data"]["reason"] for reject in world.rejects] == [
        "invalid-request" if count == 1 else "retries-exhausted"
    ]
    assert "state.unavailable" in caplog.text
    assert "backfill.repeated" not in caplog.text


async def test_a_page_whose_run_has_no_row_is_rejected() -> None:
    world = World([listed(1)])
    run = await world.backfiller.start()
    del world.table.rows[PARTITION, run.id]
    await world.deliver()
    assert not world.queue
    (reject,) = world.rejects
    assert (reject["data"]["reason"], "no row" in reject["data"]["detail"]) == ("invalid-request", True)


@pytest.mark.parametrize("repeats", [True, False])
async def test_a_runaway_ends(monkeypatch: pytest.MonkeyPatch, repeats: bool) -> None:
    monkeypatch.setattr("referral_fn.backfill.MAX_PAGES", 3)
    world = World([listed(number) for number in range(20)], repeats_token=repeats)
    run = await world.backfiller.start()
    await world.drain()
    document = await world.run(run.id)
    assert document["status"] == "failed"
    assert ("repeats" if repeats else "more than 3 pages") in document["detail"]


@pytest.mark.parametrize("length", [1, 2, 3, 10])
@pytest.mark.parametrize("start", [1, 20])
async def test_skip_tokens_that_come_again_end_a_run_that_never_goes_fast(start: int, length: int) -> None:
    class Circle(World):
        async def page(self, query: Query, skip_token: str | None = None) -> Page:
            self.queries.append(query)
            number = int(skip_token or 0)
            return Page((), str(start if number == start + length - 1 else number + 1))

    world = Circle()
    run = await world.backfiller.start()
    await world.deliver()
    while world.queue:
        ((_, delay),) = world.pages()
        assert delay >= 1
        await world.deliver()
    assert "repeats" in (await world.run(run.id))["detail"]
    assert len(world.queries) <= 3 * (start + length)


async def test_a_refused_list_ends_the_run_and_its_message_goes_on() -> None:
    refusal = PermanentError("upstream-refused", "answered 400", upstream=Upstream(status=400))
    world = World([listed(number) for number in range(9)])
    run = await world.backfiller.start()
    await world.deliver()
    world.failure = refusal
    await world.drain()
    assert (await world.run(run.id))["status"] == "failed"
    (reject,) = world.rejects
    assert reject["data"]["reason"] == "upstream-refused"
    assert reject["data"]["upstream"] == {"status": 400}
    world.failure = None
    world.put_back()
    await world.drain()
    assert world.requested == ids(world.referrals)
    assert (await world.run(run.id))["status"] == "finished"


async def test_a_run_whose_first_message_is_refused_has_failed() -> None:
    world = World([listed(1)], queue_is_down=True)
    with pytest.raises(RetryableError):
        await world.backfiller.start()
    ((partition, run_id),) = world.table.rows
    assert partition == PARTITION
    document = await world.run(run_id)
    assert (document["status"], document["detail"]) == ("failed", "queue-unavailable: the queue is down")


async def test_two_workers_at_one_page_leave_one_chain() -> None:
    world = World([listed(number) for number in range(12)])
    run = await world.backfiller.start()
    world.queue.append(world.queue[0])
    while world.queue:
        bodies = [body for body, _ in world.queue]
        world.queue.clear()
        pages = [body for body in bodies if isinstance(read_queued(body), BackfillPage)]
        await asyncio.gather(*[world.worker.process(Delivery(body, "message")) for body in pages])
    assert (await world.run(run.id))["status"] == "finished"
    assert len(world.queries) == 5, "both read the first page, and one of them goes on"


async def test_a_page_that_kills_its_worker_is_given_up() -> None:
    world = World([listed(1)])
    run = await world.backfiller.start()
    await world.deliver(count=10)
    assert (await world.run(run.id))["status"] == "failed"
    assert world.rejects[0]["data"]["reason"] == "retries-exhausted"


@pytest.mark.parametrize("members", [None, {}, {"run": "x", "page": 0, "attempt": 0}, {"run": 1}, [1]])
async def test_what_is_no_page_is_rejected(members: Any) -> None:
    world = World()
    await world.worker.process(Delivery(json.dumps({"backfill": members}).encode(), "message"))
    assert world.rejects[0]["data"]["reason"] == "invalid-request"
