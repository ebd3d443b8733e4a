"""What only Service Bus has: IDs, sessions, properties, duplicate detection; its strict stand-in; mixed set-ups."""

import json
import ssl
import time
import uuid
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from local_stack.stack import SERVICE_BUS, STORAGE, Stack
from local_stack.stand_ins.partner_center import Fault
from local_stack.stand_ins.service_bus import BusQueue, Entity, ServiceBus, Stored
from referral_fn import retry
from referral_fn.credentials.token_source import make_token_source
from referral_fn.errors import RetryableError
from referral_fn.queues.base import Message, MessageTooLargeError
from referral_fn.queues.service_bus import MAX_ID, ServiceBusQueue, shortened
from tests.conftest import App, StartApp, eventually_empty, eventually_holds, until
from tests.documents import SEED_ID, seed

pytestmark = pytest.mark.usefixtures("short_pauses")

LIMIT = 256 * 1024


@pytest.fixture
def no_quick_attempts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail at the first attempt: tests/test_retry.py is about the others and their pauses."""
    monkeypatch.setattr(retry, "ATTEMPTS", 1)


@pytest.fixture
def bus(stand_ins: Stack) -> ServiceBus:
    return stand_ins.service_bus


@pytest.fixture
async def session(stand_ins: Stack) -> AsyncIterator[aiohttp.ClientSession]:
    context = ssl.create_default_context(cafile=stand_ins.authority.root)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as opened:
        yield opened


@pytest.fixture
def queue(bus: ServiceBus) -> BusQueue:
    return BusQueue(bus, Entity(uuid.uuid4().hex, dedup_seconds=60))


@pytest.fixture
async def client(
    stand_ins: Stack, queue: BusQueue, session: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[ServiceBusQueue]:
    """The app's client of the queue, with a real token of the stand-in identity."""
    monkeypatch.setenv("IDENTITY_ENDPOINT", f"{stand_ins.identity_url}/msi/token")
    monkeypatch.setenv("IDENTITY_HEADER", stand_ins.identity.secret)
    tokens = make_token_source("managed-identity", None)
    yield ServiceBusQueue(queue.url, session, tokens, LIMIT)
    await tokens.close()


def only(queue: BusQueue) -> Stored:
    (message,) = queue.entity.messages
    return message


async def test_a_message_has_its_ids_and_properties(client: ServiceBusQueue, queue: BusQueue) -> None:
    message = Message(
        b'{"a": 1}', "the id", "a session", "a subject", "a type", "text/x", {"status": "N\u00e9w \u4f60"}
    )
    await client.put(message)
    stored = only(queue)
    assert (stored.body, stored.content_type) == (message.body, "text/x")
    expected = {"MessageId": "the id", "SessionId": "a session", "CorrelationId": "a subject", "Label": "a type"}
    assert (stored.broker, stored.properties) == (expected, {"status": "N\u00e9w \u4f60"})


async def test_a_message_without_an_id_gets_a_unique_one(client: ServiceBusQueue, queue: BusQueue) -> None:
    for _ in range(2):
        await client.put(Message(b"the same"))
    assert [set(message.broker) for message in queue.entity.messages] == [{"MessageId"}] * 2


async def test_the_broker_drops_duplicates(client: ServiceBusQueue, queue: BusQueue) -> None:
    for name in ("a", "b", "a"):
        await client.put(Message(b"x", name))
    assert (await queue.count(), queue.entity.dropped) == (2, 1)
    queue.entity.seen = dict.fromkeys(queue.entity.seen, time.time())  # its window is over
    await client.put(Message(b"x", "a"))
    assert await queue.count() == 3


async def test_a_delay_is_never_shortened(client: ServiceBusQueue, queue: BusQueue) -> None:
    before = time.time()
    await client.put(Message(b"x"), delay=100.5)
    assert before + 100.5 <= only(queue).due <= time.time() + 103


@given(st.text(), st.text())
def test_a_long_id_is_shortened_by_a_stable_hash(one: str, other: str) -> None:
    assert shortened(one) == (one if len(one) <= MAX_ID else shortened(one))
    long_one, long_other = one + "x" * MAX_ID, other + "x" * MAX_ID
    assert len(shortened(long_one)) <= MAX_ID
    assert (shortened(long_one) == shortened(long_other)) is (one == other) or len(one) == len(other) == 0


async def test_ids_too_long_for_the_broker_arrive_shortened(client: ServiceBusQueue, queue: BusQueue) -> None:
    await client.put(Message(b"x", "i" * 500, "s" * 500, "c" * 500))
    broker = only(queue).broker
    assert broker == {
        "MessageId": shortened("i" * 500),
        "SessionId": shortened("s" * 500),
        "CorrelationId": shortened("c" * 500),
    }


async def test_the_largest_message_fits_and_a_larger_one_is_refused(client: ServiceBusQueue, queue: BusQueue) -> None:
    await client.put(Message(b"x" * (LIMIT - 200), "1", properties={"status": "New"}))
    with pytest.raises(MessageTooLargeError, match=f"properties included; queue {queue.name} accepts {LIMIT}"):
        await client.put(Message(b"x" * (LIMIT - 30), "2", properties={"status": "New"}))
    assert await queue.count() == 1


