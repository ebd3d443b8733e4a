"""One queue message to its outcome, on queues in memory."""

import base64
import io
import json
import logging
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from referral_fn import log, queue_worker
from referral_fn.errors import Finding, RetryableError, Upstream
from referral_fn.queue_worker import Delivery, QueueWorker
from referral_fn.queues.base import Message
from referral_fn.queues.storage import MAX_MESSAGE
from referral_fn.referrals.messages import MAX_KEPT
from referral_fn.referrals.outcome import REJECT_REASONS, Deferred, Outcome, Rejected
from referral_fn.referrals.request import MAX_BODY, ReferralRequest
from referral_fn.settings import read_settings
from tests.environment import ENVIRONMENT

ID = "8b9dbf1c-1c5c-4b1a-9e37-3a6f7c2f2a11"
SETTINGS = read_settings(ENVIRONMENT)
REFUSED = Rejected("referral-not-found", "Partner Center answered 404", upstream=Upstream(status=404))


@dataclass
class FakeQueue:
    """A queue in memory. It accepts what a Storage queue accepts."""

    messages: list[Message] = field(default_factory=list)
    delays: list[float] = field(default_factory=list)
    is_down: bool = False

    async def put(self, message: Message, *, delay: float = 0) -> None:
        if self.is_down:
            raise RetryableError("queue-unavailable", "queue is down")
        assert len(message.body) <= (64 * 1024 if message.verbatim else MAX_MESSAGE)
        self.messages.append(message)
        self.delays.append(delay)

    def documents(self) -> list[Any]:
        return [json.loads(message.body) for message in self.messages]


@dataclass
class FakeForwarder:
    outcome: Outcome = REFUSED
    requests: list[ReferralRequest] = field(default_factory=list)

    async def forward(self, request: ReferralRequest) -> Outcome:
        self.requests.append(request)
        return self.outcome


@dataclass
class Bench:
    forwarder: FakeForwarder = field(default_factory=FakeForwarder)
    requests: FakeQueue = field(default_factory=FakeQueue)
    rejects: FakeQueue = field(default_factory=FakeQueue)

    async def process(self, body: bytes, **delivery: Any) -> None:
        worker: Any = QueueWorker
        await worker(SETTINGS, self.forwarder, self.requests, self.rejects).process(
            Delivery(body, "message-1", **delivery)
        )

    def rejected(self) -> bytes:
        """The message that the rejects keep, put together again."""
        parts = [document["data"]["message"] for document in self.rejects.documents()]
        if "text" in parts[0]:
            return "".join(part["text"] for part in parts).encode()
        return b"".join(base64.b64decode(part["base64"]) for part in parts)


@pytest.fixture
def bench() -> Bench:
    return Bench()


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue_worker, "MAX_REDELIVERY_PAUSE", 0)


async def test_a_deferred_request_is_queued_again_with_its_delay(bench: Bench) -> None:
    bench.forwarder.outcome = Deferred(12.5, "upstream-timeout")
    await bench.process(json.dumps({"referralId": ID, "attempt": 2}).encode())
    assert [(document["referralId"], document["attempt"]) for document in bench.requests.documents()] == [(ID, 3)]
    assert bench.requests.delays == [12.5]


async def test_a_request_held_back_by_the_gate_keeps_its_place_in_the_schedule(bench: Bench) -> None:
    bench.forwarder.outcome = Deferred(12.5, "upstream-throttled", attempt_consumed=False)
    await bench.process(json.dumps({"referralId": ID, "attempt": 2}).encode())
    assert bench.requests.documents()[0]["attempt"] == 2


async def test_after_the_last_deferral_the_request_is_rejected(bench: Bench) -> None:
    bench.forwarder.outcome = Deferred(1, "upstream-timeout", "no answer")
    await bench.process(json.dumps({"referralId": ID, "attempt": 8}).encode())
    (reject,) = bench.rejects.documents()
    assert (reject["data"]["reason"], reject["data"]["detail"]) == ("retries-exhausted", "upstream-timeout: no answer")
    assert bench.requests.messages == []


async def test_the_last_delivery_is_rejected_without_an_attempt(bench: Bench) -> None:
    await bench.process(ID.encode(), count=10, max_count=10)
    assert bench.forwarder.requests == []
    assert bench.rejects.documents()[0]["data"]["reason"] == "retries-exhausted"


@pytest.mark.parametrize("count", [1, 2, 8])
async def test_a_failed_handover_before_the_last_two_deliveries_is_left_to_the_host(bench: Bench, count: int) -> None:
    bench.rejects.is_down = True
    with pytest.raises(RetryableError):
        await bench.process(ID.encode(), count=count, max_count=10)
    assert bench.requests.messages == []


