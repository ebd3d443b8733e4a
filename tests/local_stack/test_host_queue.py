"""What becomes of a queue's messages: each row measured on Microsoft's own listener is a test here or beside."""

import asyncio
import base64
from unittest.mock import ANY

import pytest
from aiohttp import web

from tests.conftest import until
from tests.local_stack.conftest import POISON, Listen, Listening, fail, succeed


async def test_a_message_is_called_five_times_and_moved_after_the_fifth_failure(listen: Listen) -> None:
    async with listen() as host:
        host.dispatcher.behave = fail
        await host.send("a")
        await until(host.poison.count, 1)
        assert [call.metadata["DequeueCount"] for call in host.dispatcher.calls] == [
            {"json": str(count)} for count in range(1, 6)
        ]
        await until(host.queue.count, 0)
        assert host.ended == []


async def test_a_message_that_arrives_above_the_limit_is_moved_without_a_call(listen: Listen) -> None:
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
async def test_the_copy_in_the_poison_queue_is_the_same_text_and_lives_seven_days(listen: Listen, text: str) -> None:
    async with listen(maxDequeueCount="1") as host:
        host.dispatcher.behave = fail
        await host.send(text)
        await until(host.poison.count, 1)
        (copy,) = await host.poison.client.peek_messages()
        assert copy.content == text
        assert copy.expires_on and copy.inserted_on
        assert (copy.expires_on - copy.inserted_on).total_seconds() == 7 * 24 * 3600


async def test_the_copy_is_put_first_and_the_poison_queue_made_only_where_it_is_missing(listen: Listen) -> None:
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
async def test_a_refusing_poison_queue_ends_the_host_and_the_message_stays_hidden(listen: Listen, method: str) -> None:
    async with listen(maxDequeueCount="1", suffix="-2" if method == "PUT" else "") as host:
        host.dispatcher.behave = fail
        host.refuse(method, 403, "AuthorizationPermissionMismatch", of=POISON)
        await host.send("a")
        assert "403" in await host.ends()
        assert (await host.queue.count(), await host.queue.client.peek_messages()) == (1, [])


async def test_403_on_polling_ends_the_host(listen: Listen) -> None:
    async with listen() as host:
        host.refuse("GET", 403, "AuthorizationPermissionMismatch", of="messages")
        assert "403 AuthorizationPermissionMismatch" in await host.ends()


@pytest.mark.parametrize(
    ("status", "code"), [(403, "AuthorizationPermissionMismatch"), (400, "InvalidQueryParameterValue")]
)
@pytest.mark.parametrize("succeeds", [True, False])
async def test_a_refused_delete_or_release_ends_the_host(
    listen: Listen, status: int, code: str, succeeds: bool
) -> None:
    async with listen() as host:
        host.dispatcher.behave = succeed if succeeds else fail
        host.refuse("DELETE" if succeeds else "PUT", status, code)
        await host.send("a")
        assert f"{status} {code}" in await host.ends()


async def test_503_on_polling_is_retried_and_then_backed_off(listen: Listen) -> None:
    async with listen() as host:
        host.refuse("GET", 503, "ServerBusy", of="messages", times=13)
        await host.send("a")
        await host.called(1)
        assert host.requests[("GET", host.queue.name, 503)] == 13
        assert host.ended == []


async def test_a_service_that_stays_unreachable_ends_the_host_after_six_tries(listen: Listen) -> None:
    async with listen(retry_delay=0.01) as host:

        def abort(request: web.Request) -> web.Response | None:
            if "messages" not in request.path:
                return None
            if request.transport:
                request.transport.abort()
            return web.Response()

        host.fault = abort
        assert "Retry failed after 6 tries" in await host.ends()
        assert sum(0.8 * 2**number for number in range(5)) == pytest.approx(24.8), "with the delay it has by default"


async def test_a_queue_that_does_not_exist_is_waited_for(listen: Listen) -> None:
    async with listen() as host:
        await host.queue.client.delete_queue()
        host.requests.clear()
        while host.requests[("GET", host.queue.name, 0)] < 2:
            await asyncio.sleep(0.01)
        await host.queue.client.create_queue()
        await host.send("a")
        await host.called(1)
        assert host.ended == []


async def test_a_poison_queue_has_no_poison_queue_and_its_failures_stay_hidden(listen: Listen) -> None:
    async with listen(maxDequeueCount="1", suffix=POISON) as host:
        host.dispatcher.behave = fail
        await host.send("a")
        await host.called(1)
        await host.send("b")
        await host.called(2)
        assert (await host.queue.count(), await host.queue.client.peek_messages()) == (2, [])
        assert host.requests[("PUT", host.queue.name, 0)] == 0, "nothing was released"


async def test_text_that_is_not_base64_is_moved_at_once_and_never_called(listen: Listen) -> None:
    async with listen(messageEncoding="base64") as host:
        await host.send("no base64!", base64.b64encode(b"\xff").decode(), " Z W E= ")
        await host.called(2)
        await until(host.poison.count, 1)
        bodies = sorted(base64.b64decode(call.inputs["msg"]["bytes"]) for call in host.dispatcher.calls)
        assert bodies == [b"ea", b"\xff"]
        assert [one.content for one in await host.poison.client.peek_messages()] == ["no base64!"]


async def test_bytes_that_are_not_utf_8_run_as_bytes_and_end_in_poison_as_text(listen: Listen) -> None:
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
async def test_the_function_runs_for_an_empty_body(listen: Listen, body: str) -> None:
    async with listen(messageEncoding="base64") as host:
        await host.send(base64.b64encode(body.encode()).decode())
        await host.called(1)
        assert base64.b64decode(host.dispatcher.calls[0].inputs["msg"]["bytes"]) == body.encode()


async def test_the_metadata_is_the_messages_own(listen: Listen) -> None:
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
