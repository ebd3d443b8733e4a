"""The alert queries, run by a KQL engine over the log of the app: which log fires which alert, and which must not.

The app writes every line of its log itself, in its host. Azure's own tables, StorageQueueLogs and _LogOperation, are
filled as their documentation describes.
"""

import asyncio
import json
import re
import time
import uuid
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from azure.core.credentials import AccessToken
from azure.core.exceptions import ClientAuthenticationError

from local_stack.stack import Stack
from local_stack.stand_ins.partner_center import LIST, Fault
from local_stack.stand_ins.webhooks import notification
from referral_fn.credentials import token_source
from referral_fn.errors import RetryableError
from referral_fn.referrals.request import REFERRAL_EVENTS
from referral_fn.timestamps import utc
from tests.conftest import App, StartApp, until
from tests.documents import seed
from tests.infra.queries import ALERTS, QUERIES

COLUMNS = {
    "AppTraces": ("Message",),
    "StorageQueueLogs": ("OperationName", "Uri", "StatusCode"),
    "_LogOperation": ("Category", "Detail"),
}
QUEUE = "https://stref.queue.core.windows.net/referral-requests"
APP_ALERTS = [name for name in ALERTS if "AppTraces" in QUERIES[name]]
Row = tuple[str, ...]


def rows(name: str, *, age: float = 0, **tables: Iterable[Row]) -> list[Any]:
    """What an alert's query returns for rows that are `age` seconds old, in their order."""
    import duckdb_kql  # noqa: PLC0415 - unit tests should not wait for it

    connection = duckdb_kql.connect()
    time = datetime.now(UTC).replace(tzinfo=None) - timedelta(seconds=age)
    for table, columns in COLUMNS.items():
        connection.execute(
            f"CREATE TABLE {table} (TimeGenerated TIMESTAMP, {', '.join(f'{name} VARCHAR' for name in columns)})"
        )
        for number, row in enumerate(tables.get(table, ())):
            marks = ", ".join("?" for _ in columns)
            values = [time + timedelta(microseconds=number), *row]
            connection.execute(f"INSERT INTO {table} VALUES (?, {marks})", values)  # noqa: S608 - names from above
    found: list[Any] = duckdb_kql.query(connection, QUERIES[name]).fetchall()
    connection.close()
    return found


def traces(log: str, *events: str) -> list[Row]:
    """The app's log events as messages of AppTraces, all or those of some names."""
    messages = re.findall(r'(?m)(\{"event":.*\})\s*$', log)
    return [(message,) for message in messages if not events or json.loads(message)["event"] in events]


def fires(name: str, log: Iterable[Row], *, age: float = 0) -> bool:
    return bool(rows(name, age=age, AppTraces=log))


def a_referral(app: App, fault: Fault | None = None) -> str:
    referral_id = str(uuid.uuid4())
    app.stack.partner_center.referrals[referral_id] = seed(id=referral_id)
    if fault:
        app.stack.partner_center.faults[referral_id] = fault
    return referral_id


async def outcomes(app: App) -> int:
    return len(traces(app.host.log, "referral.forwarded", "attempt.failed"))


async def forwarded(app: App, *faults: Fault | None) -> str:
    """The log after as many calls over HTTP, each with its fault."""
    before = await outcomes(app)
    await asyncio.gather(*(app.forward(a_referral(app, fault)) for fault in faults))
    await until(lambda: outcomes(app), before + len(faults))
    return app.host.log


def notified(referral_id: str, seconds_ago: float) -> str:
    """A notification of a change some time ago."""
    document = json.loads(notification("referral-updated", referral_id))
    changed_at = utc(datetime.now(UTC) - timedelta(seconds=seconds_ago))
    return json.dumps(document | {"ResourceChangeUtcDate": changed_at})


async def published(app: App, *delays: float) -> list[Row]:
    """The log of changes that were published this many seconds later."""
    for delay in delays:
        await app.queues.requests.send(notified(a_referral(app), delay))
    await until(lambda: outcomes(app), len(delays))
    return traces(app.host.log)


async def deferred(app: App, first_seen: float) -> tuple[str, list[Row]]:
    """A referral that was deferred, first seen some seconds ago, and the log."""
    referral_id = a_referral(app, Fault("status", status=500))
    seen_at = utc(datetime.now(UTC) - timedelta(seconds=first_seen))
    await app.queues.requests.send(json.dumps({"referralId": referral_id, "attempt": 1, "firstSeen": seen_at}))
    await app.host.says('"event":"referral.deferred"')
    return referral_id, traces(app.host.log)


