"""One message of the requests queue, from its delivery to its outcome: forwarded, deferred or rejected."""

import asyncio
import contextlib
import dataclasses
import random
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from referral_fn import log
from referral_fn.errors import PermanentError, RetryableError
from referral_fn.forwarder import TIME_LIMIT, Forwarder
from referral_fn.queues.base import Message, Queue
from referral_fn.referrals import messages
from referral_fn.referrals.backfill_page import BackfillPage
from referral_fn.referrals.outcome import REJECT_REASONS, Deferred, Outcome, Rejected
from referral_fn.referrals.request import InvalidRequestError, ReferralRequest, read_queued
from referral_fn.settings import Settings

if TYPE_CHECKING:
    from referral_fn.backfill import Backfiller

MAX_REDELIVERY_PAUSE = 5
"""Maximum random delay, in seconds, before retrying a redelivered message."""

HAND_ON_LIMIT = 12
"""Seconds to put the outcome on its queue; and, on the last delivery, again to put the message back."""

REQUEUE_DELAY = 300
"""Seconds that a message put back on its last delivery is hidden for, or the schedule's longest delay if shorter."""

LAST_DELIVERY = "this was the last delivery before the host gives up"

Request = ReferralRequest | BackfillPage


@dataclass(frozen=True, slots=True)
class Delivery:
    """One delivery of a message, as the trigger gets it."""

    body: bytes
    """The message exactly as received."""
    message_id: str | None = None
    """The queue's ID of the message, the same at every delivery. It becomes the reject's ID."""
    count: int = 1
    """How often the message has been delivered, this time included."""
    max_count: int = 10
    """After how many failed deliveries the host moves the message to its poison queue."""

    @property
    def is_redelivery(self) -> bool:
        """Whether an earlier delivery ended without an outcome."""
        return self.count > 1

    @property
    def is_last(self) -> bool:
        """Whether this is one of the last two deliveries before the host gives the message up.

        Two, because a worker may die at the very moment that it rejects a message: the other is a second chance.
        """
        return self.count >= max(1, self.max_count - 1)


