"""A handful of outcomes from end to end: what the caller gets, and the messages on each queue.

The whole table, row by row, is tests/test_forwarder.py; what the queue worker does with each outcome is
tests/test_queue_worker.py.
"""

import uuid
from typing import Any

import pytest

from local_stack.stand_ins.partner_center import Fault
from tests.conftest import App, StartApp, eventually_empty, eventually_holds, until
from tests.documents import seed

BOTH_KINDS = True


@pytest.fixture
async def referral_id(app: App) -> str:
    """A referral for one test."""
    referral_id = str(uuid.uuid4())
    app.stack.partner_center.referrals[referral_id] = seed(id=referral_id)
    return referral_id


async def test_a_referral_is_forwarded_both_ways_with_the_same_id(app: App, referral_id: str) -> None:
    answer, event = await app.forward(referral_id.upper())
    assert (answer.status, answer.content_type) == (200, "application/cloudevents+json")
    await app.queues.requests.send(referral_id)
    events = await eventually_holds(app.queues.events, 2)
    assert events == [event, event]
    await eventually_empty(app.queues.requests)
    assert await app.lies_on() == {"events": events, "rejects": [], "requests": [], "poison": []}


async def test_what_will_not_work_is_rejected(app: App, referral_id: str) -> None:
    app.stack.partner_center.faults[referral_id] = Fault("status", status=404)
    response, problem = await app.forward(referral_id)
    assert (response.status, response.content_type) == (404, "application/problem+json")
    assert (problem["type"], problem["status"]) == ("urn:referral-fn:problem:referral-not-found", 404)
    assert await app.lies_on() == {"events": [], "rejects": [], "requests": [], "poison": []}

    await app.queues.requests.send(referral_id)
    (reject,) = await eventually_holds(app.queues.rejects)
    assert (reject["type"], reject["subject"]) == ("partnercenter.referral.rejected.v1", referral_id)
    assert (reject["data"]["reason"], reject["data"]["referralId"]) == ("referral-not-found", referral_id)
    await eventually_empty(app.queues.requests)
    assert await app.lies_on() == {"events": [], "rejects": [reject], "requests": [], "poison": []}


@pytest.mark.parametrize(
    ("fault", "status", "reason"),
    [
        pytest.param(Fault("status", status=500), 503, "upstream-unavailable", id="500"),
        pytest.param(Fault("stall"), 504, "upstream-timeout", id="stall"),
        pytest.param(Fault("status", status=403), 502, "upstream-denied", id="403"),
    ],
)
async def test_what_may_work_later_is_deferred(
    app: App, referral_id: str, fault: Fault, status: int, reason: str
) -> None:
    app.stack.partner_center.faults[referral_id] = fault
    response, problem = await app.forward(referral_id)
    assert (response.status, problem["type"]) == (status, f"urn:referral-fn:problem:{reason}")
    assert ("Retry-After" in response.headers) is (status != 502)
    assert await app.lies_on() == {"events": [], "rejects": [], "requests": [], "poison": []}

    await app.queues.requests.send(referral_id)
    await app.host.says('"event":"referral.deferred"')
    await until(app.queues.requests.count, 1)  # the message that was sent is gone; the deferred one is hidden
    assert await app.lies_on() == {"events": [], "rejects": [], "requests": [None], "poison": []}
    assert f'"reason":"{reason}"' in app.host.log
    assert ("ERROR Function.forward_queued_referral.User" in app.host.log) is (reason == "upstream-denied")


@pytest.mark.parametrize("text", ["hello", "{}", '{"referralId": "42"}', "\u00fcber" * 4_000, '"' * 45_000, "\x7f" * 9])
async def test_a_message_that_names_no_referral_is_rejected_completely(app: App, text: str) -> None:
    await app.queues.requests.send(text)
    rejects = await eventually_holds(app.queues.rejects)
    rejects = await eventually_holds(app.queues.rejects, rejects[0]["data"]["message"].get("parts", 1))
    messages = sorted((reject["data"]["message"] for reject in rejects), key=lambda message: message.get("part", 1))
    assert "".join(message["text"] for message in messages) == text
    assert {reject["data"]["reason"] for reject in rejects} == {"invalid-request"}
    assert len({reject["id"] for reject in rejects}) == len(rejects)
    await eventually_empty(app.queues.requests)
    assert (await app.queues.events.count(), await app.queues.poison.count()) == (0, 0)


@pytest.mark.parametrize(
    ("path", "body", "status", "reason"),
    [
        ("referrals/42", None, 400, "invalid-request"),
        ("referrals", {"referralId": "42"}, 400, "invalid-request"),
        ("referrals", {"referralIds": []}, 400, "invalid-request"),
        ("referrals", {"referralIds": ["42", None]}, 400, "invalid-request"),
        ("referrals", b"\xff", 400, "invalid-request"),
        ("referrals", b"[" * 10_000, 400, "invalid-request"),
        ("referrals", b" " * 300_000, 413, "request-too-large"),
    ],
)
async def test_a_call_that_names_no_referral_gets_the_reason(
    app: App, path: str, body: Any, status: int, reason: str
) -> None:
    answer, problem = await app.post(path, body)
    assert (answer.status, problem["type"]) == (status, f"urn:referral-fn:problem:{reason}")
    assert problem["detail"]
    assert await app.lies_on() == {"events": [], "rejects": [], "requests": [], "poison": []}


