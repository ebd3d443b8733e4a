"""Nothing is lost when the app stops: graceful shutdown, a killed worker, the last deliveries."""

import asyncio
import uuid

import aiohttp
import pytest

from local_stack.azurite import AzuriteQueue
from local_stack.stack import Stack
from local_stack.stand_ins.flaky import FlakyQueues
from local_stack.stand_ins.partner_center import Fault
from local_stack.stand_ins.serving import serving
from tests.conftest import StartApp, eventually_empty, eventually_holds, until
from tests.documents import seed

BOTH_KINDS = True


async def test_messages_in_flight_are_finished_during_a_shutdown(start_app: StartApp) -> None:
    async with start_app(REFERRALS_RETRY_BUDGET="10") as app:
        queued, called = str(uuid.uuid4()), str(uuid.uuid4())
        center = app.stack.partner_center
        for referral_id in (queued, called):
            center.referrals[referral_id] = seed(id=referral_id)
            center.faults[referral_id] = Fault("latency", seconds=0.4)
        await app.queues.requests.send(queued)
        call = asyncio.create_task(app.forward(called))

        async def in_flight() -> set[str]:
            return {one.referral_id for one in center.calls} & {queued, called}

        await until(in_flight, {queued, called})
        await app.host.stop()
        answer, _ = await call
        assert answer.status == 200
        events = await eventually_holds(app.queues.events, 2)
        assert {event["subject"] for event in events} == {queued, called}
        assert await app.queues.requests.count() == 0
        assert "Unclosed" not in app.host.log
        assert "Traceback" not in app.host.log


async def test_a_killed_hosts_referral_is_forwarded_by_the_next_host(start_app: StartApp) -> None:
    referral_id = str(uuid.uuid4())
    async with start_app(lease=2) as app:
        app.stack.partner_center.referrals[referral_id] = seed(id=referral_id)
        app.stack.partner_center.faults[referral_id] = Fault("kill", times=1)
        app.stack.partner_center.killing = app.host.kill_now
        await app.queues.requests.send(referral_id)
        await app.host.ended()
        async with app.stack.host(app.environment):
            (event,) = await eventually_holds(app.queues.events)
            assert event["subject"] == referral_id
            await eventually_empty(app.queues.requests)


async def test_a_killed_workers_referral_is_forwarded_by_the_next_worker_of_the_same_host(start_app: StartApp) -> None:
    referral_id = str(uuid.uuid4())
    async with start_app() as app:
        app.stack.partner_center.referrals[referral_id] = seed(id=referral_id)
        app.stack.partner_center.faults[referral_id] = Fault("kill", times=1)
        app.stack.partner_center.killing = app.host.kill_worker
        await app.queues.requests.send(referral_id)
        (event,) = await eventually_holds(app.queues.events)
        assert event["subject"] == referral_id
        await eventually_empty(app.queues.requests)
        assert len(app.host.worker_pids) == 2


async def test_the_last_delivery_survives_an_unavailable_rejects_queue(start_app: StartApp) -> None:
    nowhere = {"REJECTS_URL": "https://127.0.0.1:9/nobody/listens"}
    async with start_app(max_deliveries=3, REFERRALS_DEFERRAL_SCHEDULE="7", **nowhere) as app:
        await app.queues.requests.send(str(uuid.uuid4()))
        await app.host.says('"event":"message.held"')
        assert '"seconds":7' in app.host.log
        await until(app.queues.requests.count, 1)
        assert await app.queues.poison.count() == 0


@pytest.mark.storage_only
async def test_a_worker_that_dies_while_it_rejects_a_message_leaves_it_one_more_delivery(
    start_app: StartApp, stack: Stack
) -> None:
    referral_id = str(uuid.uuid4())
    connector = aiohttp.TCPConnector(ssl=stack.authority.client_context())
    async with aiohttp.ClientSession(connector=connector) as session:
        rejects = FlakyQueues(stack.azurite.origin, session)
        async with serving(rejects.app, tls=stack.authority.server_context()) as url:
            settings = {"REJECTS_URL": f"{url}/devstoreaccount1/{uuid.uuid4()}"}
            queue = AzuriteQueue(stack.azurite, settings["REJECTS_URL"].rpartition("/")[2])
            await queue.client.create_queue()
            async with start_app(max_deliveries=3, **settings) as app:
                kills = iter([app.host.kill_worker])
                rejects.fault = lambda _: next(kills, lambda: None)()
                stack.partner_center.referrals[referral_id] = seed(id=referral_id)
                stack.partner_center.faults[referral_id] = Fault("kill")
                stack.partner_center.killing = app.host.kill_worker
                await app.queues.requests.send(referral_id)
                (reject,) = await eventually_holds(queue)
                assert (reject["subject"], reject["data"]["reason"]) == (referral_id, "retries-exhausted")
                await eventually_empty(app.queues.requests)
                assert await app.queues.poison.count() == 0
