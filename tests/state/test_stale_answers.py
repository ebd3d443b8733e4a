"""Requests for listed referrals, where Partner Center answers with an earlier version than it listed."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import pytest

from referral_fn.forwarder import Forwarder
from referral_fn.referrals.outcome import Deferred, Forwarded, Unchanged
from referral_fn.referrals.request import ReferralRequest
from referral_fn.timestamps import read_utc
from tests.documents import SEED_ID
from tests.state.world import NOTIFIED, SETTINGS, World, snapshot

LISTED = ReferralRequest(SEED_ID, cause="reconcile", changed_at=read_utc("2026-01-01T00:00:05Z"))


@pytest.fixture
async def world() -> World:
    """Version 0 was published, version 5 is listed, and version 0 is still answered."""
    world = World()
    await world.forward()
    world.versions.append(snapshot(5, name="Another name"))
    world.stale = lambda _: 0
    return world


async def test_a_second_is_the_least_difference_that_counts(world: World) -> None:
    request = dataclasses.replace(LISTED, changed_at=read_utc("2026-01-01T00:00:01Z"))
    assert isinstance(await world.forward(request), Deferred)
    request = dataclasses.replace(LISTED, changed_at=read_utc("2026-01-01T00:00:00.999Z"))
    assert isinstance(await world.forward(request), Unchanged)


@pytest.mark.parametrize("cause", ["reconcile", "backfill"])
async def test_the_listed_version_is_waited_for(world: World, cause: str) -> None:
    request = dataclasses.replace(LISTED, cause=cause)
    outcome = await world.forward(request)
    assert isinstance(outcome, Deferred)
    assert (outcome.reason, outcome.attempt_consumed) == ("upstream-unavailable", True)
    assert 10 <= outcome.delay <= 12
    world.calm()
    assert isinstance(await world.forward(dataclasses.replace(request, attempt=1)), Forwarded)
    assert [event["sequence"][17:19] for event in world.events] == ["00", "05"]


@pytest.mark.parametrize("published", [True, False])
async def test_after_three_attempts_the_answer_is_taken_as_it_is(world: World, published: bool) -> None:
    if not published:
        world.table.rows.clear()
    outcomes = [await world.forward(dataclasses.replace(LISTED, attempt=attempt)) for attempt in range(4)]
    assert [type(one) for one in outcomes] == [Deferred, Deferred, Deferred, Unchanged if published else Forwarded]


async def test_an_answer_is_never_waited_for_until_the_schedule_is_used_up(world: World) -> None:
    world_: Any = world
    settings = dataclasses.replace(SETTINGS, deferral_schedule=(1,))
    forwarder = Forwarder(settings, world_, world_)
    assert isinstance(await forwarder.forward(LISTED), Deferred)
    assert isinstance(await forwarder.forward(dataclasses.replace(LISTED, attempt=1)), Forwarded)


@pytest.mark.parametrize(
    "request_",
    [
        pytest.param(dataclasses.replace(NOTIFIED, changed_at=LISTED.changed_at), id="its time is the notification's"),
        pytest.param(dataclasses.replace(LISTED, cause=None), id="asked for"),
        pytest.param(dataclasses.replace(LISTED, republish=True), id="replayed"),
        pytest.param(dataclasses.replace(LISTED, changed_at=None), id="listed without a time"),
    ],
)
async def test_other_requests_do_not_wait(world: World, request_: ReferralRequest) -> None:
    assert isinstance(await world.forward(request_), Forwarded | Unchanged)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"updatedDateTime": "2026-01-01T00:00:04.1234567Z"}, id="the list rounds to whole seconds"),
        pytest.param({"updatedDateTime": "2026-01-01T01:00:05+01:00"}, id="another time zone"),
        pytest.param({"updatedDateTime": "2026-01-01T00:00:06Z"}, id="it has changed again"),
        pytest.param({"updatedDateTime": None}, id="no time"),
    ],
)
async def test_the_listed_version_in_another_notation_does_not_wait(change: Mapping[str, Any]) -> None:
    world: Any = World()
    world.alter(change)
    assert isinstance(await Forwarder(SETTINGS, world, world).forward(LISTED), Forwarded)
