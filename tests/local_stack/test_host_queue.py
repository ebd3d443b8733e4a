"""The queue listener, held to what Microsoft's own was measured to do: each row of those measurements is a test here.

The listener runs in this process, on Azurite behind a proxy that makes faults, with functions that tests answer for.
"""

import asyncio
import base64
import contextlib
import io
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any
from unittest.mock import ANY

import aiohttp
import pytest
from aiohttp import web
from azure.core.exceptions import ResourceExistsError

from local_stack.azurite import Queue
from local_stack.host.channel import Call, InvocationError
from local_stack.host.dispatcher import CancelledInvocationError, Function
from local_stack.host.logs import HostLog
from local_stack.host.queue_listener import QueueListener, QueueOptions
from local_stack.host.storage import SCOPE, StorageQueues
from local_stack.stack import STORAGE, Queues, Stack
from local_stack.stand_ins.flaky import FlakyQueues
from local_stack.stand_ins.serving import serving
from local_stack.stand_ins.tokens import TENANT
from tests.conftest import until

Fault = Callable[[web.Request], web.Response | None]
POISON = "-poison"


class Dispatcher:
    """Stands for the worker: a test says how each call ends."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.behave: Callable[[Call], Awaitable[None]] = _succeed
        self.at_once = 0
        self.most_at_once = 0

    async def invoke(self, call: Call, reason: str) -> None:
        self.calls.append(call)
        self.at_once += 1
        self.most_at_once = max(self.at_once, self.most_at_once)
        try:
            await self.behave(call)
        finally:
            self.at_once -= 1


class Listening:
    """A listener at work."""

    def __init__(self, queue: Queue, poison: Queue, flaky: FlakyQueues) -> None:
        self.queue, self.poison = queue, poison
        self.dispatcher = Dispatcher()
        self.ended: list[str] = []
        self.requests: Counter[tuple[str, str, int]] = Counter()
        self.queries: list[dict[str, str]] = []
        self._fault: Fault = lambda _: None
        flaky.fault = self._answer

    def refuse(self, method: str, status: int, code: str, *, of: str = "", times: float = float("inf")) -> None:
        """Answer requests of a method with an error, those whose path has `of` in it."""
        left = times

        def fault(request: web.Request) -> web.Response | None:
            nonlocal left
            if request.method != method or of not in request.path or left <= 0:
                return None
            left -= 1
            return web.Response(status=status, headers={"x-ms-error-code": code})

        self._fault = fault

    def _answer(self, request: web.Request) -> web.Response | None:
        self.queries.append({"method": request.method, **request.query})
        answer = self._fault(request)
        self.requests[(request.method, request.path.split("/")[2], answer.status if answer else 0)] += 1
        return answer

    async def send(self, *texts: str, time_to_live: int = -1) -> None:
        for text in texts:
            await self.queue.client.send_message(text, time_to_live=time_to_live)

    async def called(self, times: int) -> None:
        while len(self.dispatcher.calls) < times:
            await asyncio.sleep(0.01)

    async def ends(self) -> str:
        """Wait until the host ends. Returns why."""
        while not self.ended:
            await asyncio.sleep(0.01)
        return self.ended[0]


async def _succeed(_: Call) -> None:
    return


async def fail(_: Call) -> None:
    raise InvocationError("the function failed")


@pytest.fixture
def listen(stack: Stack) -> Callable[..., AbstractAsyncContextManager["Listening"]]:
    """Starts a listener with options of host.json's `queues` section."""

    @contextlib.asynccontextmanager
    async def start(
        *, lease: float = 600, data_type: str = "BINARY", suffix: str = "", retry_delay: float = 0.01, **section: Any
    ) -> AsyncIterator[Listening]:
        queues: Queues = await stack.fresh_queues(inbound=STORAGE)
        name = queues.requests.name + suffix
        queue, poison = Queue(stack.azurite, name), Queue(stack.azurite, name + POISON)
        if suffix:
            with contextlib.suppress(ResourceExistsError):
                await queue.client.create_queue()
        binding = {"type": "queueTrigger", "name": "msg", "queueName": name, "dataType": data_type}
        function = Function("1", "take", [binding])
        options = QueueOptions.read({"maxPollingInterval": "00:00:00.2", "messageEncoding": "none", **section})
        connector = aiohttp.TCPConnector(ssl=stack.authority.client_context(), limit=0)
        async with aiohttp.ClientSession(connector=connector) as session:
            flaky = FlakyQueues(stack.azurite.origin, session)
            listening = Listening(queue, poison, flaky)
            async with serving(flaky.app) as url:
                account = stack.azurite.account_url.replace(stack.azurite.origin, url)
                token = stack.issuer.mint(SCOPE.removesuffix("/.default"), TENANT, 3600)
                client = StorageQueues(account, lambda: _constant(token), session, retry_delay)
                listener = QueueListener(
                    function,
                    listening.dispatcher,
                    client,
                    options,
                    HostLog({}, io.StringIO()),
                    lease=lease,
                    end_host=listening.ended.append,
                )
                running = asyncio.create_task(listener.run())
                try:
                    yield listening
                finally:
                    running.cancel()
                    await asyncio.gather(running, return_exceptions=True)

    return start


