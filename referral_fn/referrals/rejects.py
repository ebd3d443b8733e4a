"""Rejects as they are read back: recognized among other messages, selected, and turned into requests again."""

import base64
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from referral_fn import strict_json
from referral_fn.queues.base import Message
from referral_fn.referrals.backfill_page import BackfillPage
from referral_fn.referrals.events import REJECT_TYPE
from referral_fn.referrals.messages import request_message
from referral_fn.referrals.request import InvalidRequestError, ReferralRequest, parse_envelope, read_queued
from referral_fn.timestamps import read_utc

MAX_PARTS = 10_000
"""Parts of one reject. The largest message that a reject keeps has about a hundred."""


class NotRestorableError(Exception):
    """A reject from which its request cannot be restored; the text says why."""


@dataclass(frozen=True, slots=True)
class RejectPart:
    """One message of the rejects queue: a whole reject, or a part of one whose kept message was too long."""

    reject_id: str
    """The same for all parts."""
    number: int
    """Counted from 1."""
    total: int
    reason: str
    detail: str
    rejected_at: datetime
    document: dict[str, Any]
    """The CloudEvent."""
    request: ReferralRequest | None
    """What the rejected message asked for; None when it could not be read, and the reject keeps the message."""


def read_part(body: bytes) -> RejectPart | None:
    """Read a message of the rejects queue. Returns None if it is no reject."""
    try:
        document = strict_json.loads(body)
        match document:
            case {
                "type": type_,
                "id": str(event_id),
                "time": str(time),
                "data": {"reason": str(reason), "detail": str(detail)},
            } if type_ == REJECT_TYPE:
                number, total = _position(document["data"].get("message", {}))
                reject_id = event_id if number == 1 else event_id.removesuffix(f"/{number}")
                request = _request(document) if "referralId" in document["data"] else None
                return RejectPart(reject_id, number, total, reason, detail, read_utc(time), document, request)
    except ValueError:
        pass
    return None


def _position(kept: Any) -> tuple[int, int]:
    """The number of a part, and how many there are.

    Raises:
        ValueError: they are not numbers that make sense.
    """
    match kept:
        case {"part": int(number), "parts": int(total)} if 1 <= number <= total <= MAX_PARTS:
            return number, total
        case {"part": _} | {"parts": _}:
            pass
        case {}:
            return 1, 1
    raise ValueError("part must be from 1 to parts")


def _request(document: dict[str, Any]) -> ReferralRequest:
    """What a reject's message asked for. Trace and cause are attributes of the event, the rest is in its data."""
    return parse_envelope({**document["data"], **document, "attempt": 0, "republish": True})


@dataclass(frozen=True, slots=True)
class Reject:
    """A reject with all its parts, in their order."""

    parts: tuple[RejectPart, ...]

    @property
    def id(self) -> str:
        """The reject's ID."""
        return self.parts[0].reject_id

    @property
    def referral_id(self) -> str | None:
        """The referral asked for, if any."""
        request = self.parts[0].request
        return request.referral_id if request else None

    @property
    def reason(self) -> str:
        """Why there was no event, as one word."""
        return self.parts[0].reason

    @property
    def detail(self) -> str:
        """The same as a sentence."""
        return self.parts[0].detail

    @property
    def rejected_at(self) -> datetime:
        """When it was rejected."""
        return self.parts[0].rejected_at

    def restore(self) -> Message:
        """The message that asks again, with no failed attempts; if it asks for nothing, exactly as it was rejected.

        Raises:
            NotRestorableError: the reject does not keep the whole message.
        """
        request = self.parts[0].request
        if request:
            return request_message(request)
        kept = [part.document["data"].get("message", {}) for part in self.parts]
        if any("omittedBytes" in piece for piece in kept):
            raise NotRestorableError("its message was too long to be kept whole; request its referrals by their IDs")
        try:
            return _without_attempts(_restored(kept, session=self.id))
        except (KeyError, TypeError, AttributeError, ValueError):
            raise NotRestorableError(
                "it keeps no message that could be put back; request its referral by its ID"
            ) from None


def _restored(kept: Sequence[dict[str, Any]], session: str) -> Message:
    if all("base64" in piece for piece in kept):
        body = b"".join(base64.b64decode(piece["base64"], validate=True) for piece in kept)
        return Message(body, session=session, content_type="application/octet-stream")
    body = "".join(piece["text"] for piece in kept).encode()
    return Message(body, session=session, content_type="text/plain", verbatim=True)


def _without_attempts(message: Message) -> Message:
    """A page of a backfill as if it had never failed; any other message as it is."""
    try:
        page = read_queued(message.body)
    except InvalidRequestError:
        return message
    return dataclasses.replace(page, attempt=0).message() if isinstance(page, BackfillPage) else message


@dataclass(frozen=True, slots=True)
class Selection:
    """Which rejects are meant; every condition left out holds for all."""

    ids: frozenset[str] = frozenset()
    """IDs of rejects or referrals, in lower case."""
    reasons: frozenset[str] = frozenset()
    since: datetime | None = None
    """Rejected at this time or later."""
    until: datetime | None = None
    """Rejected before this time."""

    def includes(self, reject: Reject) -> bool:
        """Whether the reject meets all conditions."""
        return (
            (not self.ids or not self.ids.isdisjoint({reject.id.lower(), reject.referral_id}))
            and (not self.reasons or reject.reason in self.reasons)
            and (self.since is None or reject.rejected_at >= self.since)
            and (self.until is None or reject.rejected_at < self.until)
        )
