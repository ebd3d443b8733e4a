"""What an operator sees: log events with their fields, durations by stage, spans in one trace."""

import dataclasses
import json
import logging
import re
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from local_stack.stack import Queues, Stack
from local_stack.stand_ins.partner_center import Fault
from referral_fn import log, telemetry
from referral_fn.forwarder import Forwarder
from referral_fn.referrals.outcome import Forwarded
from referral_fn.referrals.request import ReferralRequest, Trace
from tests.conftest import OpenWorker
from tests.documents import seed

pytestmark = pytest.mark.usefixtures("short_pauses")

ROOT = Path(__file__).parent.parent
CALLER = Trace("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "a=1")


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "get_tracer", provider.get_tracer)
    yield exporter
    provider.shutdown()


@pytest.fixture
async def forwarder(open_worker: OpenWorker) -> Forwarder:
    return open_worker(REFERRALS_RETRY_BUDGET="3").forwarder


@pytest.fixture
def request_(stand_ins: Stack) -> ReferralRequest:
    referral_id = str(uuid.uuid4())
    stand_ins.partner_center.referrals[referral_id] = seed(id=referral_id)
    return ReferralRequest(referral_id, attempt=2, trace=CALLER, cause="referral-updated")


def logged(caplog: pytest.LogCaptureFixture, event: str) -> Any:
    """The one log record of that name, as attributes, which must be what its message says."""
    (record,) = (record for record in caplog.records if getattr(record, "event", None) == event)
    document = json.loads(record.getMessage())
    assert {name: getattr(record, name) for name in document} == document
    return record


def by_name(exporter: InMemorySpanExporter) -> dict[str, ReadableSpan]:
    return {span.name: span for span in exporter.get_finished_spans()}