class QueueWorker:
    """Takes each message of the requests queue to its outcome and hands that on."""

    def __init__(
        self,
        settings: Settings,
        forwarder: Forwarder,
        requests: Queue,
        rejects: Queue,
        backfiller: "Backfiller | None" = None,
    ) -> None:
        self._settings = settings
        self._backfiller = backfiller
        self._forwarder = forwarder
        self._requests = requests
        self._rejects = rejects

    async def process(self, delivery: Delivery) -> None:
        """Take the message to its outcome, and hand that on. When this returns, the message may be deleted.

        A redelivered message waits for a random moment first: it may have crashed the worker, and would otherwise take
        the same neighbours down each time. For the same reason the last delivery is rejected without an attempt.

        Raises:
            RetryableError: the outcome could not be handed on, so that the host must deliver the message again.
        """
        if delivery.is_redelivery and not delivery.is_last:
            await asyncio.sleep(random.uniform(0, MAX_REDELIVERY_PAUSE))  # noqa: S311 - not a secret
        try:
            message = read_queued(delivery.body)
        except InvalidRequestError as error:
            finding = messages.bounded({"path": error.path, "rule": error.rule})
            await self._end(Rejected("invalid-request", str(error), errors=(finding,)), None, delivery)
            return
        if isinstance(message, BackfillPage):
            await self._end(await self._backfill_outcome(message, delivery), message, delivery)
        else:
            await self._end(await self._outcome(message, delivery), message, delivery)

    async def _end(self, outcome: Outcome | None, request: Request | None, delivery: Delivery) -> None:
        """Hand the outcome on, or let the host deliver the message again, or on the last delivery put it back.

        Raises:
            RetryableError: the host must deliver the message again.
        """
        try:
            async with _limit(HAND_ON_LIMIT):
                await self._hand_on(outcome, request, delivery)
        except RetryableError as error:
            log.error("handover.failed", messageId=delivery.message_id, reason=error.reason, detail=str(error))
            if not delivery.is_last:
                raise
            await self._put_back(delivery, str(error))

    async def _outcome(self, request: ReferralRequest, delivery: Delivery) -> Outcome:
        if delivery.is_last:
            return Rejected("retries-exhausted", LAST_DELIVERY)
        return await self._forwarder.forward(request)

    async def _backfill_outcome(self, page: BackfillPage, delivery: Delivery) -> Outcome | None:
        """Take a page of a backfill to its end, or to its next part. Returns None when nothing is left to do for it."""
        if self._backfiller is None:
            return Rejected("invalid-request", "a backfill needs the table that STATE_URL names")
        if delivery.is_last:
            return Rejected("retries-exhausted", LAST_DELIVERY)
        schedule = self._settings.deferral_schedule
        try:
            async with _limit(TIME_LIMIT):
                await self._backfiller.process(page)
        except PermanentError as error:
            reason = error.reason if error.reason in REJECT_REASONS else "upstream-refused"
            return Rejected(reason, str(error), upstream=error.upstream)
        except RetryableError as error:
            delay = max(schedule[min(page.attempt, len(schedule) - 1)], error.retry_after or 0)
            return Deferred(delay, error.reason, str(error), error.upstream, error.attempt_consumed)
        return None

    async def _hand_on(self, outcome: Outcome | None, request: Request | None, delivery: Delivery) -> None:
        if isinstance(outcome, Deferred) and request:
            attempt = request.attempt + outcome.attempt_consumed
            if attempt <= len(self._settings.deferral_schedule):
                await self._defer(outcome, request, attempt, delivery)
                return
            outcome = Rejected("retries-exhausted", f"{outcome.reason}: {outcome.detail}", upstream=outcome.upstream)
        if isinstance(outcome, Rejected):
            if isinstance(request, BackfillPage) and self._backfiller:
                await self._backfiller.fail(request, outcome.detail)
            await self._reject(outcome, request if isinstance(request, ReferralRequest) else None, delivery)

    async def _defer(self, outcome: Deferred, request: Request, attempt: int, delivery: Delivery) -> None:
        reason = {"seconds": round(outcome.delay), "reason": outcome.reason, **log.upstream_fields(outcome.upstream)}
        if isinstance(request, BackfillPage):
            await self._requests.put(dataclasses.replace(request, attempt=attempt).message(), delay=outcome.delay)
            log.warning("backfill.deferred", run=request.run_id, page=request.number, attempt=attempt, **reason)
            return
        await self._requests.put(messages.request_message(request, attempt=attempt), delay=outcome.delay)
        log.warning(
            "referral.deferred",
            messageId=delivery.message_id,
            **request.log_fields() | {"attempt": attempt},
            age=round((datetime.now(UTC) - request.first_seen).total_seconds()),
            **reason,
        )

    async def _reject(self, outcome: Rejected, request: ReferralRequest | None, delivery: Delivery) -> None:
        reject_id = delivery.message_id or str(uuid.uuid4())
        for message in messages.reject_messages(
            outcome, request=request, received=delivery.body, reject_id=reject_id, source=self._settings.source
        ):
            await self._rejects.put(message)
        log.warning(
            "referral.rejected",
            messageId=reject_id,
            **request.log_fields() if request else {},
            reason=outcome.reason,
            detail=outcome.detail,
            **log.upstream_fields(outcome.upstream),
        )

    async def _put_back(self, delivery: Delivery, why: str) -> None:
        """Re-enqueue the message exactly as received, which resets its delivery count."""
        delay = min(REQUEUE_DELAY, self._settings.deferral_schedule[-1])
        message = Message(delivery.body, content_type="application/octet-stream", verbatim=True)
        async with _limit(HAND_ON_LIMIT):
            await self._requests.put(message, delay=delay)
        log.error("message.held", messageId=delivery.message_id, detail=why, seconds=delay)


@contextlib.asynccontextmanager
async def _limit(seconds: float) -> AsyncIterator[None]:
    """Cancel the block after this many seconds. Its slowest calls are those to the queue, so the error names it.

    Raises:
        RetryableError: `queue-unavailable`: the time is up.
    """
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise RetryableError("queue-unavailable", f"not done within {seconds} s") from None
