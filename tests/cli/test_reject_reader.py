"""The walk over the rejects queue: over both kinds of queue, at scale, beside other readers."""

import asyncio
import contextlib
import itertools
import tracemalloc
from datetime import UTC, datetime

import pytest

from referral_fn.cli.reject_reader import LeasedReject, RejectReader
from tests.cli.rejects import PAGE, SimulatedQueue, encoded, parts, reject

STARTED = datetime(2026, 2, 1, tzinfo=UTC)
kinds = pytest.mark.parametrize("in_place", [False, True], ids=["storage", "service-bus"])


def filled(in_place: bool, count: int) -> SimulatedQueue:
    queue = SimulatedQueue(in_place=in_place)
    for number in range(count):
        queue.add(encoded(reject(id=f"reject-{number}")))
    return queue


async def walk(queue: SimulatedQueue) -> tuple[list[str], RejectReader]:
    """The IDs of all rejects, in the order in which they came."""
    async with RejectReader(queue, started=STARTED) as reader:
        ids = [one.reject.id async for page in reader.pages() for one in page]
    return ids, reader


@kinds
@pytest.mark.parametrize("count", [0, 1, PAGE - 1, PAGE, PAGE + 1, 3 * PAGE, 1500])
async def test_a_walk_sees_every_reject_once_and_gives_all_of_them_back(in_place: bool, count: int) -> None:
    queue = filled(in_place, count)
    ids, reader = await walk(queue)
    assert ids == [f"reject-{number}" for number in range(count)]
    assert (len(queue.visible), len(queue.leased), reader.is_incomplete) == (count, 0, False)


async def test_a_walk_over_storage_hides_a_page_at_a_time_and_leases_hardly_anything_twice() -> None:
    queue = filled(in_place=False, count=1500)
    await walk(queue)
    repeated = sum(leases > 1 for leases in queue.leases_of.values())
    assert (queue.most_leased <= 5 * PAGE, repeated <= 5 * PAGE) == (True, True)


async def test_a_walk_over_service_bus_locks_only_the_first_page_twice() -> None:
    queue = filled(in_place=True, count=1500)
    await walk(queue)
    assert sum(queue.leases_of.values()) == 1500 + PAGE


@pytest.mark.e2e  # for the time it takes
async def test_a_hundred_thousand_rejects_are_seen_once_each() -> None:
    queue = SimulatedQueue(in_place=False)
    bodies = [encoded(reject()) for _ in range(100)]
    for number in range(100_000):
        queue.add(bodies[number % 100])
    async with RejectReader(queue, started=STARTED) as reader:
        count = 0
        async for page in reader.pages():
            count += len(page)
    assert (count, len(queue.visible)) == (100_000, 100_000)
    assert sum(queue.leases_of.values()) <= 100_000 + 5 * PAGE


async def test_memory_does_not_grow_with_the_number_of_rejects() -> None:
    queue = SimulatedQueue(in_place=True)
    body = encoded(reject(data={"message": {"text": "x" * 40_000}}))
    for _ in range(600):
        queue.add(body)
    tracemalloc.start()
    try:
        async with RejectReader(queue, started=STARTED) as reader:
            async for page in reader.pages():
                assert len(page) <= PAGE
            _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 8 * 1024 * 1024  # 24 MB of rejects went by


@kinds
async def test_two_walks_at_once_share_the_rejects_and_remove_none_twice(in_place: bool) -> None:
    queue = filled(in_place, 500)
    removed: list[str] = []

    async def remove_all() -> None:
        async with RejectReader(queue, started=STARTED) as reader:
            async for page in reader.pages():
                for one in page:
                    await queue.remove(one.messages[0])
                    removed.append(one.reject.id)

    await asyncio.gather(remove_all(), remove_all())
    assert sorted(removed) == sorted(f"reject-{number}" for number in range(500))
    assert (len(queue.visible), len(queue.leased)) == (0, 0)


async def test_a_walk_beside_another_that_only_looks_ends_and_loses_nothing() -> None:
    queue = filled(in_place=False, count=500)
    (ids, _), (others, _) = await asyncio.gather(walk(queue), walk(queue))
    assert set(ids) | set(others) == {f"reject-{number}" for number in range(500)}
    assert (len(ids), len(others)) == (len(set(ids)), len(set(others)))
    assert (len(queue.visible), len(queue.leased)) == (500, 0)


@kinds
async def test_an_interrupted_walk_gives_everything_back(in_place: bool) -> None:
    queue = filled(in_place, 200)
    with contextlib.suppress(KeyboardInterrupt):
        async with RejectReader(queue, started=STARTED) as reader:
            pages = itertools.count()
            async for _ in reader.pages():
                if next(pages) == 3:
                    raise KeyboardInterrupt
    assert (len(queue.visible), len(queue.leased)) == (200, 0)


@kinds
async def test_rejects_that_arrive_during_the_walk_do_not_keep_it_going(in_place: bool) -> None:
    queue = filled(in_place, 100)
    async with RejectReader(queue, started=STARTED) as reader:
        count = 0
        async for page in reader.pages():
            for one in page:
                await queue.remove(one.messages[0])
                queue.add(encoded(reject(time="2026-02-01T00:00:01Z")))
                count += 1
        assert count == 100
        assert 0 < reader.newer <= 100


async def test_a_walk_that_leases_outrun_ends_and_is_incomplete() -> None:
    queue = filled(in_place=True, count=500)
    queue.lease_limit = 100
    ids, reader = await walk(queue)
    assert len(set(ids)) == len(ids) < 500
    assert reader.is_incomplete


@kinds
async def test_the_parts_of_a_reject_are_joined_across_pages(in_place: bool) -> None:
    queue = SimulatedQueue(in_place=in_place)
    first, second, third = (encoded(part) for part in parts("long", "a", "b", "c"))
    for body in (third, first, first):
        queue.add(body)
    for number in range(100):
        queue.add(encoded(reject(id=f"reject-{number}")))
    queue.add(second)
    async with RejectReader(queue, started=STARTED) as reader:
        rejects: list[LeasedReject] = [one async for page in reader.pages() for one in page]
        assert list(reader.leftovers()) == []
    assert [one.reject.id for one in rejects] == [*(f"reject-{number}" for number in range(100)), "long"]
    assert (rejects[-1].reject.restore().body, len(rejects[-1].messages)) == (b"abc", 4)
    assert (len(queue.visible), len(queue.leased)) == (104, 0)


@kinds
async def test_parts_without_the_others_are_leftovers(in_place: bool) -> None:
    queue = SimulatedQueue(in_place=in_place)
    for part in parts("torn", "a", "b", "c")[1:]:
        queue.add(encoded(part))
    async with RejectReader(queue, started=STARTED) as reader:
        assert [page async for page in reader.pages()] == []
        (leftover,) = reader.leftovers()
    assert [part.number for part in leftover.reject.parts] == [2, 3]
    assert (len(queue.visible), len(queue.leased)) == (2, 0)


async def test_foreign_messages_are_counted_once_each() -> None:
    queue = SimulatedQueue(in_place=False)
    for body in (b"hello", b"[]", b"\xff\x00", encoded(reject(type="another")), encoded(reject(id="mine"))):
        queue.add(body)
    ids, reader = await walk(queue)
    assert (ids, reader.foreign, len(queue.visible)) == (["mine"], 4, 5)
