"""What events say of their predecessors: true in every order of steps, wherever a worker dies."""

import asyncio
import functools
import sys
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from referral_fn import forwarder
from referral_fn.errors import RetryableError
from referral_fn.referrals.outcome import Forwarded, Rejected, Unchanged
from referral_fn.state import memory as memory_module
from referral_fn.state.memory import ROW
from tests.documents import SEED_ID
from tests.state.world import ASKED, NOTIFIED, Steps, World, differing, done, snapshot

changes = st.fixed_dictionaries(
    {}, optional={"name": st.sampled_from("ab"), "status": st.sampled_from(["New", "Active"]), "extraField": st.none()}
)


ACTIONS = ("step", "step", "step", "step", "die", "change", "alter", "ask", "fault")


@given(st.lists(st.integers(0, 255), min_size=60, max_size=160), st.lists(changes, min_size=1, max_size=8))
@settings(max_examples=40)
async def test_attributes_are_true_in_all_orders_and_wherever_a_worker_dies(
    script: list[int], contents: list[dict[str, Any]]
) -> None:
    choices = iter(script)

    def pick(count: int) -> int:
        return next(choices, 0) % count

    steps = Steps()
    world = World(step=steps.turn, stale=lambda newest: newest - pick(newest + 1))
    running = {asyncio.create_task(world.forward())}
    while True:
        await steps.settle(running)
        for task in done(running):
            running.discard(task)
            world.check_outcome(task)
        if not running:
            break
        action = ACTIONS[pick(len(ACTIONS))]
        future, task = list(steps.waiting.items())[pick(len(steps.waiting))]
        if action == "step":
            future.set_result(None)
        elif action == "alter":
            world.alter(contents[len(world.events) % len(contents)])
        elif action == "die":  # the message is then delivered again
            task.cancel()
            await asyncio.wait([task])
            running.discard(task)
            running.add(asyncio.create_task(world.forward([NOTIFIED, ASKED][pick(2)])))
        elif action == "change":
            number = len(world.versions)
            world.versions.append(snapshot(number, **contents[number % len(contents)]))
            running.add(asyncio.create_task(world.forward()))
        elif action == "ask":
            running.add(asyncio.create_task(world.forward(ASKED)))
        else:
            world.table.is_down = not world.table.is_down
    world.calm()
    await world.forward()
    assert f"{SEED_ID}@v{len(world.versions) - 1}" in [event["id"] for event in world.events]
    world.check()


@given(st.lists(st.tuples(st.sampled_from([NOTIFIED, ASKED]), changes | st.none(), st.booleans()), max_size=8))
@settings(max_examples=40)
async def test_without_faults_each_event_follows_the_one_before(requests: list[tuple[Any, Any, bool]]) -> None:
    world = World()
    last: dict[str, Any] | None = None
    for request, change, is_new_version in requests:
        if change is not None and is_new_version:
            world.versions.append(snapshot(len(world.versions), **change))
        elif change is not None:
            world.alter(change)
        outcome = await world.forward(request)
        event_id = f"{SEED_ID}@v{len(world.versions) - 1}"
        if last and last["id"] == event_id and request is NOTIFIED:
            assert isinstance(outcome, Unchanged)
            assert world.events[-1] is last
            continue
        assert isinstance(outcome, Forwarded)
        event = world.events[-1]
        attributes = {name: event.get(name) for name in ("previousid", "changed", "outoforder")}
        if last is None:
            assert set(attributes.values()) == {None}
        elif (last["id"], last["data"]) == (event_id, event["data"]):
            assert {**event, "cause": None} == {**last, "cause": None}
        elif last["id"] == event_id:
            assert set(attributes.values()) == {None}
        else:
            changed = ",".join(differing(last["data"], event["data"])) or None
            assert attributes == {"previousid": last["id"], "changed": changed, "outoforder": None}
        last = event


async def test_the_first_event_names_no_predecessor_and_the_second_says_what_changed() -> None:
    world = World()
    await world.forward()
    world.versions.append(snapshot(1, name="Another name"))
    await world.forward()
    first, second = world.events
    assert not {"previousid", "changed", "outoforder"} & first.keys()
    assert second["previousid"] == first["id"]
    assert second["changed"] == "etag,name,updatedAt"
    assert world.messages[1].properties["changed"] == "etag,name,updatedAt"
    assert world.messages[1].properties["previousid"] == first["id"]


async def test_an_event_that_is_published_again_is_the_same() -> None:
    world = World()
    await world.forward()
    world.versions.append(snapshot(1, name="Another name"))
    await world.forward(ASKED)
    outcome = await world.forward(ASKED)
    assert isinstance(outcome, Forwarded)
    assert world.messages[2].body == world.messages[1].body == outcome.encoded


async def test_an_event_that_is_too_large_only_with_its_comparison_is_published_without_it() -> None:
    world = World()
    await world.forward()
    world.versions.append(snapshot(1, name="Another name"))
    world.table.is_down = True  # so that the event has no comparison
    await world.forward()
    world.table.is_down = False
    world.max_body = len(world.messages[1].body)
    outcome = await world.forward()
    assert isinstance(outcome, Forwarded)
    assert world.messages[2].body == world.messages[1].body == outcome.encoded
    assert isinstance(await world.forward(), Unchanged)
    world.max_body = sys.maxsize
    await world.forward(ASKED)
    assert world.events[3] == {name: value for name, value in world.events[2].items() if name != "cause"}
    world.max_body = len(world.messages[3].body) - 1
    outcome = await world.forward(ASKED)
    assert isinstance(outcome, Rejected)
    assert outcome.reason == "event-too-large"


