"""The pipeline: fetch, validate, normalize, publish; and where to put what could not be published."""

import asyncio
import dataclasses
import gc
import random
import uuid
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Self
from urllib.parse import urlsplit

import aiohttp

from referral_fn import log, strict_json
from referral_fn.credentials.entra import Tokens
from referral_fn.errors import PermanentError, RetryableError, Upstream
from referral_fn.partner_center import PartnerCenter
from referral_fn.queues.base import Message, MessageTooLargeError, open_queue
from referral_fn.referrals import events
from referral_fn.referrals.normalization import normalize
from referral_fn.referrals.outcome import Deferred, Forwarded, Outcome, Rejected
from referral_fn.referrals.request import (
    InvalidRequestError,
    ReferralRequest,
    Trace,
    plain_text,
    read_message,
    read_referral_id,
)
from referral_fn.retry import LONGEST_WAIT
from referral_fn.settings import Settings, SettingsError, read_for_holding
from referral_fn.telemetry import Stages
from referral_fn.timestamps import utc
from referral_fn.webhooks import signature
from referral_fn.webhooks.certificates import Signers

_MESSAGE_ROOM = 42_000
"""Bytes that a rejected message may take, as JSON, in one reject; the rest of a reject stays well under 6 KiB."""

_WORST_ESCAPE = 6
"""Bytes that JSON may make of one character: `\\u0000`."""


_SPREAD = 1.08, 1.2
"""How much longer than scheduled a deferral may take. Eight per cent make the schedule's 44.6 hours 48."""

_PAUSE = 5
"""Seconds that a message may wait for which was delivered before."""

HOLD = 300
"""Seconds that a message is put back for while settings are wrong; but no longer than a deferral may take."""


