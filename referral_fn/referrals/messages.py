"""The queue messages that carry requests, events and rejects, each within what every queue accepts."""

import base64
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from referral_fn import strict_json
from referral_fn.errors import Finding, Upstream
from referral_fn.queues.base import Message
from referral_fn.referrals import events
from referral_fn.referrals.outcome import Rejected
from referral_fn.referrals.request import ReferralRequest
from referral_fn.timestamps import utc

FILTER_PROPERTIES = {
    events.REFERRAL_TYPE: ("category", "status", "type", "cause", "previousid", "changed", "outoforder"),
    events.REJECT_TYPE: ("reason", "cause"),
}
"""By event type: the members of the event or its data that become Service Bus properties, for subscription filters."""

MAX_PROPERTY = 128
"""Characters of a property that Partner Center's data sets; a longer one is cut. Its codes are far shorter."""

MAX_REJECT = 48 * 1024
"""Bytes of one reject: what a Storage queue accepts. Longer rejects are split, then trimmed."""

_PART_SIZE = 36_000
"""Bytes that one reject keeps of a message, in JSON; 12 KiB are left for everything else."""

MAX_KEPT = 1024 * 1024
"""Bytes kept of a rejected message. Storage queues hold 64 KiB, Service Bus Standard 256 KiB; Premium up to 100 MiB."""

_MAX_TEXT = 400
"""Characters of a detail, a path or a rule in a reject."""


def request_message(request: ReferralRequest, *, attempt: int = 0) -> Message:
    """The message that asks for a referral, later or for the first time."""
    body = request.envelope(attempt=attempt)
    return Message(body, session=request.referral_id, correlation=request.referral_id)


def event_message(event: events.Event[Any], encoded: bytes) -> Message:
    """The message that carries an event.

    Args:
        event: the event.
        encoded: the event as UTF-8 JSON.
    """
    names = FILTER_PROPERTIES[event.type]
    codes = {name: event.data[name][:MAX_PROPERTY] for name in names if name in event.data}
    attributes = {name: event.extensions[name] for name in names if name in event.extensions}
    return Message(
        encoded,
        id=event.id,
        session=event.extensions.get("partitionkey") or event.subject or event.id,
        correlation=event.subject,
        label=event.type,
        content_type=events.CONTENT_TYPE,
        properties={**codes, **attributes},
    )


def reject_messages(
    rejected: Rejected, *, request: ReferralRequest | None, received: bytes, reject_id: str, source: str
) -> Iterator[Message]:
    """The messages of one reject: one, or several when the message it keeps does not fit into one.

    Args:
        rejected: the outcome.
        request: what the message asked for; None when it could not be read, and the reject then keeps the message.
        received: the message exactly as received.
        reject_id: the reject's ID. Further parts have it with `/2`, `/3`, … appended.
        source: the event's `source`.
    """
    data = events.RejectData(reason=rejected.reason, detail=rejected.detail[:_MAX_TEXT], attempts=0)
    if rejected.errors:
        data["errors"] = [bounded(finding) for finding in rejected.errors]
    if rejected.upstream:
        data["upstream"] = _bounded_upstream(rejected.upstream)
    parts: list[events.RejectedMessage | None] = [None]
    if request:
        data["referralId"] = request.referral_id
        data["attempts"] = request.attempt
        data["firstSeen"] = utc(request.first_seen)
    else:
        parts = list(_parts(received))
    for number, part in enumerate(parts, 1):
        event = events.Event(
            id=reject_id if number == 1 else f"{reject_id}/{number}",
            source=source,
            type=events.REJECT_TYPE,
            dataschema=events.REJECT_SCHEMA,
            subject=request.referral_id if request else None,
            time=utc(datetime.now(UTC)),
            extensions=request.event_attributes() if request else {},
            data=events.RejectData(**data, message=part) if part else data,
        )
        yield event_message(*_fitted(event))


def bounded(finding: Finding) -> Finding:
    """A finding short enough for a reject: its path may come from the names of a stranger's fields."""
    return Finding(path=finding["path"][:_MAX_TEXT], rule=finding["rule"][:_MAX_TEXT])


def _bounded_upstream(upstream: Upstream) -> Upstream:
    short = upstream.copy()
    for name, value in upstream.items():
        if isinstance(value, str):
            short[name] = value[:MAX_PROPERTY]  # type: ignore[literal-required]
    return short


def _fitted(event: events.Event[events.RejectData]) -> tuple[events.Event[events.RejectData], bytes]:
    """The event and its encoding, with as many of its findings as fit."""
    encoded = event.encode()
    while len(encoded) > MAX_REJECT and (errors := event.data.get("errors")):
        event.data["errors"] = errors[: len(errors) // 2]
        encoded = event.encode()
    return event, encoded


def _parts(received: bytes) -> Iterator[events.RejectedMessage]:
    """The message in parts that fit into a reject each: as text if it is UTF-8, else in base64."""
    kept = received[:MAX_KEPT]
    try:
        pieces = [events.RejectedMessage(text=piece) for piece in _text_pieces(kept.decode())]
    except UnicodeDecodeError:
        step = _PART_SIZE // 4 * 3
        chunks = [kept[start : start + step] for start in range(0, len(kept), step)]
        pieces = [events.RejectedMessage(base64=base64.b64encode(chunk).decode()) for chunk in chunks]
    for number, piece in enumerate(pieces, 1):
        if len(pieces) > 1:
            piece["part"], piece["parts"] = number, len(pieces)
        if len(received) > MAX_KEPT:
            piece["omittedBytes"] = len(received) - MAX_KEPT
        yield piece


def _text_pieces(text: str) -> Iterator[str]:
    start = 0
    while start < len(text) or start == 0:
        length = _PART_SIZE
        while len(strict_json.dumps(text[start : start + length])) > _PART_SIZE:
            length //= 2
        yield text[start : start + length]
        start += length
