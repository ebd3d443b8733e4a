"""How long messages stay hidden, how many are worked on at once, and what a function does to its own message."""

import asyncio
from collections import Counter

import pytest

from local_stack.host.channel import Call
from local_stack.host.dispatcher import CancelledInvocationError
from tests.conftest import until
from tests.local_stack.conftest import Listen, fail


@pytest.mark.parametrize(("wait", "sent"), [("00:00:00", "0"), ("00:01:00", "60")])
async def test_a_failed_message_is_back_after_visibility_timeout(listen: Listen, wait: str, sent: str) -> None:
    async with listen(visibilityTimeout=wait) as host:
        host.dispatcher.behave = fail
        await host.send("a")
        while not (released := [query for query in host.queries if query["method"] == "PUT"]):
            await asyncio.sleep(0.01)
        assert released[0]["visibilitytimeout"] == sent
        if sent == "0":
            await host.called(2)


async def test_the_lease_is_ten_minutes_long_and_renewed_at_half_of_it(listen: Listen) -> None:
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
async def test_a_renewal_that_finds_the_message_gone_or_taken_is_silent(listen: Listen, status: int, code: str) -> None:
    async with listen(lease=1) as host:
        host.dispatcher.behave = lambda _: asyncio.sleep(0.8)
        host.refuse("PUT", status, code, of="messages")
        await host.send("a")
        while not host.requests[("PUT", host.queue.name, status)]:
            await asyncio.sleep(0.01)
        await until(host.queue.count, 0)
        assert host.ended == []


@pytest.mark.parametrize("status", [500, 503])
async def test_a_renewal_that_keeps_failing_ends_the_host(listen: Listen, status: int) -> None:
    async with listen(lease=1) as host:
        host.dispatcher.behave = lambda _: asyncio.sleep(1)
        host.refuse("PUT", status, "ServerBusy", of="messages")
        await host.send("a")
        assert f"Renewing failed: PUT {host.queue.name}/messages" in await host.ends()


@pytest.mark.parametrize(("batch", "threshold", "most"), [(16, 8, 24), (16, 16, 32), (32, 32, 64)])
async def test_a_batch_is_taken_only_when_no_more_than_the_threshold_are_worked_on(
    listen: Listen, batch: int, threshold: int, most: int
) -> None:
    async with listen(batchSize=str(batch), newBatchThreshold=str(threshold)) as host:
        may_end = asyncio.Semaphore(0)

        async def behave(_: Call) -> None:
            if len(host.dispatcher.calls) > batch - threshold:  # the first end, so that the next batch is taken
                await may_end.acquire()

        async def work_on(count: int) -> None:
            while host.dispatcher.at_once != count:
                await asyncio.sleep(0.01)

        def polls() -> int:
            return sum("numofmessages" in query for query in host.queries)

        host.dispatcher.behave = behave
        host.refuse("GET", 503, "ServerBusy", of="messages")
        await asyncio.gather(*(host.send(str(number)) for number in range(most + 20)))
        host.refuse("", 0, "")
        await work_on(most)
        polls_before = polls()
        for count in range(most - 1, threshold, -1):
            may_end.release()
            await work_on(count)
            assert polls() == polls_before
        may_end.release()
        while polls() == polls_before:
            await asyncio.sleep(0.01)
        assert host.dispatcher.most_at_once == most
        for _ in range(most + batch):
            may_end.release()


async def test_a_function_that_hides_its_own_message_gets_it_again_silently(listen: Listen) -> None:
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
async def test_a_function_that_deletes_its_own_message_loses_it_if_it_then_fails(listen: Listen, fails: bool) -> None:
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


async def test_a_function_that_puts_a_message_and_then_fails_leaves_one_more_at_each_try(listen: Listen) -> None:
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


async def test_a_cancelled_call_is_released_at_once_and_the_others_finish(listen: Listen) -> None:
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
