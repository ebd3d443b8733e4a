"""Requests for referrals: every form that a message or an HTTP body may have."""

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Self
from urllib.parse import urlsplit

from referral_fn import strict_json
from referral_fn.referrals.backfill_page import BackfillPage
from referral_fn.timestamps import read_utc, utc

MAX_BATCH = 1000
"""The largest number of IDs in one `POST /api/referrals`."""

MAX_BODY = 256 * 1024
"""Bytes of a request's body: six times what a full batch needs."""

MAX_NOTIFICATION = 64 * 1024
"""Bytes of a notification's body; real ones have less than one kilobyte."""

_GUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE | re.ASCII)
_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}", re.ASCII)
_TRACESTATE = re.compile(r"[\x20-\x7e]{1,512}")
_CAUSE = re.compile(r"(?=.{1,64}\Z)[a-z]+(-[a-z]+){0,7}", re.ASCII)
REFERRAL_EVENTS = ("referral-created", "referral-updated", "related-referral-created", "related-referral-updated")
"""The notifications about referrals. All others but `TEST_EVENT` belong to other products."""

TEST_EVENT = "test-created"
"""The notification that Partner Center sends to test a webhook."""

RECONCILE, BACKFILL = "reconcile", "backfill"
"""The causes of requests that the app makes by itself: for referrals that Partner Center lists."""

_AUTOMATIC_CAUSES = {*REFERRAL_EVENTS, RECONCILE, BACKFILL}


class InvalidRequestError(ValueError):
    """The message or body is not a valid request.

    `path` is a JSON Pointer to the field, `rule` what it must be, `reason` the last part of the problem's type.
    """

    def __init__(self, path: str, rule: str, reason: str = "invalid-request") -> None:
        super().__init__(f"{path or 'the request'} {rule}")
        self.path = path
        self.rule = rule
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Trace:
    """A request's place in a distributed trace. W3C Trace Context: malformed headers are ignored."""

    traceparent: str | None = None
    tracestate: str | None = None

    @classmethod
    def of(cls, carrier: Mapping[str, Any]) -> Self:
        """Read headers, or the members of a message. Keeps a `tracestate` only together with its `traceparent`."""
        traceparent, tracestate = carrier.get("traceparent"), carrier.get("tracestate")
        if not (isinstance(traceparent, str) and _TRACEPARENT.fullmatch(traceparent)):
            return cls()
        valid = isinstance(tracestate, str) and _TRACESTATE.fullmatch(tracestate)
        return cls(traceparent, tracestate if valid else None)

    def attributes(self) -> dict[str, str]:
        """The present ones, by their names as headers and as CloudEvents extensions."""
        attributes = {"traceparent": self.traceparent, "tracestate": self.tracestate}
        return {name: value for name, value in attributes.items() if value}


@dataclass(frozen=True, slots=True)
class ReferralRequest:
    """One referral to forward."""

    referral_id: str
    """A GUID in lower case."""
    attempt: int = 0
    """How many attempts have failed and were deferred."""
    first_seen: datetime = field(default_factory=lambda: datetime.now(UTC))
    trace: Trace = Trace()
    cause: str | None = None
    """What led to it, such as the notification `referral-updated`."""
    changed_at: datetime | None = None
    """When the referral changed, as the notification says."""
    republish: bool = False
    """Whether somebody asked for an event even if this version was published already, as `replay` does."""

    @property
    def is_automatic(self) -> bool:
        """Whether nobody asked for an event: a version that was published already need not be published again."""
        return self.cause in _AUTOMATIC_CAUSES and not self.republish

    @property
    def follows_a_change(self) -> bool:
        """Whether a change of the referral led to it, announced or detected, so that its event can be late."""
        return self.is_automatic and self.cause != BACKFILL

    def event_attributes(self) -> dict[str, str]:
        """What the event carries from its request, as CloudEvents extension attributes."""
        return {**self.trace.attributes(), **({"cause": self.cause} if self.cause else {})}

    def log_fields(self) -> dict[str, Any]:
        """What every log event about this request carries."""
        return {"referralId": self.referral_id, "attempt": self.attempt, "cause": self.cause}

    def envelope(self, *, attempt: int) -> bytes:
        """The message that repeats this request later."""
        return strict_json.dumps(
            {
                "referralId": self.referral_id,
                "attempt": attempt,
                "firstSeen": utc(self.first_seen),
                **self.event_attributes(),
                **({"changedAt": utc(self.changed_at)} if self.changed_at else {}),
                **({"republish": True} if self.republish else {}),
            }
        )


def read_referral_id(value: Any, path: str = "/referralId") -> str:
    """A referral ID as it is stored.

    Raises:
        InvalidRequestError: not a GUID.
    """
    if isinstance(value, str) and _GUID.fullmatch(value.strip()):
        return value.strip().lower()
    raise InvalidRequestError(path, "must be a GUID")


def read_message(body: bytes) -> ReferralRequest:
    """Read a message that asks for a referral, plain or in base64.

    It may be a bare GUID, `{"referralId": …}`, the app's own envelope, a Partner Center notification, or a CloudEvent
    whose subject is the ID.

    Raises:
        InvalidRequestError: it is none of these.
    """
    return _read_request(_read_text(body))


def read_queued(body: bytes) -> ReferralRequest | BackfillPage:
    """Read a message of the requests queue: what `read_message` reads, or a page of a backfill.

    Raises:
        InvalidRequestError: it is none of these.
    """
    document = _read_text(body)
    if isinstance(document, dict) and "backfill" in document:
        return _read_backfill(document["backfill"])
    return _read_request(document)