async def reconciled(app: App) -> list[Row]:
    """The log after one more run of the timer."""

    async def runs() -> int:
        return len(traces(app.host.log, "reconcile.failed", "reconcile.finished"))

    before = await runs()
    async with app.session.post(f"{app.host.url}/admin/functions/reconcile", json={}) as answer:
        assert answer.status == 202
    await until(runs, before + 1)
    return traces(app.host.log)


async def test_an_ordinary_day_fires_nothing(app: App) -> None:
    await published(app, 2, 3, 60)
    await forwarded(app, None, Fault("status", status=500))
    _, log = await deferred(app, 30)
    assert {json.loads(message)["event"] for (message,) in log} >= {"referral.forwarded", "referral.deferred"}
    assert [name for name in APP_ALERTS if fires(name, log)] == []


async def test_a_reject_fires(app: App) -> None:
    await app.queues.requests.send("hello")
    await app.host.says('"event":"referral.rejected"')
    assert fires("rejects", traces(app.host.log))
    assert not fires("rejects", traces(await forwarded(app, None), "referral.forwarded"))


async def test_a_request_that_waits_for_over_an_hour_fires_until_it_is_done(app: App) -> None:
    referral_id, log = await deferred(app, 7200)
    assert fires("oldest-request", log)
    app.stack.partner_center.faults.clear()
    await app.forward(referral_id)
    await app.host.says('"event":"referral.forwarded"')
    assert not fires("oldest-request", traces(app.host.log))


async def test_a_request_that_waits_for_minutes_fires_once_its_deferral_is_an_hour_old(app: App) -> None:
    _, log = await deferred(app, 600)
    assert not fires("oldest-request", log)
    assert fires("oldest-request", log, age=3300)


@pytest.mark.parametrize(("status", "does"), [(403, True), (500, False)])
async def test_a_refused_token_fires(app: App, status: int, does: bool) -> None:
    log = await forwarded(app, Fault("status", status=status))
    assert fires("credentials", traces(log)) is does


class FailingRenewals:
    """A credential that returns one token and then fails."""

    def __init__(self) -> None:
        self._tokens = [AccessToken("token", int(time.time()) + 200)]

    async def get_token(self, *_: str) -> AccessToken:
        if not self._tokens:
            raise ClientAuthenticationError("no")
        return self._tokens.pop()

    async def close(self) -> None:
        pass


