"""The table of outcomes: what follows from each answer of Partner Center, for a message and for an HTTP caller."""

import dataclasses
import json
import re
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from local_stack.stack import Queues, Stack
from local_stack.stand_ins.partner_center import Fault
from referral_fn import retry
from referral_fn.api import problems
from referral_fn.forwarder import Forwarder
from referral_fn.referrals.outcome import DEFER_REASONS, REJECT_REASONS, Deferred, Forwarded, Outcome, Rejected
from referral_fn.referrals.request import ReferralRequest
from referral_fn.timestamps import utc
from tests.conftest import OpenWorker
from tests.documents import seed

TABLE = Path(__file__).parent.parent / "docs" / "outcomes.md"
EVENT = "\N{EN DASH}"
"""In place of a reason: there is none."""

OTHER_STATUS = "any other status"


@pytest.fixture
async def forwarder(open_worker: OpenWorker, monkeypatch: pytest.MonkeyPatch) -> Forwarder:
    """A forwarder without quick attempts, which tests/test_retry.py is about."""
    monkeypatch.setattr(retry, "ATTEMPTS", 1)
    return open_worker().forwarder


@pytest.fixture
def request_(stand_ins: Stack) -> ReferralRequest:
    referral_id = str(uuid.uuid4())
    stand_ins.partner_center.referrals[referral_id] = seed(id=referral_id)
    return ReferralRequest(referral_id)


def documented() -> dict[str, tuple[str, str, str]]:
    """The rows of the table by their reason: what happened, on the queue, over HTTP."""
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in TABLE.read_text(encoding="utf-8").splitlines()
        if line.startswith("| ")
    ]
    return {reason.strip("`"): (cause, queue, http) for cause, reason, queue, http in rows[1:]}


def documented_reason(status: int) -> str:
    """The reason that the table gives for a status of Partner Center's answer."""
    reasons = [reason for reason, (cause, _, _) in documented().items() if re.search(rf"\b{status}\b", cause)]
    (reason,) = reasons or [reason for reason, (cause, _, _) in documented().items() if OTHER_STATUS in cause]
    return reason


def reason_of(outcome: Outcome) -> str:
    assert isinstance(outcome, Rejected | Deferred)
    assert isinstance(outcome, Rejected) is (outcome.reason in REJECT_REASONS)
    return outcome.reason


async def test_a_referral_is_forwarded(forwarder: Forwarder, bus_queues: Queues, request_: ReferralRequest) -> None:
    outcome = await forwarder.forward(request_)
    assert isinstance(outcome, Forwarded)
    assert await bus_queues.events.documents() == [json.loads(outcome.encoded)]


@pytest.mark.parametrize(
    ("cause", "republish", "delay"),
    [
        pytest.param("referral-updated", False, 420, id="announced"),
        pytest.param("reconcile", False, 420, id="detected"),
        pytest.param("backfill", False, None, id="backfill"),
        pytest.param("referral-updated", True, None, id="replayed"),
        pytest.param(None, False, None, id="asked for"),
    ],
)
async def test_the_delay_of_an_event_is_logged_if_a_change_led_to_it(
    forwarder: Forwarder,
    stand_ins: Stack,
    request_: ReferralRequest,
    caplog: pytest.LogCaptureFixture,
    cause: str | None,
    republish: bool,
    delay: int | None,
) -> None:
    caplog.set_level("INFO", "referral_fn")
    changed_at = datetime.now(UTC) - timedelta(minutes=7)
    stand_ins.partner_center.referrals[request_.referral_id]["updatedDateTime"] = utc(changed_at)
    await forwarder.forward(dataclasses.replace(request_, cause=cause, changed_at=changed_at, republish=republish))
    (logged,) = [json.loads(one.message) for one in caplog.records if "referral.forwarded" in one.message]
    assert logged.get("delay") == (delay and pytest.approx(delay, abs=10))