class Forwarder:
    """Takes requests to their outcome. One per worker: it holds the connections, the tokens and the gate."""

    def __init__(self, settings: Settings, session: aiohttp.ClientSession, wrong: SettingsError | None = None) -> None:
        self._settings = settings
        self._wrong = wrong
        self._session = session
        self._tokens = Tokens(settings, session)
        self._partner_center = PartnerCenter(settings, session, self._tokens.partner_center)
        self._signers = Signers(session, settings.webhook_extra_roots)
        self._events, self._rejects, self._requests = (
            open_queue(url, session, self._tokens.identity, settings.service_bus_max_message)
            for url in (settings.events_url, settings.rejects_url, settings.requests_url)
        )

    @classmethod
    def open(cls, environment: Mapping[str, str]) -> Self:
        """A forwarder for the settings in the environment, to be used in the loop that is running.

        Where settings are wrong, it refuses calls and puts messages back, so that a bad deployment loses nothing.

        Raises:
            SettingsError: `REQUESTS_URL` is wrong, without which not even that can be done.
        """
        settings, wrong = read_for_holding(environment)
        gc.freeze()  # modules stay: the collector need not go through all of them, and hold up every request meanwhile
        return cls(settings, aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()), wrong)

    @property
    def lapsed(self) -> str | None:
        """Why nobody's consent is left, in mode `app-user`, as far as this worker knows."""
        return self._tokens.lapsed

    async def close(self) -> None:
        """Close all connections."""
        await self._session.close()
        await self._tokens.close()

    async def forward(self, request: ReferralRequest) -> Outcome:
        """Fetch the referral and put its event on the events queue.

        Returns:
            What became of it. Nothing but an event has been put on any queue: a reject or a deferral is the caller's to
            hand on, or to tell.

        Raises:
            SettingsError: settings are wrong.
        """
        self._check_settings()
        stages = Stages(request)
        outcome = await self._forward(request, stages)
        told = {**request.correlation(), **stages.milliseconds}
        if isinstance(outcome, Forwarded):
            log.info(
                "referral.forwarded", **told, eventId=outcome.event.id, requestId=outcome.upstream.get("requestId")
            )
        else:
            failed = {"reason": outcome.reason, "detail": outcome.detail, **_flat(outcome.upstream)}
            log.warning("attempt.failed", **told, **failed)
        return outcome

    async def _forward(self, request: ReferralRequest, stages: Stages) -> Outcome:
        settings = self._settings
        try:
            with stages.traced("fetch", "CLIENT", server_address=urlsplit(settings.referrals_url).hostname) as trace:
                fetched = await self._partner_center.fetch(dataclasses.replace(request, trace=trace))
            with stages.timed("normalize"):
                made = normalize(
                    fetched.referral, collection=settings.source, policy=settings.contacts, context=request.context()
                )
                message = _message(made)
            with stages.traced("publish", "PRODUCER", **self._events.described, messaging_message_id=made.id):
                await self._events.put(message)
        except PermanentError as refusal:
            return Rejected(refusal.reason, str(refusal), refusal.errors, refusal.upstream)
        except MessageTooLargeError as error:
            return Rejected("event-too-large", str(error))
        except RetryableError as trouble:
            return Deferred(
                self._delay(request, trouble), trouble.reason, str(trouble), trouble.upstream, trouble.attempt_consumed
            )
        return Forwarded(made, fetched.upstream)

    def _delay(self, request: ReferralRequest, trouble: RetryableError) -> float:
        """The schedule's next delay, or longer where the other side says so.

        It is spread, lest a crowd come back as one; and never shorter than stated, so that the last try comes after two
        whole days. A request that the gate held back keeps its place, and waits for longer the older it is.
        """
        schedule = self._settings.deferral_schedule
        delay = max(schedule[min(request.attempt, len(schedule) - 1)], trouble.retry_after or 0)
        if not trouble.attempt_consumed:
            age = (datetime.now(UTC) - request.first_seen).total_seconds()
            delay = max(delay, min(age / 4, schedule[-1]))
        return min(delay * random.uniform(*_SPREAD), LONGEST_WAIT)  # noqa: S311 - no secret

    async def enqueue(self, request: ReferralRequest, *, attempt: int = 0, delay: float = 0) -> None:
        """Put a request on the requests queue.

        Raises:
            RetryableError: `queue-unavailable` or `token-unavailable`.
            SettingsError: settings are wrong.
        """
        self._check_settings()
        body = request.envelope(attempt=attempt)
        message = Message(body, session=request.referral_id, correlation=request.referral_id)
        await self._requests.put(message, delay=delay)

    async def enqueue_all(self, items: list[Any], trace: Trace) -> list[dict[str, Any]]:
        """Put many requests on the requests queue, each ID once.

        Returns:
            For each item its `index`, its `referralId` where it is one, its `status` (`queued`, `invalid` or `failed`)
            and, but for `queued`, a `detail`.

        Raises:
            SettingsError: settings are wrong.
        """
        self._check_settings()
        fates: list[dict[str, Any]] = []
        writes: dict[str, asyncio.Task[dict[str, Any]]] = {}
        async with asyncio.TaskGroup() as group:
            for index, item in enumerate(items):
                try:
                    referral_id = read_referral_id(item, f"/referralIds/{index}")
                except InvalidRequestError as error:
                    fates.append({"index": index, "status": "invalid", "detail": error.rule})
                    continue
                if referral_id not in writes:
                    write = self._enqueue_safely(ReferralRequest(referral_id, trace=trace))
                    writes[referral_id] = group.create_task(write)
                fates.append({"index": index, "referralId": referral_id})
        return [fate | writes[fate["referralId"]].result() if "referralId" in fate else fate for fate in fates]

    async def authenticate(self, headers: Mapping[str, str], body: bytes) -> None:
        """Check that a notification is signed by Microsoft.

        Args:
            headers: by lower-case name.
            body: the exact bytes received.

        Raises:
            PermanentError: `signature-invalid`; the log says which check failed.
            RetryableError: `certificate-unavailable`.
            SettingsError: settings are wrong.
        """
        self._check_settings()
        try:
            claim = signature.read_claim(headers, self._settings.webhook_certificate_hosts)
            await self._signers.check(body, claim)
        except signature.SignatureError as error:
            raise self._refusal(error) from None

    async def enqueue_notified(self, request: ReferralRequest) -> None:
        """Put a request on the requests queue that came by an authenticated notification.

        Raises:
            PermanentError: `signature-invalid`: the notification is too old.
            RetryableError: `queue-unavailable` or `token-unavailable`.
        """
        try:
            signature.check_age(request.changed_at, self._settings.webhook_max_age, datetime.now(UTC))
        except signature.SignatureError as error:
            raise self._refusal(error) from None
        await self.enqueue(request)
        log.info("webhook.accepted", referralId=request.referral_id, cause=request.cause)

    @staticmethod
    def _refusal(error: signature.SignatureError) -> PermanentError:
        log.warning("webhook.refused", check=error.check, detail=str(error))
        return PermanentError("signature-invalid", "the log of the app says which check failed")

    async def _enqueue_safely(self, request: ReferralRequest) -> dict[str, Any]:
        try:
            await self.enqueue(request)
        except RetryableError as trouble:
            return {"status": "failed", "detail": str(trouble)}
        return {"status": "queued"}

    def _check_settings(self) -> None:
        if self._wrong:
            raise self._wrong

    async def settle(self, message: bytes, *, message_id: str | None, again: bool = False, last: bool = False) -> None:
        """Take a message of the requests queue to its outcome, and hand that on. The message is then done with.

        While settings are wrong, its outcome is that it is put back as it is.

        Args:
            message: the message as received.
            message_id: the queue's ID of it, the same at every delivery; it becomes the reject's.
            again: whether it was delivered before, and came to no outcome. It is tried after a random pause then: a
                message that stops its worker would otherwise take the same others with it each time.
            last: whether the host would give it up if it failed now. It has stopped workers before, so it is not tried
                once more but rejected.

        Raises:
            RetryableError: the outcome could not be handed on. The message must be delivered again.
        """
        request, text = None, message.decode(errors="backslashreplace")
        if self._wrong:
            await self._hold(message_id, text, str(self._wrong))
            return
        if again and not last:
            await asyncio.sleep(random.uniform(0, _PAUSE))  # noqa: S311 - no secret
        try:
            request = read_message(text)
            outcome = (
                Rejected("retries-exhausted", "the last delivery before the host gives the message up")
                if last
                else await self.forward(request)
            )
        except InvalidRequestError as error:
            outcome = Rejected("invalid-request", str(error), errors=({"path": error.path, "rule": error.rule},))
        try:
            await self._hand_on(outcome, request, text, message_id or str(uuid.uuid4()))
        except RetryableError as trouble:
            log.error("handover.failed", messageId=message_id, reason=trouble.reason, detail=str(trouble))
            if not last:
                raise
            await self._hold(message_id, text, str(trouble))  # the host would move it to its poison queue

    async def _hold(self, message_id: str | None, text: str, why: str) -> None:
        """Put a message back as a new one, with all its deliveries before it."""
        message = Message(plain_text(text).encode(), session=message_id, content_type="text/plain")
        delay = min(HOLD, self._settings.deferral_schedule[-1])
        await self._requests.put(message, delay=delay)
        log.error("message.held", messageId=message_id, detail=why, seconds=delay)

    async def _hand_on(self, outcome: Outcome, request: ReferralRequest | None, text: str, reject_id: str) -> None:
        correlation = {"messageId": reject_id, **(request.correlation() if request else {})}
        if isinstance(outcome, Deferred) and request:
            attempt = request.attempt + outcome.attempt_consumed
            if attempt <= len(self._settings.deferral_schedule):
                await self.enqueue(request, attempt=attempt, delay=outcome.delay)
                seconds = round(outcome.delay)
                age = round((datetime.now(UTC) - request.first_seen).total_seconds())
                deferred = {**correlation, "attempt": attempt, "seconds": seconds, "age": age}
                log.warning("referral.deferred", **deferred, reason=outcome.reason, **_flat(outcome.upstream))
                return
            outcome = Rejected("retries-exhausted", f"{outcome.reason}: {outcome.detail}", upstream=outcome.upstream)
        if isinstance(outcome, Rejected):
            for reject in self._reject_events(outcome, request, text, reject_id):
                await self._rejects.put(_message(reject))
            flat = _flat(outcome.upstream)
            log.warning("referral.rejected", **correlation, reason=outcome.reason, detail=outcome.detail, **flat)

    def _reject_events(
        self, rejected: Rejected, request: ReferralRequest | None, text: str, reject_id: str
    ) -> Iterator[events.Event[events.RejectData]]:
        """The reject: one event, or, where the message is too long to be kept in one, several."""
        data = events.RejectData(reason=rejected.reason, detail=rejected.detail, attempts=0)
        if rejected.errors:
            data["errors"] = list(rejected.errors)
        if rejected.upstream:
            data["upstream"] = rejected.upstream
        messages: list[events.RejectedMessage | None] = [None]
        if request:
            data |= {
                "referralId": request.referral_id,
                "attempts": request.attempt,
                "firstSeen": utc(request.first_seen),
            }
        else:
            messages = list(_parts(text))
        for number, message in enumerate(messages, 1):
            yield events.Event(
                id=reject_id if number == 1 else f"{reject_id}/{number}",
                source=self._settings.source,
                type=events.REJECT_TYPE,
                dataschema=events.REJECT_SCHEMA,
                subject=request.referral_id if request else None,
                time=utc(datetime.now(UTC)),
                extensions=request.context() if request else {},
                data={**data, "message": message} if message else data,
            )


def _message(made: events.Event[Any]) -> Message:
    """The message that carries an event. Properties are what a subscriber may want to filter by."""
    said = {**made.data, **made.extensions}
    filters = {name: said[name] for name in ("category", "status", "type", "cause", "reason") if name in said}
    session = made.extensions.get("partitionkey") or made.subject or made.id
    return Message(made.encode(), made.id, session, made.subject, made.type, events.CONTENT_TYPE, filters)


def _flat(upstream: Upstream | None) -> dict[str, Any]:
    """What Partner Center answered, as fields of a log event."""
    said = upstream or Upstream()
    return {
        "status": said.get("status"),
        "code": said.get("code"),
        "requestId": said.get("requestId"),
        "clientRequestId": said.get("clientRequestId"),
    }


def _parts(text: str) -> Iterator[events.RejectedMessage]:
    if len(strict_json.dumps(text)) <= _MESSAGE_ROOM:
        yield {"text": text}
        return
    length = _MESSAGE_ROOM // _WORST_ESCAPE
    parts = [text[start : start + length] for start in range(0, len(text), length)]
    for number, part in enumerate(parts, 1):
        yield {"text": part, "part": number, "parts": len(parts)}
