"""What events say of their predecessors: true in every order of steps, wherever a worker dies."""

import asyncio
import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from referral_fn.forwarder import Forwarder
from referral_fn.partner_center import Fetched
from referral_fn.queues.base import Message
from referral_fn.referrals.outcome import Forwarded, Outcome, Unchanged
from referral_fn.referrals.request import ReferralRequest, Trace
from referral_fn.referrals.wire import read_referral
from referral_fn.settings import read_settings
from referral_fn.state import memory as memory_module
from referral_fn.state.memory import ROW, Memory
from referral_fn.state.table import Row
from referral_fn.strict_json import loads
from tests.documents import SEED_ID, encode, seed
from tests.state.memory_table import MemoryTable

ACCOUNT = "https://acme.queue.core.windows.net"
SETTINGS = read_settings(
    {
        "REFERRALS_AUTH": "managed-identity",
        "EVENTS_URL": f"{ACCOUNT}/events",
        "REJECTS_URL": f"{ACCOUNT}/rejects",
        "REQUESTS_URL": f"{ACCOUNT}/requests",
    }
)
NOTIFIED = ReferralRequest(SEED_ID, cause="referral-updated")
ASKED = ReferralRequest(SEED_ID)


class Steps:
    """Lets a test decide which of several tasks goes on: each waits here before it does anything that others see."""

    def __init__(self) -> None:
        self.waiting: dict[asyncio.Future[None], asyncio.Task[Any]] = {}

    async def turn(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        future = asyncio.get_running_loop().create_future()
        self.waiting[future] = task
        try:
            await future
        finally:
            self.waiting.pop(future, None)

    async def settle(self, running: set[asyncio.Task[Any]]) -> None:
        """Let all tasks run until each waits for its turn or has ended."""
        while running - {task for future, task in self.waiting.items() if not future.done()} - _done(running):
            await asyncio.sleep(0)


def _done(tasks: set[asyncio.Task[Any]]) -> set[asyncio.Task[Any]]:
    return {task for task in tasks if task.done()}


async def _no_step() -> None:
    """Go on at once."""


@dataclass
class World:
    """Partner Center, the events queue and the table, all in memory."""

    versions: list[dict[str, Any]] = field(default_factory=lambda: [snapshot(0)])
    table: MemoryTable = field(default_factory=MemoryTable)
    events: list[dict[str, Any]] = field(default_factory=list)
    messages: list[Message] = field(default_factory=list)
    step: Callable[[], Any] = _no_step
    stale: Callable[[int], int] = lambda newest: newest
    span_attributes: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        world: Any = self
        self.forwarder = Forwarder(SETTINGS, world, world, Memory(SteppedTable(self)))

    async def fetch(self, request: ReferralRequest, _trace: Trace | None = None) -> Fetched:
        await self.step()
        document = self.versions[self.stale(len(self.versions) - 1)]
        return Fetched(read_referral(encode(document), request.referral_id), {})

    async def put(self, message: Message, *, delay: float = 0) -> None:
        assert delay == 0
        await self.step()
        self.messages.append(message)
        self.events.append(loads(message.body))

    async def forward(self, request: ReferralRequest = NOTIFIED) -> Outcome:
        return await self.forwarder.forward(request)

    def check(self) -> None:
        """Each event names one that came before it, and exactly the fields that differ from that one's."""
        for number, event in enumerate(self.events):
            earlier = self.events[:number]
            if "previousid" not in event:
                assert not {"changed", "outoforder"} & event.keys()
                continue
            before = next(one for one in earlier if one["id"] == event["previousid"])
            changed = event["changed"].split(",") if "changed" in event else []
            assert changed == differing(before["data"], event["data"])
            if "outoforder" in event:
                assert event["sequence"] < before["sequence"]


class SteppedTable(MemoryTable):
    """The world's table, each call a step."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self._world = world

    async def get(self, partition: str, key: str) -> Row | None:
        await self._world.step()
        return await self._world.table.get(partition, key)

    async def save(self, partition: str, key: str, values: Mapping[str, Any], *, etag: str | None) -> None:
        await self._world.step()
        await self._world.table.save(partition, key, values, etag=etag)


def differing(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    return sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))


def snapshot(number: int, **changes: Any) -> dict[str, Any]:
    return seed(eTag=f'"v{number}"', updatedDateTime=f"2026-01-01T00:00:{number:02}Z", **changes)


changes = st.fixed_dictionaries(
    {}, optional={"name": st.sampled_from("ab"), "status": st.sampled_from(["New", "Active"]), "extraField": st.none()}
)


ACTIONS = ("step", "step", "step", "step", "die", "change", "ask", "fault")


@given(st.lists(st.integers(0, 255), max_size=120), st.lists(changes, min_size=1, max_size=8))
@settings(max_examples=60)
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
        for task in _done(running):
            running.discard(task)
            if isinstance(outcome := task.result(), Unchanged):
                assert outcome.event.id in [event["id"] for event in world.events]
        if not running:
            break
        action = ACTIONS[pick(len(ACTIONS))]
        future, task = list(steps.waiting.items())[pick(len(steps.waiting))]
        if action == "step":
            future.set_result(None)
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
    world.check()


@given(st.lists(st.tuples(st.sampled_from(["notified", "asked"]), changes | st.none()), max_size=8))
@settings(max_examples=40)
async def test_without_faults_each_event_follows_the_one_before(requests: list[tuple[str, Any]]) -> None:
    world = World()
    expected: list[str] = []
    for kind, change in requests:
        if change is not None:
            world.versions.append(snapshot(len(world.versions), **change))
        known = len(world.events)
        outcome = await world.forward(ASKED if kind == "asked" else NOTIFIED)
        version = f"{SEED_ID}@v{len(world.versions) - 1}"
        is_known = bool(expected) and expected[-1] == version
        assert isinstance(outcome, Unchanged if is_known and kind == "notified" else Forwarded)
        if is_known and kind == "asked":
            first = next(event for event in world.events if event["id"] == version)
            assert {**world.events[-1], "cause": None} == {**first, "cause": None}
        elif len(world.events) > known and expected:
            assert world.events[-1]["previousid"] == expected[-1]
        if len(world.events) > known and not is_known:
            expected.append(version)
    world.check()


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