async def test_every_status_has_the_documented_outcome(
    forwarder: Forwarder, stand_ins: Stack, request_: ReferralRequest
) -> None:
    for status in range(300, 600):
        stand_ins.partner_center.faults[request_.referral_id] = Fault("status", status=status)
        assert reason_of(await forwarder.forward(request_)) == documented_reason(status), status


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (Fault("replace", document=[]), "invalid-referral"),
        (Fault("replace", document={"id": str(uuid.UUID(int=1))}), "invalid-referral"),
        (Fault("oversize"), "event-too-large"),
        (Fault("truncated"), "upstream-unavailable"),
        (Fault("garbage"), "upstream-unavailable"),
        (Fault("html"), "upstream-unavailable"),
        (Fault("long-html"), "upstream-unavailable"),
        (Fault("reset"), "upstream-unavailable"),
        (Fault("reset-mid-body"), "upstream-unavailable"),
        (Fault("redirect"), "upstream-unavailable"),
    ],
    ids=lambda value: value.kind if isinstance(value, Fault) else value,
)
async def test_every_defect_of_an_answer_has_its_outcome(
    forwarder: Forwarder, stand_ins: Stack, bus_queues: Queues, request_: ReferralRequest, fault: Fault, reason: str
) -> None:
    stand_ins.partner_center.faults[request_.referral_id] = fault
    assert reason_of(await forwarder.forward(request_)) == reason
    assert stand_ins.partner_center.followed == 0, "a redirect was followed"
    assert await bus_queues.events.count() == 0


async def test_an_answer_that_does_not_come_is_a_timeout(
    open_worker: OpenWorker, stand_ins: Stack, request_: ReferralRequest
) -> None:
    stand_ins.partner_center.faults[request_.referral_id] = Fault("stall")
    forwarder = open_worker(REFERRALS_RETRY_BUDGET="0.3").forwarder
    assert reason_of(await forwarder.forward(request_)) == "upstream-timeout"


async def test_an_event_over_the_queues_limit_is_too_large(
    forwarder: Forwarder, stand_ins: Stack, request_: ReferralRequest
) -> None:
    stand_ins.partner_center.referrals[request_.referral_id] = seed(id=request_.referral_id, name="\u00e9" * 140_000)
    assert reason_of(await forwarder.forward(request_)) == "event-too-large"


async def test_without_a_token_a_referral_is_deferred(
    open_worker: OpenWorker, stand_ins: Stack, request_: ReferralRequest
) -> None:
    scope = f"https://{uuid.uuid4()}.example"
    stand_ins.identity.failures[scope] = 400
    forwarder = open_worker(REFERRALS_SCOPE=f"{scope}/.default").forwarder
    assert reason_of(await forwarder.forward(request_)) == "token-unavailable"


async def test_without_its_events_queue_a_referral_is_deferred(
    open_worker: OpenWorker, bus_queues: Queues, request_: ReferralRequest
) -> None:
    forwarder = open_worker(EVENTS_URL=f"{bus_queues.events.url}-not-there").forwarder
    outcome = await forwarder.forward(request_)
    assert reason_of(outcome) == "queue-unavailable"


def test_the_table_has_every_reason_with_its_status() -> None:
    table = documented()
    assert set(table) == {EVENT, *REJECT_REASONS, *DEFER_REASONS}
    for reason, (_, queue, http) in table.items():
        if reason in REJECT_REASONS:
            assert queue.startswith("reject")
        elif reason in DEFER_REASONS:
            assert queue.startswith("defer")
        if reason in problems.PROBLEMS:
            assert http.startswith(str(problems.PROBLEMS[reason][0])), reason


@pytest.mark.parametrize("reason", sorted(DEFER_REASONS))
def test_a_caller_learns_when_to_try_again_unless_an_operator_must_act(reason: str) -> None:
    problem = problems.of_outcome(Deferred(delay=12.1, reason=reason))
    _, _, http = documented()[reason]
    assert problem.headers() == ({"Retry-After": "13"} if "Retry-After" in http else {})


@pytest.mark.parametrize("errors", [(), ({"path": "/team", "rule": "must be a list"},)])
def test_a_rejects_findings_reach_the_caller(errors: Any) -> None:
    problem = problems.of_outcome(Rejected("invalid-referral", "detail", errors))
    assert problem.members["errors"] == errors
