"""The pipeline: fetch, validate, normalize, publish. Every failure becomes an outcome."""

import asyncio
import random
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from referral_fn import log
from referral_fn.errors import PermanentError, RetryableError, Upstream
from referral_fn.partner_center import PartnerCenter
from referral_fn.queues.base import MessageTooLargeError, Queue
from referral_fn.referrals import messages
from referral_fn.referrals.events import Event
from referral_fn.referrals.normalization import normalize
from referral_fn.referrals.outcome import Deferred, Forwarded, Outcome, Rejected, Unchanged
from referral_fn.referrals.referral_data import ReferralData
from referral_fn.referrals.request import BACKFILL, RECONCILE, ReferralRequest
from referral_fn.retry import LONGEST_WAIT
from referral_fn.settings import Settings
from referral_fn.state.published import Published, annotated
from referral_fn.telemetry import Stages
from referral_fn.timestamps import read_utc

if TYPE_CHECKING:
    from referral_fn.state.memory import Memory

TIME_LIMIT = 35
"""Seconds for one referral: tokens, all attempts at fetching it, and publishing its event. Writing its row has another.

With the pause before a redelivered message and the time to hand its outcome on (queue_worker.py), a message stays below
half of host.json's functionTimeout. A function that runs into that time-out takes the worker down, and with it
everything else in flight.
"""

JITTER = 1.08, 1.2
"""Deferrals take this much longer than scheduled. The minimum of 8 % makes the schedule's 44.6 hours 48."""

MAX_SPREAD = 900
"""Seconds over which the requests that a pause held up come back at most."""

STALE_ATTEMPTS = 3
"""How often a request is deferred, by the schedule, because the answer is older than the list: some six minutes in all.

Otherwise it would end with the old version, and nothing asks for the listed one again. Afterwards the answer is taken
as it is, so that a list whose times differ for good holds up no event.
"""

_LIST_PRECISION = timedelta(seconds=1)
"""The list's time of a version may be later by less than this: it may have fewer digits than the referral's own."""


