"""`replay` and the app: what the app rejects is put back, and the app forwards it."""

import json
import uuid

import pytest

from local_stack.stand_ins.partner_center import Fault
from tests.cli.conftest import Cli
from tests.conftest import App, eventually_empty, eventually_holds, until
from tests.documents import seed

BOTH_KINDS = True
REFUSED = Fault("status", status=400)


@pytest.fixture
def app_cli(
    app: App, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], logging_restored: None
) -> Cli:
    return Cli(app.stack, app.queues, monkeypatch, capsys)


async def reject(app: App, fault: Fault | None) -> str:
    """Have the app reject a referral: for the fault, or because it does not exist. Returns its ID."""
    referral_id = str(uuid.uuid4())
    if fault:
        app.stack.partner_center.referrals[referral_id] = seed(id=referral_id)
        app.stack.partner_center.faults[referral_id] = fault
    before = await app.queues.rejects.count()
    await app.queues.requests.send(json.dumps({"referralId": referral_id, "firstSeen": "2026-01-02T03:04:05Z"}))
    await until(app.queues.rejects.count, before + 1)
    return referral_id


async def test_a_referral_is_forwarded_once_its_reject_was_put_back(app: App, app_cli: Cli) -> None:
    refused, missing = await reject(app, REFUSED), await reject(app, None)
    app.stack.partner_center.faults.clear()
    result = await app_cli("replay", "--reason", "upstream-refused", "--requeue", "--yes")
    assert (result.status, result.out.splitlines()[-1]) == (0, "1 put back.")
    (event,) = await eventually_holds(app.queues.events)
    assert event["subject"] == refused
    (left,) = await app.queues.rejects.documents()
    assert left["subject"] == missing


async def test_requests_that_are_rejected_again_are_put_back_once(app: App, app_cli: Cli) -> None:
    missing = {await reject(app, None) for _ in range(3)}
    result = await app_cli("replay", "--requeue", "--yes")
    assert (result.status, result.out.splitlines()[-1]) == (0, "3 put back.")
    again = await eventually_holds(app.queues.rejects, 3)
    assert {document["subject"] for document in again} == missing


async def test_a_long_message_that_cannot_be_read_is_put_back_as_it_was(app: App, app_cli: Cli) -> None:
    text = '"' * 45_000
    await app.queues.requests.send(text)
    (first, *_) = await eventually_holds(app.queues.rejects)
    parts = first["data"]["message"]["parts"]
    await until(app.queues.rejects.count, parts)
    await eventually_empty(app.queues.requests)
    result = await app_cli("replay", "--requeue", "--yes")
    assert (result.status, result.out.splitlines()[-1], parts > 1) == (0, "1 put back.", True)
    again = [document["data"]["message"]["text"] for document in await eventually_holds(app.queues.rejects, parts)]
    assert "".join(again) == text
