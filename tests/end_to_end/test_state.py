"""The app with its table, under the host: changes, missed notifications, backfills."""

import base64
import contextlib
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from local_stack.stack import Stack
from local_stack.stand_ins.bucket import Bucket
from referral_fn.timestamps import utc
from tests.conftest import App, StartApp, eventually_empty, eventually_holds, until
from tests.documents import seed

INSTANCES = 3
IN_FLIGHT = 1
"""Seconds in which an answer reaches the instance that called, on a busy machine."""

BUSY = {
    "REFERRALS_DEFERRAL_SCHEDULE": "1,1,1,1,1,1,1,1",
    "AzureFunctionsJobHost__extensions__queues__maxPollingInterval": "00:00:00.2",
}


def change(app: App, referral_id: str, **changes: Any) -> None:
    """Change or create a referral without a notification."""
    referrals = app.stack.partner_center.referrals
    updated = {"updatedDateTime": utc(datetime.now(UTC) - timedelta(minutes=20)), "eTag": f'"{uuid.uuid4()}"'}
    referrals[referral_id] = {**referrals.get(referral_id, seed(id=referral_id)), **updated, **changes}


async def run_timer(app: App) -> None:
    url = f"{app.host.url}/admin/functions/reconcile"
    async with app.session.post(url, json={}) as answer:
        assert answer.status == 202


async def test_a_change_without_a_notification_is_detected_and_described(start_app: StartApp, stack: Stack) -> None:
    async with start_app(STATE_URL=await stack.fresh_table()) as app:
        referral_id = str(uuid.uuid4())
        change(app, referral_id, status="New", statusDetail=None, substatus="Pending")
        await app.forward(referral_id)
        change(app, referral_id, updatedDateTime=utc(datetime.now(UTC)), status="Closed", substatus="Lost")
        await run_timer(app)
        first, second = await eventually_holds(app.queues.events, 2)
        assert second["cause"] == "reconcile"
        assert (second["previousid"], second["changed"]) == (first["id"], "etag,status,substatus,updatedAt")
        await run_timer(app)
        await app.host.says('"listed":1,"current":1,"requested":0')
        await eventually_empty(app.queues.requests)
        assert await app.queues.events.count() == 2


async def test_a_backfill_loads_everything_and_reports_its_progress(start_app: StartApp, stack: Stack) -> None:
    stack.partner_center.listing.page_size = 10
    async with start_app(STATE_URL=await stack.fresh_table(), BACKFILL_RATE="1000") as app:
        known = set(stack.partner_center.referrals)
        answer, run = await app.post("backfills", {})
        assert answer.status == 202
        assert answer.headers["Location"] == f"/api/backfills/{run['id']}"

        async def status() -> Any:
            return (await app.get(f"backfills/{run['id']}"))[1]["status"]

        await until(status, "finished")
        answer, document = await app.get(f"backfills/{run['id']}")
        assert (document["pages"], document["listed"], document["requested"]) == (3, len(known), len(known))
        await eventually_empty(app.queues.requests)
        subjects = {event["subject"] for event in await app.queues.events.documents()}
        assert subjects == known
        answer, _ = await app.get(f"backfills/{uuid.uuid4()}")
        assert answer.status == 404


async def test_a_registration_of_somebody_else_is_logged_and_shown_by_health(start_app: StartApp, stack: Stack) -> None:
    settings = {"WEBHOOK_API": stack.partner_center_url, "WEBHOOK_URL": "https://app.example.com/hook"}
    async with start_app(STATE_URL=await stack.fresh_table(), **settings) as app:
        stack.webhooks.registration = {"WebhookUrl": "https://crm.example.com/hook", "WebhookEvents": []}
        try:
            await run_timer(app)
            await app.host.says('"event":"webhook.drifted"')
        finally:
            stack.webhooks.registration = None

        async def shown() -> Any:
            return (await app.get("health"))[1]

        await until(shown, {"status": "ok", "webhook": "the registration names another URL"})


@pytest.mark.parametrize(
    "body",
    [
        {"status": "' or 1 eq 1"},
        {"since": "yesterday"},
        {"since": None},
        {"status": None},
        {"all": "yes"},
        {"ever": 1},
        [],
    ],
)
async def test_an_invalid_backfill_request_is_refused(start_app: StartApp, stack: Stack, body: Any) -> None:
    async with start_app(STATE_URL=await stack.fresh_table()) as app:
        answer, problem = await app.post("backfills", body)
        assert (answer.status, problem["type"]) == (400, "urn:referral-fn:problem:invalid-request")


async def test_without_a_table_nothing_is_called_and_there_is_no_timer(start_app: StartApp, stack: Stack) -> None:
    tokens = stack.identity.requests.copy()
    async with start_app() as app:
        async with app.session.post(f"{app.host.url}/admin/functions/reconcile", json={}) as answer:
            assert answer.status == 404
        await app.forward(next(iter(stack.partner_center.referrals)))
        assert len(stack.partner_center.calls) == 1
    # one token for the host, which polls the queue, and one for the worker's event
    assert (stack.identity.requests - tokens)["https://storage.azure.com"] == 2


async def test_three_instances_probe_once_each_in_a_pause_that_one_was_asked_for(stack: Stack) -> None:
    """A tenant's limit: what one instance uses up, the others lack.

    Calls that were in flight when the pause began cannot be taken back, so the bound holds for those that come later.
    """
    queues = await stack.fresh_queues()
    settings = stack.environment(queues, STATE_URL=await stack.fresh_table(), **BUSY)
    bucket = stack.partner_center.bucket = Bucket(size=15, rate=5, pause=3)
    asked = [str(uuid.uuid4()) for _ in range(50)]
    stack.partner_center.referrals.update({referral_id: seed(id=referral_id) for referral_id in asked})
    async with contextlib.AsyncExitStack() as running:
        for _ in range(INSTANCES):
            await running.enter_async_context(stack.host(settings))
        for referral_id in asked:
            await queues.requests.send(base64.b64encode(referral_id.encode()).decode())
        await until(queues.events.count, len(asked))
    assert bucket.pauses >= 2
    assert sum(seconds > IN_FLIGHT for seconds in bucket.early) <= INSTANCES * bucket.pauses
    assert await queues.rejects.count() == 0