class Forwarder:
    """Takes a request to its outcome."""

    def __init__(
        self, settings: Settings, partner_center: PartnerCenter, events: Queue, memory: "Memory | None" = None
    ) -> None:
        self._settings = settings
        self._memory = memory
        self._partner_center = partner_center
        self._events = events
        self._server = {"server.address": urlsplit(settings.referrals_url).hostname}

    async def forward(self, request: ReferralRequest) -> Outcome:
        """Fetch the referral and put its event on the events queue, within `TIME_LIMIT` seconds.

        Returns:
            What happened. Only an event is ever put on a queue here: handing on a reject or a deferral, or reporting it
            to a waiting caller, is left to the caller.
        """
        stages = Stages(request)
        try:
            async with asyncio.timeout(TIME_LIMIT) as limit:
                outcome = await self._forward(request, stages, limit)
        except TimeoutError:
            outcome = self._deferred(request, RetryableError("upstream-timeout", f"not done within {TIME_LIMIT} s"))
        fields = {**request.log_fields(), **stages.milliseconds}
        if isinstance(outcome, Forwarded):
            delay = _seconds_since_change(request)
            log.info("referral.forwarded", **fields, eventId=outcome.event.id, delay=delay, **stages.answer)
        elif isinstance(outcome, Unchanged):
            log.info("referral.unchanged", **fields, eventId=outcome.event.id, **stages.answer)
        else:
            answer = {**log.upstream_fields(outcome.upstream), **stages.answer}
            log.warning("attempt.failed", **fields, reason=outcome.reason, detail=outcome.detail, **answer)
        return outcome

    async def _forward(self, request: ReferralRequest, stages: Stages, limit: asyncio.Timeout) -> Outcome:
        try:
            event, upstream = await self._fetch(request, stages)
            if self._is_stale(request, event):
                detail = "Partner Center's answer is older than the version that it lists"
                raise RetryableError("upstream-unavailable", detail, upstream=upstream)
            if self._memory is None:
                return Forwarded(event, await self._publish(event, stages), upstream)
            return await self._compare_and_publish(self._memory, request, event, upstream, stages, limit)
        except PermanentError as error:
            return Rejected(error.reason, str(error), error.errors, error.upstream)
        except MessageTooLargeError as error:
            return Rejected("event-too-large", str(error))
        except RetryableError as error:
            return self._deferred(request, error)

    async def _fetch(self, request: ReferralRequest, stages: Stages) -> tuple[Event[ReferralData], Upstream]:
        """Fetch the referral, and normalize it. The referral as sent is freed here, before publishing."""
        with stages.traced("fetch", "CLIENT", self._server) as trace:
            fetched = await self._partner_center.fetch(request, trace)
        stages.answer = fetched.log_fields
        with stages.timed("normalize"):
            event = normalize(
                fetched.referral,
                collection=self._settings.source,
                policy=self._settings.contacts,
                context=request.event_attributes(),
            )
        return event, fetched.upstream

    def _is_stale(self, request: ReferralRequest, event: Event[ReferralData]) -> bool:
        """Whether the list shows a later version, and it is worth waiting for.

        For what was listed only: a notification's time is not that of the referral, and reconciliation sees what was
        missed after one.
        """
        if request.cause not in {RECONCILE, BACKFILL} or request.republish or not (request.changed_at and event.time):
            return False
        if request.attempt >= min(STALE_ATTEMPTS, len(self._settings.deferral_schedule)):
            return False
        return request.changed_at - read_utc(event.time) >= _LIST_PRECISION

    async def _compare_and_publish(
        self,
        memory: "Memory",
        request: ReferralRequest,
        event: Event[ReferralData],
        upstream: Upstream,
        stages: Stages,
        limit: asyncio.Timeout,
    ) -> Outcome:
        """Publish the event with what has changed since the last one, unless it was published and nobody asked."""
        with stages.timed("recall"):
            known = await memory.recall(request.referral_id)
        if known is None:
            return Forwarded(event, await self._publish(event, stages), upstream)
        if request.is_automatic and known.has(event):
            return Unchanged(event, upstream)
        published = Published.of(event, known.published)
        try:
            compared = annotated(event, published)
            encoded = await self._publish(compared, stages)
        except MessageTooLargeError:  # an event that fits without the comparison is not rejected because of it
            published, compared = published.without_comparison(), event
            encoded = await self._publish(event, stages)
        limit.reschedule(None)  # the row has a limit of its own, and a published event must not be deferred
        with stages.timed("remember"):
            await memory.remember(request.referral_id, published, known)
        return Forwarded(compared, encoded, upstream)

    async def _publish(self, event: Event[ReferralData], stages: Stages) -> bytes:
        """Put the event on its queue. Returns its encoding."""
        encoded = event.encode()
        with stages.traced("publish", "PRODUCER", {**self._events.span_attributes, "messaging.message.id": event.id}):
            await self._events.put(messages.event_message(event, encoded))
        return encoded

    def _deferred(self, request: ReferralRequest, error: RetryableError) -> Deferred:
        return Deferred(self._delay(request, error), error.reason, str(error), error.upstream, error.attempt_consumed)

    def _delay(self, request: ReferralRequest, error: RetryableError) -> float:
        """Seconds until the next attempt: by the schedule, or longer if the other side asks for it.

        Delays are jittered to avoid a thundering herd, and never shorter than scheduled, so that the last attempt comes
        after two whole days. After a pause that Partner Center asked for, the requests it held up are spread over a
        time as long as the pause. A request that the closed gate held back keeps its place in the schedule, and waits
        longer the older it is.
        """
        schedule = self._settings.deferral_schedule
        pause = error.retry_after or 0
        spread = random.uniform(0, min(pause, MAX_SPREAD))  # noqa: S311 - not a secret
        delay = max(schedule[min(request.attempt, len(schedule) - 1)], pause + spread)
        if not error.attempt_consumed:
            age = (datetime.now(UTC) - request.first_seen).total_seconds()
            delay = max(delay, min(age / 4, schedule[-1]))
        return min(delay * random.uniform(*JITTER), LONGEST_WAIT)  # noqa: S311 - not a secret


def _seconds_since_change(request: ReferralRequest) -> float | None:
    """How long ago the referral changed, as its notification or the list says. None if no change led to the request."""
    if request.changed_at is None or not request.follows_a_change:
        return None
    return round((datetime.now(UTC) - request.changed_at).total_seconds(), 1)
