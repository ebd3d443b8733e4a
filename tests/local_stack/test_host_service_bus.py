"""The Service Bus listener: a message is completed, abandoned or kept locked, and bound like a storage queue's."""

import asyncio
import base64
import contextlib
import io
import time
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager

import aiohttp
import pytest

from local_stack.host.channel import Call
from local_stack.host.dispatcher import Function
from local_stack.host.logs import HostLog
from local_stack.host.service_bus_listener import ServiceBusListener
from local_stack.host.storage import Connection
from local_stack.stack import Stack
from local_stack.stand_ins.service_bus import BusQueue, Entity, Stored
from tests.conftest import until
from tests.local_stack.conftest import Dispatcher, fail

pytestmark = pytest.mark.e2e  # not by what they use: they wait for locks

Listen = Callable[..., AbstractAsyncContextManager[tuple[BusQueue, Dispatcher]]]


@pytest.fixture
def listen(stand_ins: Stack, monkeypatch: pytest.MonkeyPatch) -> Listen:
    """Starts a listener on a queue of its own."""
    monkeypatch.setenv("IDENTITY_ENDPOINT", f"{stand_ins.identity_url}/msi/token")
    monkeypatch.setenv("IDENTITY_HEADER", stand_ins.identity.secret)
    monkeypatch.setenv("Probe__fullyQualifiedNamespace", stand_ins.service_bus.namespace)

    @contextlib.asynccontextmanager
    async def start(
        data_type: str = "BINARY", lock: float = 60, max_deliveries: int = 10, most: int = 16
    ) -> AsyncIterator[tuple[BusQueue, Dispatcher]]:
        entity = Entity(uuid.uuid4().hex, lock_seconds=lock, max_delivery_count=max_deliveries)
        queue = BusQueue(stand_ins.service_bus, entity)
        binding = {"type": "serviceBusTrigger", "name": "msg", "queueName": queue.name, "dataType": data_type}
        dispatcher, log = Dispatcher(), HostLog({}, io.StringIO())
        connector = aiohttp.TCPConnector(ssl=stand_ins.authority.client_context())
        async with aiohttp.ClientSession(connector=connector) as session, Connection("Probe", NAMESPACE) as connection:
            function, options = Function("1", "take", [binding]), {"maxConcurrentCalls": most}
            listener = ServiceBusListener(function, dispatcher, connection, session, options, log, _unexpected)
            running = asyncio.create_task(listener.run())
            try:
                yield queue, dispatcher
            finally:
                running.cancel()
                await asyncio.gather(running, return_exceptions=True)

    return start


NAMESPACE = "fullyQualifiedNamespace"


def _unexpected(reason: str) -> None:
    raise AssertionError(f"the host would end: {reason}")


async def called(dispatcher: Dispatcher, times: int) -> list[Call]:
    while len(dispatcher.calls) < times:
        await asyncio.sleep(0.01)
    return dispatcher.calls


async def test_a_message_whose_function_succeeds_is_completed(listen: Listen) -> None:
    async with listen() as (queue, dispatcher):
        await queue.send("a")
        await called(dispatcher, 1)
        await until(queue.count, 0)


async def test_a_message_whose_function_fails_is_abandoned_until_the_broker_gives_up(listen: Listen) -> None:
    async with listen(max_deliveries=3) as (queue, dispatcher):
        dispatcher.behave = fail
        await queue.send("a")
        calls = await called(dispatcher, 3)
        assert [call.metadata["DeliveryCount"] for call in calls] == [{"json": str(count)} for count in (1, 2, 3)]
        while not queue.entity.dead_letters:
            await asyncio.sleep(0.01)


async def test_a_lock_is_renewed_while_the_function_runs(listen: Listen) -> None:
    async with listen(lock=0.4) as (queue, dispatcher):
        dispatcher.behave = lambda _: asyncio.sleep(1)
        await queue.send("a")
        await until(queue.count, 0)
        assert len(dispatcher.calls) == 1


async def test_no_more_than_max_concurrent_calls_run_at_once(listen: Listen) -> None:
    async with listen(most=2) as (queue, dispatcher):
        dispatcher.behave = lambda _: asyncio.sleep(0.05)
        for number in range(5):
            await queue.send(str(number))
        await until(queue.count, 0)
        assert dispatcher.most_at_once == 2


@pytest.mark.parametrize(("data_type", "count"), [("BINARY", {"json": "1"}), ("STRING", {"string": "7"})])
async def test_only_a_body_bound_as_text_overrides_metadata(
    listen: Listen, data_type: str, count: dict[str, str]
) -> None:
    body = '{"deliveryCount": 7, "applicationProperties": {"mine": true}}'
    async with listen(data_type) as (queue, dispatcher):
        number = next(queue._bus.numbers)  # noqa: SLF001 - with properties, which `send` does not take
        broker, properties = {"MessageId": "m"}, {"category": "Unknown"}
        queue.entity.messages.append(Stored(number, body.encode(), broker, properties, "text/plain", time.time()))
        (call,) = await called(dispatcher, 1)
        assert call.metadata["DeliveryCount"] == count
        assert call.metadata["MessageId"] == {"string": "m"}
        own = {"json": '{"category": "Unknown"}'}
        assert call.metadata["UserProperties"] == own
        assert call.metadata["ApplicationProperties"] == (own if data_type == "BINARY" else {"json": '{"mine": true}'})
        as_bytes = {"bytes": base64.b64encode(body.encode()).decode()}
        assert call.inputs["msg"] == (as_bytes if data_type == "BINARY" else {"string": body})