def _read_text(body: bytes) -> Any:
    """The JSON value of a message; a bare GUID counts as a string."""
    text = plain_text(body)
    return text if _GUID.fullmatch(text) else _read_json(text)


def _read_request(document: Any) -> ReferralRequest:
    if isinstance(document, str):
        return ReferralRequest(read_referral_id(document, ""))
    if not isinstance(document, dict):
        raise InvalidRequestError("", "must be a GUID or a JSON object")
    if "referralId" in document:
        return parse_envelope(document)
    if "ResourceUri" in document:
        return read_notification(document)
    if "specversion" in document:
        return ReferralRequest(read_referral_id(document.get("subject"), "/subject"), trace=Trace.of(document))
    raise InvalidRequestError("", "must hold referralId, be a Partner Center notification, or be a CloudEvent")


def _read_backfill(members: Any) -> BackfillPage:
    try:
        return BackfillPage.read(members)
    except ValueError as error:
        raise InvalidRequestError("/backfill", str(error)) from None


def parse_envelope(document: dict[str, Any]) -> ReferralRequest:
    """Read the app's own envelope; everything but `referralId` may be absent.

    Raises:
        InvalidRequestError: a member has an invalid value.
    """
    attempt = document.get("attempt", 0)
    if not isinstance(attempt, int) or isinstance(attempt, bool) or attempt < 0:
        raise InvalidRequestError("/attempt", "must be a whole number, 0 or more")
    return ReferralRequest(
        read_referral_id(document["referralId"]),
        attempt,
        _read_time(document, "firstSeen") or datetime.now(UTC),
        Trace.of(document),
        _read_cause(document),
        _read_time(document, "changedAt"),
        document.get("republish") is True,
    )


def read_body(body: bytes) -> str | list[Any]:
    """Read the body of `POST /api/referrals`: one referral ID, or the items of `referralIds`, not yet checked.

    Raises:
        InvalidRequestError: it holds neither, both, or more than `MAX_BATCH` IDs; or is longer than `MAX_BODY`
            (`request-too-large`).
    """
    if len(body) > MAX_BODY:
        raise InvalidRequestError("", f"must have at most {MAX_BODY} bytes", "request-too-large")
    document = _read_json(body)
    if not isinstance(document, dict) or ("referralId" in document) == ("referralIds" in document):
        raise InvalidRequestError("", "must be a JSON object with either referralId or referralIds")
    if "referralId" in document:
        return read_referral_id(document["referralId"])
    items = document["referralIds"]
    if not isinstance(items, list) or not 1 <= len(items) <= MAX_BATCH:
        raise InvalidRequestError("/referralIds", f"must be a list of 1 to {MAX_BATCH} referral IDs")
    return items


def prefers_async(headers: Mapping[str, str]) -> bool:
    """Whether the caller would rather not wait: `Prefer: respond-async` (RFC 7240, section 4.1)."""
    preferences = headers.get("prefer", "").split(",")
    return any(preference.partition(";")[0].strip().lower() == "respond-async" for preference in preferences)


def plain_text(body: bytes) -> str:
    """The text of a message. Senders write it plain or in base64; neither a GUID nor a JSON object is valid base64.

    Raises:
        InvalidRequestError: not UTF-8.
    """
    try:
        return base64.b64decode(body, validate=True).decode("utf-8-sig").strip()
    except ValueError:  # not base64, or base64 of something else
        pass
    try:
        return body.decode("utf-8-sig").strip()
    except UnicodeDecodeError:
        raise InvalidRequestError("", "must be UTF-8") from None


def _read_json(text: str | bytes, *, unique: bool = False) -> Any:
    try:
        return strict_json.loads(text, unique=unique)
    except strict_json.InvalidJSONError as error:
        raise InvalidRequestError("", str(error)) from None


def _read_time(document: dict[str, Any], name: str) -> datetime | None:
    try:
        return read_utc(document[name]) if document.get(name) is not None else None
    except ValueError as error:
        raise InvalidRequestError(f"/{name}", str(error)) from None


def _read_cause(document: dict[str, Any]) -> str | None:
    cause = document.get("cause")
    if cause is not None and not (isinstance(cause, str) and _CAUSE.fullmatch(cause)):
        raise InvalidRequestError(
            "/cause", "must be at most 64 characters: words of lower-case letters, joined by hyphens"
        )
    return cause


def read_event_name(body: bytes) -> tuple[str, dict[str, Any]]:
    """Read a notification's `EventName`, and the notification itself.

    Raises:
        InvalidRequestError: not a JSON object, a duplicate member, or no `EventName`.
    """
    document = _read_json(body, unique=True)
    if not isinstance(document, dict) or not isinstance(document.get("EventName"), str):
        raise InvalidRequestError("/EventName", "must be the name of an event")
    return document["EventName"], document


def read_notification(document: dict[str, Any], trace: Trace = Trace()) -> ReferralRequest:
    """Read a notification about a referral. Its `ResourceUri` is only parsed, never fetched.

    Raises:
        InvalidRequestError: it is about something else, or names no single referral.
    """
    if document.get("EventName") not in REFERRAL_EVENTS:
        raise InvalidRequestError("/EventName", "must be a referral event")
    uri = document.get("ResourceUri")
    try:
        segments = urlsplit(uri).path.split("/") if isinstance(uri, str) else []
    except ValueError:
        segments = []
    ids = [segment for segment in segments if _GUID.fullmatch(segment)]
    if len(ids) != 1:
        raise InvalidRequestError("/ResourceUri", "must have one referral ID in its path")
    changed_at = _read_time(document, "ResourceChangeUtcDate")
    return ReferralRequest(ids[0].lower(), trace=trace, cause=document["EventName"], changed_at=changed_at)