async def _constant(value: str) -> str:
    return value


async def test_a_message_is_called_five_times_and_moved_after_the_fifth_failure(listen: Any) -> None:
    async with listen() as host:
        host.dispatcher.behave = fail
        await host.send("a")
        await until(host.poison.count, 1)
        assert [call.metadata["DequeueCount"] for call in host.dispatcher.calls] == [
            {"json": str(count)} for count in range(1, 6)
        ]
        await until(host.queue.count, 0)
        assert host.ended == []


async def test_a_message_that_arrives_above_the_limit_is_moved_without_a_call(listen: Any) -> None:
    async with listen(maxDequeueCount="1") as host:
        message = await _taken_twice(host)
        await until(host.poison.count, 1)
        assert [one.content for one in await host.poison.client.peek_messages()] == [message]
        await until(host.queue.count, 0)
        assert host.dispatcher.calls == []


async def _taken_twice(host: Listening) -> str:
    """A message that others have taken twice when the listener sees it."""
    host.refuse("GET", 503, "ServerBusy")
    await host.send("taken twice")
    for _ in range(2):
        taken = await host.queue.client.receive_message(visibility_timeout=1)
        assert taken is not None
        await host.queue.client.update_message(taken, visibility_timeout=0)
    host.refuse("", 0, "")
    return "taken twice"


@pytest.mark.parametrize("text", ["ünï <&> 'x' \"y\"", "  blanks \n and\ttabs ", "e30="])
async def test_the_copy_in_the_poison_queue_is_the_same_text_and_lives_seven_days(listen: Any, text: str) -> None:
    async with listen(maxDequeueCount="1") as host:
        host.dispatcher.behave = fail
        await host.send(text)
        await until(host.poison.count, 1)
        (copy,) = await host.poison.client.peek_messages()
        assert copy.content == text
        assert (copy.expires_on - copy.inserted_on).total_seconds() == 7 * 24 * 3600


async def test_the_copy_is_put_first_and_the_poison_queue_made_only_where_it_is_missing(listen: Any) -> None:
    async with listen(maxDequeueCount="1") as host:
        host.dispatcher.behave = fail
        await host.send("a")
        await until(host.poison.count, 1)
        poison = host.poison.name
        assert host.requests[("PUT", poison, 0)] == 0, "it was there"
    async with listen(maxDequeueCount="1", suffix="-2") as host:
        host.dispatcher.behave = fail
        await host.send("a")
        await until(host.queue.count, 0)
        poison = host.poison.name
        assert (host.requests[("PUT", poison, 0)], host.requests[("POST", poison, 0)]) == (1, 2)
        assert await host.poison.count() == 1


@pytest.mark.parametrize("method", ["POST", "PUT"])
async def test_a_poison_queue_that_refuses_ends_the_host_and_the_message_stays_hidden(listen: Any, method: str) -> None:
    async with listen(maxDequeueCount="1", suffix="-2" if method == "PUT" else "") as host:
        host.dispatcher.behave = fail
        host.refuse(method, 403, "AuthorizationPermissionMismatch", of=POISON)
        await host.send("a")
        assert "403" in await host.ends()
        assert (await host.queue.count(), await host.queue.client.peek_messages()) == (1, [])


async def test_403_on_polling_ends_the_host(listen: Any) -> None:
    async with listen() as host:
        host.refuse("GET", 403, "AuthorizationPermissionMismatch", of="messages")
        assert "403 AuthorizationPermissionMismatch" in await host.ends()


@pytest.mark.parametrize(
    ("status", "code"), [(403, "AuthorizationPermissionMismatch"), (400, "InvalidQueryParameterValue")]
)
@pytest.mark.parametrize("succeeds", [True, False])
async def test_a_refused_delete_or_release_ends_the_host(listen: Any, status: int, code: str, succeeds: bool) -> None:
    async with listen() as host:
        host.dispatcher.behave = _succeed if succeeds else fail
        host.refuse("DELETE" if succeeds else "PUT", status, code)
        await host.send("a")
        assert f"{status} {code}" in await host.ends()


async def test_503_on_polling_is_tried_again_then_backed_off_from(listen: Any) -> None:
    async with listen() as host:
        host.refuse("GET", 503, "ServerBusy", of="messages", times=13)
        await host.send("a")
        await host.called(1)
        assert host.requests[("GET", host.queue.name, 503)] == 13
        assert host.ended == []


