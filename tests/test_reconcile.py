"""Reconciliation: what is listed and was not published is asked for, and nothing is skipped when a run dies."""

import json
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from referral_fn.errors import PermanentError, RetryableError, Upstream
from referral_fn.queues.base import Message
from referral_fn.reconcile import ANNOUNCED_WITHIN, FIRST_RUN, OVERLAP, Reconciler
from referral_fn.referral_list import Listed, Page, Query
from referral_fn.referrals.request import read_message
from referral_fn.state.memory import ROW, Memory
from referral_fn.state.table import Row
from referral_fn.state.watermark import KEY, PARTITION, Watermark
from referral_fn.timestamps import read_utc, utc
from tests.state.memory_table import MemoryTable

NOW = datetime.now(UTC)


class DiedError(Exception):
    """The process has died."""


@dataclass
class World:
    """Partner Center's list, the table and the requests queue. Dies at a step if asked to."""

    updated: dict[str, datetime] = field(default_factory=dict)
    table: MemoryTable = field(default_factory=MemoryTable)
    requested: list[str] = field(default_factory=list)
    queries: list[Query] = field(default_factory=list)
    page_size: int = 2
    refuses_filter: bool = False
    ignores_filter: bool = False
    backfills: list[datetime] = field(default_factory=list)
    """From which time of change on each backfill was started."""
    steps_left: int = 10**6

    def __post_init__(self) -> None:
        world: Any = self
        self.memory = Memory(self.table)
        self.reconciler = Reconciler(world, self.memory, Watermark(self.table), world, world)

    def step(self) -> None:
        self.steps_left -= 1
        if self.steps_left < 0:
            raise DiedError

    async def pages(self, query: Query) -> AsyncIterator[Page]:
        self.queries.append(query)
        if query.condition and self.refuses_filter:
            raise PermanentError("upstream-refused", "no", upstream=Upstream(status=400))
        filtered = query.condition is not None and not self.ignores_filter
        since = read_utc(str(query.condition).rpartition(" ")[2]) if filtered else NOW - timedelta(days=9)
        rows = sorted((utc(at), key) for key, at in self.updated.items() if at >= since)
        if query.order_by.endswith("desc"):
            rows.reverse()
        while True:
            self.step()
            page, rows = rows[: self.page_size], rows[self.page_size :]
            yield Page(tuple(Listed(key, read_utc(at), None) for at, key in page), "token" if rows else None)
            if not rows:
                return

    async def start(self, *, since: datetime) -> None:
        """Make a backfill, which asks for all that changed since then and was not published."""
        self.step()
        self.backfills.append(since)
        for referral_id, at in self.updated.items():
            row = self.table.rows.get((referral_id, ROW))
            if at >= since and (row is None or row.values["Sequence"] < utc(at)):
                self.requested.append(referral_id)

    async def put(self, message: Message, *, delay: float = 0) -> None:
        assert delay == 0
        self.step()
        request = read_message(message.body)
        assert request.cause == "reconcile"
        assert request.is_automatic
        self.requested.append(request.referral_id)

    def change(self, number: int, ago: timedelta) -> str:
        """A referral changed at some time."""
        referral_id = f"00000000-0000-4000-8000-{number:012}"
        self.updated[referral_id] = NOW - ago
        return referral_id

    def publish(self, referral_id: str) -> None:
        """The current version of a referral was published."""
        values = {"EventId": "x", "Key": "00", "Fields": "{}", "Attributes": "{}"}
        self.table.put(referral_id, ROW, {**values, "Sequence": utc(self.updated[referral_id])})


def minutes(number: float) -> timedelta:
    return timedelta(minutes=number)