async def test_a_deferred_referral_arrives_once_the_fault_is_over(start_app: StartApp) -> None:
    async with start_app(REFERRALS_DEFERRAL_SCHEDULE="1,1,1") as app:
        referral_id = str(uuid.uuid4())
        app.stack.partner_center.referrals[referral_id] = seed(id=referral_id)
        app.stack.partner_center.faults[referral_id] = Fault("status", status=500, times=4)
        traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        await app.forward(referral_id, Prefer="respond-async", traceparent=traceparent)
        (event,) = await eventually_holds(app.queues.events)
        assert (event["subject"], event["traceparent"]) == (referral_id, traceparent)
        assert '"attempt":1' in app.host.log
        await eventually_empty(app.queues.requests)
        assert {call.traceparent for call in app.stack.partner_center.calls if call.referral_id == referral_id} == {
            traceparent
        }


async def test_a_request_whose_schedule_is_used_up_is_rejected_with_its_last_error(start_app: StartApp) -> None:
    async with start_app(REFERRALS_DEFERRAL_SCHEDULE="1,1") as app:
        referral_id = str(uuid.uuid4())
        app.stack.partner_center.faults[referral_id] = Fault("status", status=500)
        await app.queues.requests.send(referral_id)
        (reject,) = await eventually_holds(app.queues.rejects)
        await eventually_empty(app.queues.requests)
        assert await app.lies_on() == {"events": [], "rejects": [reject], "requests": [], "poison": []}
        assert (reject["data"]["reason"], reject["data"]["attempts"]) == ("retries-exhausted", 2)
        assert reject["data"]["detail"].startswith("upstream-unavailable: Partner Center answered 500")
        assert reject["data"]["upstream"]["code"] == "generalException"
        calls = [call for call in app.stack.partner_center.calls if call.referral_id == referral_id]
        assert len(calls) == len({call.client_request_id for call in calls}) == 9


async def test_a_message_whose_outcome_cannot_be_queued_is_delivered_again(start_app: StartApp) -> None:
    async with start_app(REJECTS_URL="https://127.0.0.1:9/nobody/listens") as app:
        await app.queues.requests.send("hello")
        await app.host.says("Executed 'Functions.forward_queued_referral' (Failed")
        await app.host.says('"event":"handover.failed"')
        assert await app.queues.requests.count() == 1
        assert await app.queues.events.count() == 0


async def test_a_missing_events_queue_is_named_and_the_referral_deferred(start_app: StartApp, stack: Any) -> None:
    nowhere = f"{stack.azurite.account_url}/not-there"
    async with start_app(EVENTS_URL=nowhere) as app:
        referral_id = str(uuid.uuid4())
        app.stack.partner_center.referrals[referral_id] = seed(id=referral_id)
        answer, problem = await app.forward(referral_id)
        assert (answer.status, problem["type"]) == (503, "urn:referral-fn:problem:queue-unavailable")
        assert problem["detail"] == "queue not-there does not exist (404 QueueNotFound)"
        await app.queues.requests.send(referral_id)
        await app.host.says('"event":"referral.deferred"')
        assert await app.queues.rejects.count() == 0


async def test_retry_after_postpones_every_other_request(start_app: StartApp) -> None:
    async with start_app() as app:
        throttled, bystander = str(uuid.uuid4()), str(uuid.uuid4())
        app.stack.partner_center.faults[throttled] = Fault("status", status=429, retry_after="120")
        answer, _ = await app.forward(throttled)
        assert answer.status == 503
        assert 120 <= int(answer.headers["Retry-After"]) <= 288  # spread over as long again, and a fifth of jitter
        answer, problem = await app.forward(bystander)
        assert (answer.status, problem["type"]) == (503, "urn:referral-fn:problem:upstream-throttled")
        assert 100 < int(answer.headers["Retry-After"]) <= 288
        assert [call.referral_id for call in app.stack.partner_center.calls].count(throttled) == 1
        assert bystander not in [call.referral_id for call in app.stack.partner_center.calls]


async def test_invalid_referrals_are_reported_by_path_and_rule_without_values(app: App, referral_id: str) -> None:
    document = seed(id=referral_id, team="Sue Smith", createdDateTime="Sue Smith")
    app.stack.partner_center.faults[referral_id] = Fault("replace", document=document)
    _, problem = await app.forward(referral_id)
    assert problem["errors"] == [
        {"path": "/createdDateTime", "rule": "must be an ISO 8601 timestamp"},
        {"path": "/team", "rule": "must be a list"},
    ]
    assert problem["upstream"]["status"] == 200
    await app.queues.requests.send(referral_id)
    (reject,) = await eventually_holds(app.queues.rejects)
    assert reject["data"]["errors"] == problem["errors"]
    assert "Sue" not in f"{problem} {reject} {app.host.log}"