async def test_a_service_that_stays_unreachable_ends_the_host_after_six_tries(listen: Any) -> None:
    async with listen(retry_delay=0.01) as host:

        def abort(request: web.Request) -> web.Response | None:
            if "messages" not in request.path:
                return None
            if request.transport:
                request.transport.abort()
            return web.Response()

        host._fault = abort  # noqa: SLF001 - a fault of its own kind
        assert "Retry failed after 6 tries" in await host.ends()
        assert sum(0.8 * 2**number for number in range(5)) == pytest.approx(24.8), "with the delay it has by default"


async def test_a_queue_that_does_not_exist_is_waited_for(listen: Any) -> None:
    async with listen() as host:
        await host.queue.client.delete_queue()
        host.requests.clear()
        while host.requests[("GET", host.queue.name, 0)] < 2:
            await asyncio.sleep(0.01)
        await host.queue.client.create_queue()
        await host.send("a")
        await host.called(1)
        assert host.ended == []


async def test_a_poison_queue_has_no_poison_queue_and_its_failures_stay_hidden(listen: Any) -> None:
    async with listen(maxDequeueCount="1", suffix=POISON) as host:
        host.dispatcher.behave = fail
        await host.send("a")
        await host.called(1)
        await host.send("b")
        await host.called(2)
        assert (await host.queue.count(), await host.queue.client.peek_messages()) == (2, [])
        assert host.requests[("PUT", host.queue.name, 0)] == 0, "nothing was released"


async def test_text_that_is_not_base64_is_moved_at_once_and_never_called(listen: Any) -> None:
    async with listen(messageEncoding="base64") as host:
        await host.send("no base64!", base64.b64encode(b"\xff").decode(), " Z W E= ")
        await host.called(2)
        await until(host.poison.count, 1)
        bodies = sorted(base64.b64decode(call.inputs["msg"]["bytes"]) for call in host.dispatcher.calls)
        assert bodies == [b"ea", b"\xff"]
        assert [one.content for one in await host.poison.client.peek_messages()] == ["no base64!"]


async def test_bytes_that_are_not_utf_8_run_bound_as_bytes_and_end_in_poison_bound_as_text(listen: Any) -> None:
    text = base64.b64encode(b"\xff\xfe").decode()
    async with listen(messageEncoding="base64") as host:
        await host.send(text)
        await host.called(1)
    async with listen(messageEncoding="base64", data_type="STRING") as host:
        await host.send(text)
        await until(host.poison.count, 1)
        assert host.dispatcher.calls == []
        assert [one.content for one in await host.poison.client.peek_messages()] == [text]


@pytest.mark.parametrize("body", ["", " \n"])
async def test_the_function_runs_for_an_empty_body(listen: Any, body: str) -> None:
    async with listen(messageEncoding="base64") as host:
        await host.send(base64.b64encode(body.encode()).decode())
        await host.called(1)
        assert base64.b64decode(host.dispatcher.calls[0].inputs["msg"]["bytes"]) == body.encode()


async def test_the_metadata_is_the_messages_own(listen: Any) -> None:
    async with listen() as host:
        await host.send("a")
        await host.called(1)
        assert host.dispatcher.calls[0].metadata == {
            "DequeueCount": {"json": "1"},
            "ExpirationTime": {"json": '"9999-12-31T23:59:59+00:00"'},
            "Id": {"string": ANY},
            "InsertionTime": {"json": ANY},
            "NextVisibleTime": {"json": ANY},
            "PopReceipt": {"string": ANY},
            "QueueTrigger": {"string": "a"},
        }


@pytest.mark.parametrize(("wait", "sent"), [("00:00:00", "0"), ("00:01:00", "60")])
async def test_a_failed_message_is_back_after_visibility_timeout(listen: Any, wait: str, sent: str) -> None:
    async with listen(visibilityTimeout=wait) as host:
        host.dispatcher.behave = fail
        await host.send("a")
        while not (released := [query for query in host.queries if query["method"] == "PUT"]):
            await asyncio.sleep(0.01)
        assert released[0]["visibilitytimeout"] == sent
        if sent == "0":
            await host.called(2)


async def test_the_lease_is_ten_minutes_long_and_renewed_at_half_of_it(listen: Any) -> None:
    async with listen() as host:
        await host.send("a")
        await host.called(1)
        assert {query["visibilitytimeout"] for query in host.queries if "numofmessages" in query} == {"600"}
    async with listen(lease=2) as host:
        host.dispatcher.behave = lambda _: asyncio.sleep(3)
        await host.send("a")
        await until(host.queue.count, 0)
        assert len(host.dispatcher.calls) == 1
        assert {query["visibilitytimeout"] for query in host.queries if query["method"] == "PUT"} == {"2"}