async def test_what_is_missing_or_older_is_requested_and_nothing_else(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    world = World()
    await Watermark(world.table).move(NOW - minutes(60))
    missing, older, current, fresh = (world.change(number, minutes(20 + number)) for number in range(4))
    world.publish(older)
    world.publish(current)
    world.change(1, minutes(16))
    world.change(3, minutes(1))
    report = await world.reconciler.run()
    assert sorted(world.requested) == [missing, older, fresh]
    assert (report.listed, report.current, report.requested, report.pages, report.missed) == (4, 1, 3, 2, 2)
    logged = [json.loads(record.getMessage()) for record in caplog.records if record.name == "referral_fn"]
    assert {one["referralId"] for one in logged if one["event"] == "referral.missed"} == {missing, older}
    (finished,) = [one for one in logged if one["event"] == "reconcile.finished"]
    expected = {"listed": 4, "current": 1, "requested": 3, "pages": 2, "missed": 2, "isComplete": True}
    assert expected.items() <= finished.items()
    assert minutes(15) == ANNOUNCED_WITHIN


async def test_a_run_starts_before_the_last_one_and_the_first_a_day_back() -> None:
    world = World()
    first = await world.reconciler.run()
    watermark = await Watermark(world.table).read()
    assert watermark is not None
    second = await world.reconciler.run()
    assert watermark - first.since == FIRST_RUN
    assert second.since == watermark - OVERLAP


async def test_a_dry_run_changes_nothing() -> None:
    world = World()
    world.change(1, minutes(20))
    report = await world.reconciler.run(dry_run=True)
    assert report.requested == 1
    assert world.requested == []
    assert world.table.rows == {}


async def test_a_run_from_a_later_time_by_hand_leaves_the_watermark() -> None:
    world = World()
    await world.reconciler.run()
    before = await Watermark(world.table).read()
    await world.reconciler.run(since=datetime.now(UTC))
    assert await Watermark(world.table).read() == before


async def test_the_watermark_never_moves_back() -> None:
    watermark = Watermark(MemoryTable())
    await watermark.move(NOW)
    await watermark.move(NOW - minutes(1))
    assert await watermark.read() == NOW


async def test_a_refused_filter_falls_back_to_the_newest_first() -> None:
    world = World(refuses_filter=True, page_size=1)
    await Watermark(world.table).move(NOW)
    recent, also_recent = world.change(1, minutes(5)), world.change(2, minutes(29))
    for number in range(3, 9):
        world.change(number, minutes(30 + number))
    report = await world.reconciler.run()
    assert world.requested == [recent, also_recent]
    assert [query.condition is None for query in world.queries] == [False, True]
    assert report.pages == 3


@pytest.mark.parametrize("values", [{}, {"At": 5}, {"At": "yesterday"}])
async def test_a_malformed_watermark_counts_as_none_and_is_written_anew(
    values: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    world = World()
    world.table.put(PARTITION, KEY, values)
    await world.reconciler.run_from_timer()
    assert "state.unavailable" in caplog.text
    assert await Watermark(world.table).read() is not None


async def test_a_late_run_in_the_middle_of_a_page_goes_on_there() -> None:
    world = World(page_size=100)
    for number in range(40):
        world.change(number, minutes(200 - number))
    await world.reconciler.run(seconds=0)
    assert len(world.requested) == 16
    await world.reconciler.run(seconds=0)
    assert len(set(world.requested)) == 31  # the second run starts with the referral that the first ended with


async def test_a_failure_is_logged_and_moves_nothing(caplog: pytest.LogCaptureFixture) -> None:
    world = World()
    world.change(1, minutes(20))
    world.table.is_down = True
    await world.reconciler.run_from_timer()
    assert '"event":"reconcile.failed","reason":"state-unavailable"' in caplog.text
    world.table.is_down = False
    assert await Watermark(world.table).read() is None


@given(
    st.lists(st.tuples(st.integers(0, 12), st.integers(1, 1300)), max_size=14, unique_by=lambda change: change[0]),
    st.lists(st.integers(0, 40), max_size=6),
    st.booleans(),
    st.booleans(),
    st.sampled_from([2, 5]),
)
@settings(max_examples=50)
async def test_wherever_runs_die_the_next_whole_one_finds_what_is_missing(
    changes: list[tuple[int, int]], deaths: list[int], refuses_filter: bool, short: bool, page_size: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("referral_fn.reconcile.CONCURRENCY", 2)
        await _check_deaths(World(refuses_filter=refuses_filter, page_size=page_size), changes, deaths, short)


async def _check_deaths(world: World, changes: list[tuple[int, int]], deaths: list[int], short: bool) -> None:
    expected = {world.change(number, minutes(ago)) for number, ago in changes}
    for steps in deaths:
        world.steps_left = steps
        try:
            await world.reconciler.run(seconds=0 if short else 1e9)
        except DiedError:
            continue
        for referral_id in set(world.requested):
            world.publish(referral_id)
    world.steps_left = 10**6
    for _ in range(len(changes) + 1):
        await world.reconciler.run(seconds=0 if short else 1e9)
        for referral_id in set(world.requested):
            world.publish(referral_id)
    assert set(world.requested) == expected


async def test_a_queue_in_trouble_ends_the_run() -> None:
    world = World()
    world.change(1, minutes(20))

    async def put(message: Message, *, delay: float = 0) -> None:
        raise RetryableError("queue-unavailable", f"down: {message} {delay}")

    world.put = put  # type: ignore[method-assign]
    with pytest.raises(RetryableError):
        await world.reconciler.run()
    assert await Watermark(world.table).read() is None


class FailingWorld(World):
    """Its list fails at the third page, as where Partner Center allows so many calls, and then asks for a pause."""

    async def pages(self, query: Query) -> AsyncIterator[Page]:
        count = 0
        async for page in super().pages(query):
            count += 1
            if count > 2:
                raise RetryableError("upstream-throttled", "a pause", retry_after=300, quick=False)
            yield page


async def test_runs_that_fail_at_the_same_depth_get_further_each_time() -> None:
    world = FailingWorld()
    every = {world.change(number, minutes(600 - number)) for number in range(10)}
    for _ in range(5):
        await world.reconciler.run_from_timer()
        for referral_id in set(world.requested):
            world.publish(referral_id)
    assert set(world.requested) == every


@pytest.mark.parametrize("how", ["refuses_filter", "ignores_filter", "one time"])
async def test_a_late_run_that_would_repeat_itself_leaves_the_rest_to_a_backfill(how: str) -> None:
    world = World(page_size=50, refuses_filter=how == "refuses_filter", ignores_filter=how == "ignores_filter")
    since = NOW - minutes(1200)
    await Watermark(world.table).move(since + OVERLAP)
    every = {world.change(number, minutes(1200 if how == "one time" else 1100 - number)) for number in range(100)}
    if how == "ignores_filter":
        world.change(200, timedelta(days=3))
    report = await world.reconciler.run(seconds=0)
    assert world.backfills == [since]
    assert set(world.requested) == every
    assert not report.is_complete
    for referral_id in every:
        world.publish(referral_id)
    report = await world.reconciler.run(seconds=0)
    assert len(world.backfills) == 1
    assert report.listed == 0


async def test_a_filter_that_is_ignored_counts_as_refused() -> None:
    world = World(ignores_filter=True)
    await Watermark(world.table).move(NOW)
    old = {world.change(number, timedelta(days=5, minutes=number)) for number in range(5)}
    new = world.change(5, minutes(10))
    report = await world.reconciler.run()
    assert (world.requested, report.listed, report.newest_first) == ([new], 1, True)
    assert old.isdisjoint(world.requested)


async def test_a_row_that_cannot_be_read_costs_a_request_and_not_the_run() -> None:
    world = World(page_size=100)
    every = [world.change(number, minutes(600 - number)) for number in range(5)]
    for referral_id in every:
        world.publish(referral_id)
    get = world.table.get

    async def failing(partition: str, key: str) -> Row | None:
        if partition == every[0]:
            raise RetryableError("state-unavailable", "one row")
        return await get(partition, key)

    world.table.get = failing  # type: ignore[method-assign]
    report = await world.reconciler.run()
    assert (world.requested, report.is_complete) == ([every[0]], True)


@pytest.mark.parametrize("ago", [None, 60])
async def test_a_run_by_hand_from_later_than_the_next_one_starts_leaves_the_watermark(ago: int | None) -> None:
    world = World()
    if ago:
        await Watermark(world.table).move(NOW - minutes(ago))
    late = world.change(1, minutes(75))  # within a first run's day, and within the overlap
    await world.reconciler.run(since=NOW - minutes(61))
    await world.reconciler.run()
    assert late in world.requested


async def test_a_first_run_finds_changes_and_calls_none_of_them_missed() -> None:
    world = World()
    change = world.change(1, minutes(300))
    report = await world.reconciler.run()
    assert (world.requested, report.missed) == ([change], 0)