async def test_a_failed_renewal_fires_only_when_no_valid_token_is_left(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(token_source, "_MARGIN_SHARE", 1)  # due for renewal at once
    credential = FailingRenewals()
    source = token_source.TokenSource(lambda: credential)
    assert [await source.token("s") for _ in range(2)] == ["token"] * 2
    assert '"event":"token.not-renewed"' in caplog.text
    assert not fires("credentials", traces(caplog.text))
    with pytest.raises(RetryableError):
        await source.token("s", refused="token")
    assert fires("credentials", traces(caplog.text))


async def test_invalid_settings_fire(start_app: StartApp) -> None:
    async with start_app(REFERRALS_AUTH="") as app:
        assert not fires("blocked", traces(app.host.log)), "at start-up it goes to the console only"
        answer, _ = await app.forward(str(uuid.uuid4()))
        assert answer.status == 503
        await app.host.says('"event":"settings.wrong","function":"forward_referral"')
        assert fires("blocked", traces(app.host.log))


async def test_no_token_and_a_queue_that_cannot_be_written_to_fire(start_app: StartApp, stack: Stack) -> None:
    scope = f"https://{uuid.uuid4()}.example"
    stack.identity.failures[scope] = 400
    async with start_app(REFERRALS_SCOPE=f"{scope}/.default", REJECTS_URL="https://127.0.0.1:9/nobody/listens") as app:
        await forwarded(app, None)
        assert fires("credentials", traces(app.host.log)) and not fires("blocked", traces(app.host.log))
        await app.queues.requests.send("hello")
        await app.host.says('"event":"handover.failed"')
        assert fires("blocked", traces(app.host.log))


async def test_more_than_half_of_the_attempts_failing_fires(app: App) -> None:
    log = traces(await forwarded(app, *[Fault("status", status=404)] * 11, *[None] * 10))
    assert fires("failures", log)
    failed = traces(app.host.log, "attempt.failed")
    assert not fires("failures", [line for line in log if line != failed[0]]), "ten of twenty"
    assert not fires("failures", failed), "eleven of eleven: too few to tell"
    unchanged = [(line.replace("forwarded", "unchanged"),) for (line,) in traces(app.host.log, "referral.forwarded")]
    assert not fires("failures", [*log, *unchanged]), "eleven of 31: the others needed no event"


async def test_throttling_fires_at_the_tenth_attempt(start_app: StartApp) -> None:
    async with start_app() as app:
        log = traces(await forwarded(app, *[Fault("status", status=429, retry_after="1")] * 10), "attempt.failed")
    assert len(log) == 10
    assert fires("throttling", log)
    assert not fires("throttling", log[1:])


async def test_late_events_fire_if_the_objective_is_at_risk(app: App) -> None:
    log = await published(app, 1, 400, 500, 600)
    assert fires("freshness", log)
    late = [line for line in traces(app.host.log, "referral.forwarded") if json.loads(line[0])["delay"] > 300]
    assert len(late) == 3
    assert not fires("freshness", [line for line in log if line != late[0]]), "two are too few to tell"
    assert not fires("freshness", [*log, *(line for line in log * 30 if line not in late)]), "three of a hundred"
    assert not fires("freshness", log, age=3600), "it is over"


async def test_missed_referrals_and_a_registration_elsewhere_fire(start_app: StartApp, stack: Stack) -> None:
    registration = {"WebhookUrl": "https://example.com/hook", "WebhookEvents": [*REFERRAL_EVENTS]}
    stack.webhooks.registration = registration | {"SignatureTokenToMsSignatureHeader": True}
    settings = {"WEBHOOK_API": stack.partner_center_url, "WEBHOOK_URL": "https://app.example.com/hook"}
    async with start_app(STATE_URL=await stack.fresh_table(), **settings) as app:
        await reconciled(app)  # the first run reports nothing as missed
        updated_at = utc(datetime.now(UTC) - timedelta(minutes=20))
        referral_id = str(uuid.uuid4())
        stack.partner_center.referrals[referral_id] = seed(id=referral_id, updatedDateTime=updated_at)
        await reconciled(app)
        await app.host.says('"event":"webhook.drifted"')
        log = traces(app.host.log)
    stack.webhooks.registration = None
    assert fires("missed", log) and fires("drifted", log)
    others = [line for line in log if json.loads(line[0])["event"] not in {"referral.missed", "webhook.drifted"}]
    assert others and not fires("missed", others) and not fires("drifted", others)


async def test_reconciliation_that_fails_three_times_in_a_row_and_a_stopped_backfill_fire(
    start_app: StartApp, stack: Stack
) -> None:
    stack.partner_center.faults[LIST] = Fault("status", status=404)
    async with start_app(STATE_URL=await stack.fresh_table()) as app:
        assert [fires("reconcile", await reconciled(app)) for _ in range(3)] == [False, False, True]
        assert not fires("backfill", traces(app.host.log))
        await app.post("backfills", {})
        await app.host.says('"event":"backfill.failed"')
        assert fires("backfill", traces(app.host.log))
        stack.partner_center.faults.clear()
        log = await reconciled(app)
    assert not fires("reconcile", log), "it is complete again"
    assert fires("reconcile", [(line.replace('"isComplete":true', '"isComplete":false'),) for (line,) in log])


@pytest.mark.e2e
def test_a_message_on_the_poison_queue_fires() -> None:
    sent = ("PutMessage", f"{QUEUE}-poison/messages", "201")
    assert rows("poison", StorageQueueLogs=[sent])
    assert not rows(
        "poison", StorageQueueLogs=[("PutMessage", f"{QUEUE}/messages", "201"), ("GetMessages", sent[1], "200")]
    )


@pytest.mark.e2e
def test_a_standstill_fires_while_nothing_is_removed() -> None:
    sent = ("PutMessage", f"{QUEUE}/messages", "201")
    removed = ("DeleteMessage", f"{QUEUE}/messages/1?popreceipt=x", "204")
    assert rows("standstill", age=4000, StorageQueueLogs=[sent])
    assert not rows("standstill", age=3000, StorageQueueLogs=[sent])
    assert not rows("standstill", age=4000, StorageQueueLogs=[sent, removed])
    assert not rows("standstill", age=4000, StorageQueueLogs=[("PutMessage", f"{QUEUE}-poison/messages", "201")])


@pytest.mark.e2e
def test_the_daily_limit_of_the_log_fires() -> None:
    reached = ("Ingestion", "OverQuota: the data collection stopped due to the daily limit")
    assert rows("log-limit", _LogOperation=[reached])
    assert not rows("log-limit", _LogOperation=[("Ingestion", "Data collection started")])
