"""What may ask for a referral: the shapes a message or an HTTP body may have, and nothing else."""

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Self
from urllib.parse import urlsplit

from referral_fn import strict_json
from referral_fn.timestamps import read_utc, utc

MAX_BATCH = 1000
"""IDs in one `POST /api/referrals`."""

MAX_BODY = 256 * 1024
"""Bytes of a request's body: six times what a full batch needs."""

MAX_NOTIFICATION = 64 * 1024
"""Bytes of a notification's body; real ones have less than one kilobyte."""

_GUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE | re.ASCII)
_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}", re.ASCII)
_TRACESTATE = re.compile(r"[\x20-\x7e]{1,512}")
_CAUSE = re.compile(r"[a-z]+(-[a-z]+){0,7}", re.ASCII)
REFERRAL_EVENTS = ("referral-created", "referral-updated", "related-referral-created", "related-referral-updated")
"""The notifications that are about referrals. Others belong to other products, but for the next."""

TEST_EVENT = "test-created"
"""What Partner Center sends when asked to prove that a webhook works."""


class InvalidRequestError(ValueError):
    """The message or body asks for no referral. `path` is a JSON Pointer to the field, `rule` what it must be."""

    def __init__(self, path: str, rule: str, reason: str = "invalid-request") -> None:
        super().__init__(f"{path or 'the request'} {rule}")
        self.path = path
        self.rule = rule
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Trace:
    """Where in a distributed trace a request belongs (W3C Trace Context, which has malformed headers ignored)."""

    traceparent: str | None = None
    tracestate: str | None = None

    @classmethod
    def of(cls, carrier: Mapping[str, Any]) -> Self:
        """Read headers, or a message's members, and keep what is well formed; a `tracestate` only with its parent."""
        traceparent, tracestate = carrier.get("traceparent"), carrier.get("tracestate")
        if not (isinstance(traceparent, str) and _TRACEPARENT.fullmatch(traceparent)):
            return cls()
        stated = isinstance(tracestate, str) and _TRACESTATE.fullmatch(tracestate)
        return cls(traceparent, tracestate if stated else None)

    def attributes(self) -> dict[str, str]:
        """Those present, by their names as headers and as CloudEvents extensions."""
        named = {"traceparent": self.traceparent, "tracestate": self.tracestate}
        return {name: value for name, value in named.items() if value}


@dataclass(frozen=True, slots=True)
class ReferralRequest:
    """One referral to forward."""

    referral_id: str
    """A GUID in lower case."""
    attempt: int = 0
    """How often it has been deferred."""
    first_seen: datetime = field(default_factory=lambda: datetime.now(UTC))
    trace: Trace = Trace()
    cause: str | None = None
    """The notification that led to it, such as `referral-updated`."""
    changed_at: datetime | None = None
    """When the referral changed, by that notification."""

    def context(self) -> dict[str, str]:
        """What the event says of where it comes from, as CloudEvents extensions."""
        return {**self.trace.attributes(), **({"cause": self.cause} if self.cause else {})}

    def correlation(self) -> dict[str, Any]:
        """What every line of the log about it says."""
        return {"referralId": self.referral_id, "attempt": self.attempt, "cause": self.cause}

    def envelope(self, *, attempt: int) -> bytes:
        """The message that brings this request back later."""
        return strict_json.dumps(
            {
                "referralId": self.referral_id,
                "attempt": attempt,
                "firstSeen": utc(self.first_seen),
                **self.context(),
                **({"changedAt": utc(self.changed_at)} if self.changed_at else {}),
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


def read_message(text: str) -> ReferralRequest:
    """Read a message of the requests queue, plain or base64.

    It may be a bare GUID, `{"referralId": …}`, a deferred request, a Partner Center notification, or a CloudEvent
    whose subject is the ID.

    Raises:
        InvalidRequestError: it is none of these.
    """
    text = plain_text(text)
    if _GUID.fullmatch(text):
        return ReferralRequest(text.lower())
    document = _read_json(text)
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


def parse_envelope(document: dict[str, Any]) -> ReferralRequest:
    """Read a request in the form of its envelope; all but `referralId` may be absent.

    Raises:
        InvalidRequestError: a member is not what it must be.
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
    )


def read_body(body: bytes) -> str | list[Any]:
    """Read the body of `POST /api/referrals`: one referral ID, or the items of `referralIds`, not yet checked.

    Raises:
        InvalidRequestError: it holds neither, both, or more than `MAX_BATCH`; or is longer than `MAX_BODY`
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


def plain_text(text: str) -> str:
    """The text itself, or what it says in base64: senders do either, and neither a GUID nor JSON is valid base64."""
    try:
        return base64.b64decode(text, validate=True).decode("utf-8-sig").strip()
    except (binascii.Error, ValueError):
        return text.removeprefix("\ufeff").strip()


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
        raise InvalidRequestError("/cause", "must be words of lower-case letters, joined by hyphens")
    return cause


def read_event_name(body: bytes) -> tuple[str, dict[str, Any]]:
    """Read a notification as far as its event's name.

    Raises:
        InvalidRequestError: it is no JSON object, has a member twice, or has no `EventName`.
    """
    document = _read_json(body, unique=True)
    if not isinstance(document, dict) or not isinstance(document.get("EventName"), str):
        raise InvalidRequestError("/EventName", "must be the name of an event")
    return document["EventName"], document


def read_notification(document: dict[str, Any]) -> ReferralRequest:
    """Read a notification about a referral. Its `ResourceUri` is read, and never fetched.

    Raises:
        InvalidRequestError: it is about something else, or does not say about which referral.
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
    return ReferralRequest(ids[0].lower(), cause=document["EventName"], changed_at=changed_at)
