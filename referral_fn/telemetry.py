"""How long each stage of a request takes, and OpenTelemetry spans of the stages if its API is installed."""

import time
from contextlib import ExitStack
from types import TracebackType
from typing import Any

from referral_fn.referrals.request import ReferralRequest, Trace

try:
    from opentelemetry import trace as opentelemetry
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
except ImportError:  # then there is nothing to export to
    opentelemetry = None  # type: ignore[assignment]


class Stages:
    """The stages of one request."""

    def __init__(self, request: ReferralRequest) -> None:
        self.request = request
        self.milliseconds: dict[str, float] = {}
        """Durations by stage: `fetchMs` and so on, failed stages included."""
        self.answer: dict[str, Any] = {}
        """How Partner Center answered, as log fields; empty until it sent the referral."""

    def timed(self, stage: str) -> "Timer":
        """A context manager that times a stage."""
        return Timer(self, stage)

    def traced(self, stage: str, kind: str, attributes: dict[str, Any]) -> "Timer":
        """A context manager that times a stage that leaves the process, in a span of its own.

        The span belongs to the request's trace. If the invocation has another trace, the span links to it.

        Args:
            stage: the stage's name.
            kind: `CLIENT` or `PRODUCER`.
            attributes: by OpenTelemetry's semantic conventions.

        Returns:
            A context manager whose value is the trace context to send to the other side.
        """
        return Timer(self, stage) if opentelemetry is None else SpanTimer(self, stage, kind, attributes)


class Timer:
    """Times a stage. A class, because a generator costs more than what it measures."""

    __slots__ = ("_stage", "_stages", "_started")

    def __init__(self, stages: Stages, stage: str) -> None:
        self._stages = stages
        self._stage = stage

    def __enter__(self) -> Trace:
        self._started = time.perf_counter()
        return self._stages.request.trace

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        elapsed = time.perf_counter() - self._started
        self._stages.milliseconds[f"{self._stage}Ms"] = round(elapsed * 1000, 2)


class SpanTimer(Timer):
    """Times a stage, and puts it into an OpenTelemetry span."""

    __slots__ = ("_attributes", "_kind", "_open", "_span")

    def __init__(self, stages: Stages, stage: str, kind: str, attributes: dict[str, Any]) -> None:
        super().__init__(stages, stage)
        self._kind = kind
        self._attributes = attributes

    def __enter__(self) -> Trace:
        own = super().__enter__()
        request, propagator = self._stages.request, TraceContextTextMapPropagator()
        invocation = opentelemetry.get_current_span().get_span_context()
        has_parent = own.traceparent is not None
        self._open = ExitStack()
        self._span = self._open.enter_context(
            opentelemetry.get_tracer("referral_fn").start_as_current_span(
                self._stage,
                context=propagator.extract(own.attributes()) if has_parent else None,
                kind=opentelemetry.SpanKind[self._kind],
                links=[opentelemetry.Link(invocation)] if has_parent and invocation.is_valid else [],
                attributes={
                    "referral.id": request.referral_id,
                    "referral.attempt": request.attempt,
                    **self._attributes,
                },
                record_exception=False,  # the log has its text, by ID; its stack trace shows nothing of the other side
                set_status_on_exception=False,
            )
        )
        headers: dict[str, str] = {}
        propagator.inject(headers)
        return Trace.of(headers) if headers else own

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if isinstance(error, Exception):
            self._span.set_attribute("error.type", getattr(error, "reason", type(error).__name__))
            self._span.set_status(opentelemetry.StatusCode.ERROR)
        self._open.__exit__(kind, error, traceback)
        super().__exit__(kind, error, traceback)
