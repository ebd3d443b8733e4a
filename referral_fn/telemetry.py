"""How long each stage of a request takes, and OpenTelemetry spans of them where its API is installed."""

import contextlib
import time
from collections.abc import Iterator
from typing import Any

from referral_fn.referrals.request import ReferralRequest, Trace

try:
    from opentelemetry import trace as opentelemetry
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
except ImportError:  # then there is nobody to export to
    opentelemetry = None  # type: ignore[assignment]


class Stages:
    """The stages of one request."""

    def __init__(self, request: ReferralRequest) -> None:
        self._request = request
        self.milliseconds: dict[str, float] = {}
        """By stage: `fetchMs` and so on. A stage that failed is among them."""

    @contextlib.contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Time a stage."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.milliseconds[f"{stage}Ms"] = round((time.perf_counter() - started) * 1000, 2)

    @contextlib.contextmanager
    def traced(self, stage: str, kind: str, **attributes: Any) -> Iterator[Trace]:
        """Time a stage that leaves the process, in a span of its own.

        The span belongs to the request's trace; that of the invocation it runs in, where it is another, is linked.

        Args:
            stage: its name.
            kind: `CLIENT` or `PRODUCER`.
            attributes: by OpenTelemetry's semantic conventions, with `_` for `.`.

        Yields:
            The trace to name to the other side.
        """
        with self.timed(stage):
            if opentelemetry is None:
                yield self._request.trace
                return
            with _span(self._request, stage, kind, attributes) as trace:
                yield trace


@contextlib.contextmanager
def _span(request: ReferralRequest, stage: str, kind: str, attributes: dict[str, Any]) -> Iterator[Trace]:
    propagator = TraceContextTextMapPropagator()
    invocation = opentelemetry.get_current_span().get_span_context()
    told = request.trace.traceparent is not None
    with opentelemetry.get_tracer("referral_fn").start_as_current_span(
        stage,
        context=propagator.extract(request.trace.attributes()) if told else None,
        kind=opentelemetry.SpanKind[kind],
        links=[opentelemetry.Link(invocation)] if told and invocation.is_valid else [],
        attributes={
            "referral.id": request.referral_id,
            "referral.attempt": request.attempt,
            **{name.replace("_", "."): value for name, value in attributes.items()},
        },
        record_exception=False,  # its text is in the log, by ID; its stack trace says nothing of a queue in trouble
        set_status_on_exception=False,
    ) as span:
        headers: dict[str, str] = {}
        propagator.inject(headers)
        try:
            yield Trace.of(headers) if headers else request.trace
        except Exception as error:
            span.set_attribute("error.type", getattr(error, "reason", type(error).__name__))
            span.set_status(opentelemetry.StatusCode.ERROR)
            raise