async def test_the_service_decides_whether_an_unchanged_message_fits(client: ServiceBusQueue) -> None:
    with pytest.raises(RetryableError):
        await client.put(Message(b"x" * LIMIT, verbatim=True))


async def test_a_full_queue_is_distinguished_from_a_missing_role(client: ServiceBusQueue, queue: BusQueue) -> None:
    queue.entity.capacity = 10
    with pytest.raises(RetryableError, match="is full \\(403\\)"):
        await client.put(Message(b"x" * 11))


async def test_a_lock_is_settled_only_where_the_message_was_received(
    client: ServiceBusQueue, queue: BusQueue, bus: ServiceBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A response that names another host does not make the app send its token there."""
    await client.put(Message(b"x"))
    monkeypatch.setattr(bus, "url", "https://elsewhere.example")
    (message,) = await client.take(60)
    await client.remove(message)
    assert await queue.count() == 0


@pytest.mark.parametrize("count", [0, 1, 7, 8, 9, 31, 32])
async def test_a_page_is_leased_in_the_queues_order(client: ServiceBusQueue, queue: BusQueue, count: int) -> None:
    bodies = [str(number).encode() for number in range(count)]
    for body in bodies:
        await client.put(Message(body))
    assert [message.body for message in await client.take(60)] == bodies
    assert await client.take(60) == []


@pytest.mark.usefixtures("no_quick_attempts")
async def test_a_queue_with_sessions_cannot_be_read_by_rest(client: ServiceBusQueue, queue: BusQueue) -> None:
    queue.entity.sessions = True
    with pytest.raises(RetryableError, match="did not accept the call \\(400\\)"):
        await client.take(60)


BROKER = '{"MessageId": "1"}'


@pytest.mark.parametrize(
    ("headers", "body", "status"),
    [
        ({}, b"x", 201),
        ({"BrokerProperties": "no JSON"}, b"x", 400),
        ({"BrokerProperties": "[]"}, b"x", 400),
        ({"BrokerProperties": '{"messageid": "1"}'}, b"x", 400),
        ({"BrokerProperties": json.dumps({"MessageId": "x" * 129})}, b"x", 400),
        ({"BrokerProperties": '{"MessageId": 1}'}, b"x", 400),
        ({"BrokerProperties": '{"SessionId": "a", "PartitionKey": "b"}'}, b"x", 400),
        ({"BrokerProperties": '{"ScheduledEnqueueTimeUtc": "2026-01-01T00:00:00Z"}'}, b"x", 400),
        ({"BrokerProperties": '{"ScheduledEnqueueTimeUtc": "Thu, 01 Jan 2026 00:00:00 GMT"}'}, b"x", 201),
        ({"status": "New"}, b"x", 400),
        ({"status": '"New"'}, b"x", 201),
        ({"Content-Type": ""}, b"x", 400),
        ({}, b"x" * LIMIT, 403),
        ({"status": json.dumps("x" * 7000), "BrokerProperties": BROKER}, b"x" * (LIMIT - 1000), 403),
        ({"Authorization": "Bearer nonsense"}, b"x", 401),
        ({"Authorization": ""}, b"x", 401),
    ],
)
async def test_the_stand_in_is_strict(
    stand_ins: Stack, queue: BusQueue, session: aiohttp.ClientSession, headers: dict[str, str], body: bytes, status: int
) -> None:
    token = stand_ins.issuer.mint("https://servicebus.azure.net", "somebody", 600)
    sent = {"Authorization": f"Bearer {token}", "Content-Type": "text/plain", **headers}
    url = queue.url.replace("sb://", "https://")
    async with session.post(f"{url}/messages", data=body, headers=sent) as answer:
        assert answer.status == status, await answer.text()
    assert await queue.count() == (status == 201)


@pytest.mark.parametrize(
    ("audience", "path", "status"),
    [("https://storage.azure.com", "", 401), ("https://servicebus.azure.net", "-not-there", 410)],
)
async def test_the_stand_in_requires_a_valid_token_and_an_existing_entity(
    stand_ins: Stack, queue: BusQueue, session: aiohttp.ClientSession, audience: str, path: str, status: int
) -> None:
    headers = {
        "Authorization": f"Bearer {stand_ins.issuer.mint(audience, 'somebody', 600)}",
        "Content-Type": "text/plain",
    }
    url = queue.url.replace("sb://", "https://")
    async with session.post(f"{url}{path}/messages", data=b"x", headers=headers) as answer:
        assert answer.status == status


@pytest.mark.usefixtures("no_quick_attempts")
async def test_with_sessions_a_message_without_one_is_refused(client: ServiceBusQueue, queue: BusQueue) -> None:
    queue.entity.sessions = True
    with pytest.raises(RetryableError, match="\\(400\\)"):
        await client.put(Message(b"x"))
    await client.put(Message(b"x", session="one"))
    assert await queue.count() == 1


async def test_a_session_delivers_one_message_at_a_time_in_order(client: ServiceBusQueue, queue: BusQueue) -> None:
    queue.entity.sessions = True
    for body, name in ((b"1", "a"), (b"2", "a"), (b"3", "b")):
        await client.put(Message(body, session=name))
    assert await queue.texts() == ["1", "3"]


def broker_of(app: App, queue: str = "events") -> list[dict[str, Any]]:
    entity: Entity = getattr(app.queues, queue).entity
    return [message.broker for message in entity.messages]


async def test_an_event_has_properties_for_filters(start_app: StartApp) -> None:
    async with start_app(outbound=SERVICE_BUS) as app:
        _, event = await app.forward(SEED_ID)
        (stored,) = app.queues.events.entity.messages  # type: ignore[attr-defined]
        assert stored.broker == {
            "MessageId": event["id"],
            "SessionId": event["partitionkey"],
            "CorrelationId": SEED_ID,
            "Label": "partnercenter.referral.v1",
        }
        assert stored.properties == {"category": "CoSellOpportunity", "status": "Active"} | (
            {"type": event["data"]["type"]} if "type" in event["data"] else {}
        )
        assert stored.content_type == "application/cloudevents+json"

        missing = str(uuid.uuid4())
        await app.queues.requests.send(missing)
        await eventually_holds(app.queues.rejects)
        (reject,) = app.queues.rejects.entity.messages  # type: ignore[attr-defined]
        assert reject.properties == {"reason": "referral-not-found"}
        assert reject.broker["SessionId"] == reject.broker["CorrelationId"] == missing


async def test_duplicates_of_an_event_are_not_delivered(start_app: StartApp) -> None:
    async with start_app(outbound=SERVICE_BUS) as app:
        app.queues.events.entity.dedup_seconds = 600  # type: ignore[attr-defined]
        for _ in range(3):
            answer, _ = await app.forward(SEED_ID)
            assert answer.status == 200
        assert await app.queues.events.count() == 1


async def test_with_sessions_on_events_and_rejects_every_message_has_one(start_app: StartApp) -> None:
    settings = {"REFERRALS_DEFERRAL_SCHEDULE": "1,1,1"}
    async with start_app(inbound=SERVICE_BUS, outbound=SERVICE_BUS, **settings) as app:
        for queue in (app.queues.events, app.queues.rejects):
            queue.entity.sessions = True  # type: ignore[attr-defined]
        troubled, missing = str(uuid.uuid4()), str(uuid.uuid4())
        app.stack.partner_center.referrals[troubled] = seed(id=troubled)
        app.stack.partner_center.faults[troubled] = Fault("status", status=500, times=4)
        await app.forward(troubled, Prefer="respond-async")
        for text in (missing, "no request"):
            await app.queues.requests.send(text)
        (event,) = await eventually_holds(app.queues.events)
        assert event["subject"] == troubled
        rejects = await eventually_holds(app.queues.rejects, 2)
        assert {reject["data"]["reason"] for reject in rejects} == {"referral-not-found", "invalid-request"}
        await eventually_empty(app.queues.requests)
        assert await app.queues.poison.count() == 0


@pytest.mark.parametrize(("inbound", "outbound"), [(STORAGE, SERVICE_BUS), (SERVICE_BUS, STORAGE)])
async def test_requests_and_events_may_be_on_queues_of_different_kinds(
    start_app: StartApp, inbound: str, outbound: str
) -> None:
    async with start_app(inbound=inbound, outbound=outbound, REFERRALS_DEFERRAL_SCHEDULE="1,1,1") as app:
        troubled, missing = str(uuid.uuid4()), str(uuid.uuid4())
        app.stack.partner_center.referrals[troubled] = seed(id=troubled)
        app.stack.partner_center.faults[troubled] = Fault("status", status=500, times=4)
        for referral_id in (SEED_ID, troubled, missing):
            await app.queues.requests.send(referral_id)
        events = await eventually_holds(app.queues.events, 2)
        assert {event["subject"] for event in events} == {SEED_ID, troubled}
        (reject,) = await eventually_holds(app.queues.rejects)
        assert (reject["subject"], reject["data"]["reason"]) == (missing, "referral-not-found")
        await app.host.says('"event":"referral.deferred"')
        await eventually_empty(app.queues.requests)

        status, output = await app.stack.run_command(app.environment, "doctor", "--referral", SEED_ID)
        assert status == 0, output
        status, output = await app.stack.run_command(app.environment, "replay", "--requeue", "--yes")
        assert (status, "1 put back." in output) == (0, True), output
        await until(app.queues.requests.count, 0)
        await eventually_holds(app.queues.rejects)


async def test_a_message_is_processed_while_its_lock_is_renewed(start_app: StartApp) -> None:
    async with start_app(inbound=SERVICE_BUS, lease=1, REFERRALS_RETRY_BUDGET="10") as app:
        app.stack.partner_center.faults[SEED_ID] = Fault("latency", seconds=2.5)
        await app.queues.requests.send(SEED_ID)
        await eventually_holds(app.queues.events)
        await eventually_empty(app.queues.requests)
        assert await app.queues.events.count() == 1