async def test_an_event_whose_version_was_published_with_other_data_does_not_name_itself() -> None:
    """Another contact policy or release writes other data: which fields the referral's change altered is not known."""
    world = World()
    await world.forward()
    world.versions.append(snapshot(1, name="Another name"))
    await world.forward()
    world.alter({"name": "As another policy writes it"})
    for _ in range(2):
        await world.forward(ASKED)
        assert world.events[-1]["id"] == world.events[1]["id"]
        assert not {"previousid", "changed", "outoforder"} & world.events[-1].keys()
    world.versions.append(snapshot(2, name="A third name"))
    await world.forward()
    assert world.events[-1]["previousid"] == world.events[1]["id"]


async def test_an_older_snapshot_is_published_says_so_and_leaves_the_row() -> None:
    world = World(versions=[snapshot(0), snapshot(1)])
    await world.forward()
    world.stale = lambda _: 0
    await world.forward()
    assert world.events[1]["outoforder"] == "true"
    assert world.events[1]["previousid"] == world.events[0]["id"]
    assert world.messages[1].properties["outoforder"] == "true"
    assert world.table.rows[SEED_ID, ROW].values["EventId"] == world.events[0]["id"]


async def test_a_lost_race_leaves_a_later_sequence_and_overwrites_an_earlier_one() -> None:
    for other, winner in ((2, 2), (0, 1)):
        world, elsewhere = World(versions=[snapshot(1)]), World(versions=[snapshot(other)])
        await elsewhere.forward()
        row = elsewhere.table.rows[SEED_ID, ROW]
        world.table.before_save = functools.partial(world.table.put, SEED_ID, ROW, row.values)
        await world.forward()
        assert world.table.rows[SEED_ID, ROW].values["EventId"] == f"{SEED_ID}@v{winner}"


async def test_a_table_in_trouble_costs_the_attributes_and_nothing_else(caplog: pytest.LogCaptureFixture) -> None:
    world = World()
    await world.forward()
    world.versions.append(snapshot(1))
    world.table.is_down = True
    outcome = await world.forward()
    assert isinstance(outcome, Forwarded)
    assert "previousid" not in world.events[1]
    assert [record.event for record in caplog.records if hasattr(record, "event")].count("state.unavailable") == 1
    world.table.is_down = False
    await world.forward(ASKED)
    assert world.events[2]["previousid"] == world.events[0]["id"]


GOOD_ROW = {
    "EventId": "x",
    "Sequence": "",
    "Status": "",
    "Substatus": "",
    "Key": "00",
    "Fields": "{}",
    "Attributes": "{}",
}


@pytest.mark.parametrize(
    "values",
    [
        {},
        *[{name: value for name, value in GOOD_ROW.items() if name != lost} for lost in ("EventId", "Key", "Fields")],
        {**GOOD_ROW, "Fields": "{"},
        {**GOOD_ROW, "Fields": "[]"},
        {**GOOD_ROW, "Fields": '{"name": 1}'},
        {**GOOD_ROW, "Attributes": 5},
        {**GOOD_ROW, "Attributes": '{"subject": "x"}'},
        {**GOOD_ROW, "Sequence": 5},
        {**GOOD_ROW, "Status": None},
        {**GOOD_ROW, "Key": "no hex"},
        {**GOOD_ROW, "Key": "00" * 40},
    ],
)
async def test_a_malformed_row_counts_as_none_is_logged_and_is_written_anew(
    values: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    world = World()
    world.table.put(SEED_ID, ROW, values)
    assert isinstance(await world.forward(), Forwarded)
    assert "previousid" not in world.events[0]
    assert [record.event for record in caplog.records if hasattr(record, "event")] == ["state.unavailable"]
    await world.forward(ASKED)
    assert world.events[1]["id"] == world.events[0]["id"]
    assert world.table.rows[SEED_ID, ROW].values["EventId"] == world.events[0]["id"]


async def test_a_row_that_never_stops_changing_is_given_up_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_module, "WRITE_LIMIT", 0.05)
    world = World()

    def overtake() -> None:
        world.table.put(SEED_ID, ROW, {"EventId": "other", "Key": "00", "Fields": "{}", "Attributes": "{}"})
        world.table.before_save = overtake

    world.table.before_save = overtake
    world.step = lambda: asyncio.sleep(0)
    assert isinstance(await world.forward(), Forwarded)


async def test_the_row_holds_no_value_of_the_referral() -> None:
    world = World()
    await world.forward()
    row = world.table.rows[SEED_ID, ROW].values
    assert row["Status"] == world.events[0]["data"]["status"]
    texts = [text for text in _texts(world.events[0]["data"]) if len(text) > 3]
    kept = " ".join(
        str(value) for name, value in row.items() if name not in {"Status", "Substatus", "EventId", "Sequence"}
    )
    assert [text for text in texts if text in kept] == []


def _texts(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [text for item in value.values() for text in _texts(item)]
    if isinstance(value, list):
        return [text for item in value for text in _texts(item)]
    return [value] if isinstance(value, str) else []


@pytest.mark.parametrize("trouble", ["fails", "hangs"])
async def test_once_an_event_is_published_nothing_makes_its_message_fail(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, trouble: str
) -> None:
    """Not even the time limit for the whole referral, if it passes while the row is written."""
    monkeypatch.setattr(forwarder, "TIME_LIMIT", 0.1)
    monkeypatch.setattr(memory_module, "WRITE_LIMIT", 0.3)
    world = World()

    async def step() -> None:
        if not world.events:
            return
        if trouble == "hangs":
            await asyncio.Event().wait()
        raise RetryableError("state-unavailable", "the table is down")

    world.step = step
    assert isinstance(await world.forward(), Forwarded)
    assert len(world.events) == 1
    assert "state.unavailable" in [record.event for record in caplog.records if hasattr(record, "event")]