async def test_a_forwarded_referral_is_logged_with_its_ids_and_stages(
    forwarder: Forwarder, request_: ReferralRequest, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    outcome = await forwarder.forward(request_)
    assert isinstance(outcome, Forwarded)
    record = logged(caplog, "referral.forwarded")
    assert (record.referralId, record.attempt, record.cause) == (request_.referral_id, 2, "referral-updated")
    assert record.eventId == outcome.event.id
    assert uuid.UUID(record.requestId)
    assert uuid.UUID(record.clientRequestId)
    assert (record.status, record.seconds > 0) == (200, True)
    assert min(record.fetchMs, record.normalizeMs, record.publishMs) > 0


async def test_an_answer_is_logged_apart_only_if_it_is_a_failure(
    forwarder: Forwarder, stand_ins: Stack, request_: ReferralRequest, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    await forwarder.forward(request_)
    assert "upstream.answered" not in caplog.text
    stand_ins.partner_center.faults[request_.referral_id] = Fault("status", status=404)
    await forwarder.forward(request_)
    record = logged(caplog, "upstream.answered")
    assert (record.levelno, record.status) == (logging.INFO, 404)


async def test_a_failure_to_publish_is_logged_with_the_answer_that_was_fetched(
    forwarder: Forwarder, stand_ins: Stack, request_: ReferralRequest, caplog: pytest.LogCaptureFixture
) -> None:
    document = seed(id=request_.referral_id, details={"notes": "n" * 300_000})
    stand_ins.partner_center.referrals[request_.referral_id] = document
    await forwarder.forward(request_)
    record = logged(caplog, "attempt.failed")
    assert (record.reason, record.status) == ("event-too-large", 200)


async def test_a_failed_attempt_is_logged_with_the_ids_that_support_needs(
    forwarder: Forwarder, stand_ins: Stack, request_: ReferralRequest, caplog: pytest.LogCaptureFixture
) -> None:
    stand_ins.partner_center.faults[request_.referral_id] = Fault("status", status=500)
    await forwarder.forward(request_)
    record = logged(caplog, "attempt.failed")
    assert (record.reason, record.status, record.code) == ("upstream-unavailable", 500, "generalException")
    assert uuid.UUID(record.requestId)
    assert uuid.UUID(record.clientRequestId)
    assert record.fetchMs > 0
    assert not hasattr(record, "publishMs")


async def test_fetch_and_publish_are_spans_of_the_callers_trace(
    forwarder: Forwarder, stand_ins: Stack, bus_queues: Queues, request_: ReferralRequest, spans: InMemorySpanExporter
) -> None:
    outcome = await forwarder.forward(request_)
    assert isinstance(outcome, Forwarded)
    named = by_name(spans)
    assert set(named) == {"fetch", "publish"}
    for span in named.values():
        assert CALLER.traceparent
        assert span.context and f"{span.context.trace_id:032x}" == CALLER.traceparent.split("-")[1]
        assert span.parent and f"{span.parent.span_id:016x}" == CALLER.traceparent.split("-")[2]
        assert span.attributes and span.attributes["referral.id"] == request_.referral_id
    fetch, publish = named["fetch"], named["publish"]
    assert (fetch.kind, publish.kind) == (trace.SpanKind.CLIENT, trace.SpanKind.PRODUCER)
    assert publish.attributes and publish.attributes["messaging.destination.name"] == bus_queues.events.name
    assert publish.attributes["messaging.message.id"] == outcome.event.id
    (call,) = stand_ins.partner_center.calls
    assert fetch.context and call.traceparent == f"00-{fetch.context.trace_id:032x}-{fetch.context.span_id:016x}-01"
    assert outcome.event.extensions["traceparent"] == CALLER.traceparent


async def test_a_failed_span_has_the_error(
    forwarder: Forwarder, stand_ins: Stack, request_: ReferralRequest, spans: InMemorySpanExporter
) -> None:
    stand_ins.partner_center.faults[request_.referral_id] = Fault("status", status=503)
    await forwarder.forward(request_)
    (span,) = spans.get_finished_spans()
    assert span.attributes and span.attributes["error.type"] == "upstream-unavailable"
    assert span.status.status_code is trace.StatusCode.ERROR
    assert not span.events


async def test_the_invocations_own_trace_is_linked_or_else_continued(
    forwarder: Forwarder, request_: ReferralRequest, spans: InMemorySpanExporter
) -> None:
    tracer = trace.get_tracer("host")
    with tracer.start_as_current_span("invocation") as invocation:
        await forwarder.forward(request_)
    own = invocation.get_span_context()
    assert [link.context.span_id for link in by_name(spans)["fetch"].links] == [own.span_id]
    spans.clear()
    with tracer.start_as_current_span("invocation") as invocation:
        await forwarder.forward(dataclasses.replace(request_, trace=Trace()))
    fetch = by_name(spans)["fetch"]
    assert fetch.parent and fetch.parent.span_id == invocation.get_span_context().span_id
    assert not fetch.links


async def test_without_opentelemetry_the_callers_trace_is_propagated(
    forwarder: Forwarder, stand_ins: Stack, request_: ReferralRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(telemetry, "opentelemetry", None)
    assert isinstance(await forwarder.forward(request_), Forwarded)
    assert [call.traceparent for call in stand_ins.partner_center.calls] == [CALLER.traceparent]


def test_outside_a_host_an_event_is_a_line_of_json(capsys: pytest.CaptureFixture[str]) -> None:
    logger = logging.getLogger("referral_fn")
    before = logger.handlers[:], logger.level, logger.propagate
    try:
        log.to_stderr(logging.INFO)
        log.info("referral.forwarded", referralId="1", cause=None)
        log.warning("referral.deferred", seconds=10)
    finally:
        logger.handlers[:], logger.level, logger.propagate = before
    first, second = (json.loads(line) for line in capsys.readouterr().err.splitlines())
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", first.pop("time"))
    assert first == {"level": "INFO", "event": "referral.forwarded", "referralId": "1"}
    assert (second["level"], second["seconds"]) == ("WARNING", 10)


def test_logged_events_and_documented_events_are_the_same() -> None:
    written = re.compile(r'log\.(?:info|warning|error|at_startup)\(\s*"([a-z.-]+)"')
    code = [ROOT / "function_app.py", *(ROOT / "referral_fn").rglob("*.py")]
    logged = {name for path in code for name in written.findall(path.read_text(encoding="utf-8"))}
    documented = re.findall(
        r"^\| `([a-z]+\.[a-z-]+)` \|", (ROOT / "docs" / "operations.md").read_text("utf-8"), re.MULTILINE
    )
    assert sorted(logged) == sorted(documented)