@pytest.mark.parametrize(
    "body",
    [
        ID.encode(),
        b"x" * 60 * 1024,
        "\u20ac".encode() * 20_000,
        b"\xff\xfe" * 6_500,
        base64.b64encode(b"\xff\xfe" * 20_000),
        b'{"a": "<&>\r\n"}',
    ],
    ids=["an ID", "60 KiB", "60 kB beyond ASCII", "13 kB, not UTF-8", "not UTF-8, in base64", "XML and line ends"],
)
async def test_on_the_last_delivery_with_the_rejects_queue_down_the_message_goes_back_as_it_came(
    bench: Bench, body: bytes
) -> None:
    bench.rejects.is_down = True
    await bench.process(body, count=10, max_count=10)
    (message,) = bench.requests.messages
    assert message.verbatim
    assert message.body == body
    assert bench.requests.delays == [queue_worker.REQUEUE_DELAY]


@given(st.binary(max_size=3000).map(lambda piece: piece * 30) | st.text(max_size=9000).map(str.encode))
@settings(max_examples=50)
async def test_a_message_that_is_no_request_is_kept_whole_in_rejects_that_fit(body: bytes) -> None:
    bench = Bench()
    await bench.process(b"{" + body)
    assert bench.rejected() == b"{" + body
    numbers = [document["data"]["message"].get("part", 1) for document in bench.rejects.documents()]
    assert numbers == list(range(1, len(numbers) + 1))


async def test_the_parts_of_a_reject_have_ids_of_their_own(bench: Bench) -> None:
    await bench.process(b"\x00" * 30_000)
    ids = [document["id"] for document in bench.rejects.documents()]
    assert ids[0] == "message-1"
    assert ids[1:] == [f"message-1/{number}" for number in range(2, len(ids) + 1)]


async def test_of_a_message_over_1_mib_the_first_mib_is_kept_and_the_rest_counted(bench: Bench) -> None:
    await bench.process(b"y" * (MAX_KEPT + 5))
    assert bench.rejected() == b"y" * MAX_KEPT
    assert bench.rejects.documents()[0]["data"]["message"]["omittedBytes"] == 5


@pytest.mark.parametrize("field", ["cause", "tracestate", "attempt", "firstSeen"])
async def test_no_field_that_a_message_carries_makes_its_reject_too_large(bench: Bench, field: str) -> None:
    message = {"referralId": ID, "traceparent": f"00-{'1' * 32}-{'2' * 16}-01", field: "a" * 49_000}
    await bench.process(json.dumps(message).encode())
    assert bench.rejects.messages


async def test_findings_are_cut_until_the_reject_fits(bench: Bench) -> None:
    finding = Finding(path="/" + "\x01" * 5_000, rule="must be a string")
    bench.forwarder.outcome = Rejected("invalid-referral", "d" * 99_000, errors=(finding,) * 50)
    await bench.process(ID.encode())
    (reject,) = bench.rejects.documents()
    assert 0 < len(reject["data"]["errors"]) < 50


@pytest.mark.parametrize("reason", REJECT_REASONS)
async def test_every_reject_reason_reaches_the_rejects_queue(bench: Bench, reason: str) -> None:
    bench.forwarder.outcome = Rejected(reason, "a sentence")
    await bench.process(ID.encode())
    assert bench.rejects.documents()[0]["data"]["reason"] == reason


async def test_a_body_as_large_as_a_batch_is_rejected_in_parts(bench: Bench) -> None:
    await bench.process(b'"' + b"z" * MAX_BODY)
    assert len(bench.rejected()) == MAX_BODY + 1


@pytest.mark.parametrize(
    "outcome", [Deferred(1, "upstream-timeout"), REFUSED, Deferred(1, "upstream-timeout", attempt_consumed=False)]
)
async def test_handing_on_is_the_last_step_that_can_fail(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, outcome: Outcome
) -> None:
    steps: list[str] = []
    for queue in (bench.requests, bench.rejects):
        put = queue.put

        async def recorded(message: Message, *, delay: float = 0, put: Any = put) -> None:
            await put(message, delay=delay)
            steps.append("put")

        monkeypatch.setattr(queue, "put", recorded)
    monkeypatch.setattr(log, "_write", lambda *_: steps.append("log"))
    bench.forwarder.outcome = outcome
    await bench.process(ID.encode())
    assert steps == ["put", "log"]


class BrokenStream(io.StringIO):
    """A stream that can be written to no more."""

    def write(self, _: str) -> int:
        raise OSError("no space left on device")


@pytest.mark.parametrize("outcome", [Deferred(1, "upstream-timeout"), REFUSED])
async def test_a_log_that_fails_after_the_outcome_was_handed_on_does_not_fail_the_message(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, outcome: Outcome
) -> None:
    monkeypatch.setattr(logging, "raiseExceptions", False)  # else handlers print what failed
    handler = logging.StreamHandler(BrokenStream())
    logging.getLogger("referral_fn").addHandler(handler)
    try:
        bench.forwarder.outcome = outcome
        await bench.process(ID.encode())
    finally:
        logging.getLogger("referral_fn").removeHandler(handler)
    assert len(bench.requests.messages) + len(bench.rejects.messages) == 1