@pytest.mark.parametrize(("status", "code"), [(404, "MessageNotFound"), (400, "PopReceiptMismatch")])
async def test_a_renewal_that_finds_the_message_gone_or_taken_is_silent(listen: Any, status: int, code: str) -> None:
    async with listen(lease=1) as host:
        host.dispatcher.behave = lambda _: asyncio.sleep(0.8)
        host.refuse("PUT", status, code, of="messages")
        await host.send("a")
        while not host.requests[("PUT", host.queue.name, status)]:
            await asyncio.sleep(0.01)
        await until(host.queue.count, 0)
        assert host.ended == []


@pytest.mark.parametrize("status", [500, 503])
async def test_a_renewal_that_keeps_failing_ends_the_host(listen: Any, status: int) -> None:
    async with listen(lease=1) as host:
        host.dispatcher.behave = lambda _: asyncio.sleep(1)
        host.refuse("PUT", status, "ServerBusy", of="messages")
        await host.send("a")
        assert f"Renewing failed: PUT {host.queue.name}/messages" in await host.ends()


@pytest.mark.parametrize(("batch", "threshold", "most"), [(16, 8, 24), (16, 16, 32), (32, 32, 64)])
async def test_so_many_run_at_once(listen: Any, batch: int, threshold: int, most: int) -> None:
    async with listen(batchSize=str(batch), newBatchThreshold=str(threshold)) as host:
        release = asyncio.Event()

        async def behave(_: Call) -> None:
            if len(host.dispatcher.calls) > batch - threshold:  # the first end, so that the next batch is taken
                await release.wait()

        host.dispatcher.behave = behave
        host.refuse("GET", 503, "ServerBusy", of="messages")
        await asyncio.gather(*(host.send(str(number)) for number in range(most + 20)))
        host.refuse("", 0, "")
        while host.dispatcher.at_once < most:
            await asyncio.sleep(0.01)
        polls = len([query for query in host.queries if "numofmessages" in query])
        await asyncio.sleep(0.3)  # longer than any pause between polls
        assert len([query for query in host.queries if "numofmessages" in query]) == polls
        assert host.dispatcher.most_at_once == most
        release.set()


async def test_a_function_that_hides_its_own_message_gets_it_again_silently(listen: Any) -> None:
    async with listen() as host:

        async def behave(call: Call) -> None:
            if len(host.dispatcher.calls) == 1:
                message_id, receipt = call.metadata["Id"]["string"], call.metadata["PopReceipt"]["string"]
                await host.queue.client.update_message(message_id, receipt, visibility_timeout=0)

        host.dispatcher.behave = behave
        await host.send("a")
        await host.called(2)
        assert host.dispatcher.calls[1].metadata["DequeueCount"] == {"json": "2"}
        await until(host.queue.count, 0)
        assert host.ended == []


@pytest.mark.parametrize("fails", [False, True])
async def test_a_function_that_deletes_its_own_message_loses_it_if_it_then_fails(listen: Any, fails: bool) -> None:
    async with listen() as host:

        async def behave(call: Call) -> None:
            await host.queue.client.delete_message(call.metadata["Id"]["string"], call.metadata["PopReceipt"]["string"])
            if fails:
                await fail(call)

        host.dispatcher.behave = behave
        await host.send("a")
        await host.called(1)
        await host.send("b")
        await host.called(2)
        await until(host.queue.count, 0)
        assert (len(host.dispatcher.calls), await host.poison.count(), host.ended) == (2, 0, [])


async def test_a_function_that_puts_a_message_and_then_fails_leaves_one_more_at_each_try(listen: Any) -> None:
    async with listen(maxDequeueCount="3") as host:

        async def behave(call: Call) -> None:
            if call.metadata["QueueTrigger"] == {"string": "a"}:
                await host.send("successor")
                await fail(call)

        host.dispatcher.behave = behave
        await host.send("a")
        await until(host.poison.count, 1)
        await host.called(6)
        await until(host.queue.count, 0)
        assert Counter(call.metadata["QueueTrigger"]["string"] for call in host.dispatcher.calls) == {
            "a": 3,
            "successor": 3,
        }


async def test_a_cancelled_call_is_released_at_once_and_the_others_finish(listen: Any, stack: Stack) -> None:
    async with listen() as host:
        release, stopping = asyncio.Event(), asyncio.Event()

        async def behave(call: Call) -> None:
            if call.metadata["QueueTrigger"] == {"string": "waits for a worker"}:
                await stopping.wait()
                raise CancelledInvocationError("the host stops")
            await release.wait()

        host.dispatcher.behave = behave
        await host.send("waits for a worker", "has a worker")
        await host.called(2)
        host.refuse("GET", 503, "ServerBusy")  # nothing new is taken
        stopping.set()
        while not (seen := await host.queue.client.peek_messages()):
            await asyncio.sleep(0.01)
        assert [one.content for one in seen] == ["waits for a worker"]
        release.set()
        await until(host.queue.count, 1)
