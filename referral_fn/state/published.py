"""What is remembered of a referral: which event was published last, and a fingerprint of each of its fields."""

import dataclasses
import hashlib
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from referral_fn import strict_json
from referral_fn.referrals.events import Event
from referral_fn.referrals.referral_data import ReferralData

COMPARISON = ("previousid", "changed", "outoforder")
"""The extension attributes that compare an event with the one before."""

_KEY_BYTES = 16
_DIGEST_BYTES = 8
"""Bytes of a fingerprint: two values of one field look the same once in 2^64."""

_KEY = re.compile(r"(?:[0-9a-f]{2}){1,32}")
_COLUMNS = ("EventId", "Sequence", "Status", "Substatus", "Key", "Fields", "Attributes")

_MAX_CODE = 64
"""Characters kept of a status; Partner Center's are far shorter."""


@dataclass(frozen=True, slots=True)
class Published:
    """The last published event of a referral, without anything that says what is in it."""

    event_id: str
    sequence: str
    """The event's `sequence`; in a row, the greatest that any event of the referral had. Empty if there was none."""
    status: str
    substatus: str
    key: str
    """The random key of the fingerprints, so that they cannot be compared with those of another referral."""
    fields: Mapping[str, str]
    """By top-level field of `data`, the fingerprint of its value."""
    attributes: Mapping[str, str]
    """The event's `previousid`, `changed` and `outoforder`, for when it is published again."""

    @classmethod
    def of(cls, event: Event[ReferralData], before: "Published | None") -> Self:
        """What to remember of an event that is about to be published after another."""
        key = before.key if before else secrets.token_hex(_KEY_BYTES)
        fields = _fingerprints(event.data, key)
        return cls(
            event_id=event.id,
            sequence=_sequence(event),
            status=(event.data.get("status") or "")[:_MAX_CODE],
            substatus=(event.data.get("substatus") or "")[:_MAX_CODE],
            key=key,
            fields=fields,
            attributes=_attributes(event, fields, before),
        )

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> Self:
        """Read a row's columns.

        Raises:
            ValueError: they are not as `values` writes them.
        """
        columns = [values.get(name, "") for name in _COLUMNS]
        if not all(isinstance(value, str) for value in columns):
            raise ValueError("its columns must be text")
        event_id, sequence, status, substatus, key, fields, attributes = columns
        if not event_id or not _KEY.fullmatch(key):
            raise ValueError("must have EventId and Key")
        published = cls(event_id, sequence, status, substatus, key, _read_texts(fields), _read_texts(attributes))
        if published.attributes.keys() - set(COMPARISON):
            raise ValueError(f"Attributes may have {', '.join(COMPARISON)} only")
        return published

    def values(self) -> dict[str, Any]:
        """The row's columns."""
        return {
            "EventId": self.event_id,
            "Sequence": self.sequence,
            "Status": self.status,
            "Substatus": self.substatus,
            "Key": self.key,
            "Fields": strict_json.dumps(self.fields).decode(),
            "Attributes": strict_json.dumps(self.attributes).decode(),
        }

    def after(self, before: "Published | None") -> "Published":
        """The same, with the greatest sequence of both."""
        return dataclasses.replace(self, sequence=max(self.sequence, before.sequence if before else ""))

    def without_comparison(self) -> "Published":
        """The same, for an event that is published without `previousid`, `changed` and `outoforder`."""
        return dataclasses.replace(self, attributes={})

    def is_newer_than(self, sequence: str) -> bool:
        """Whether a snapshot with this sequence is older than the one published. Unknown counts as no."""
        return bool(sequence) and sequence < self.sequence


def annotated(event: Event[ReferralData], published: Published) -> Event[ReferralData]:
    """The event with the attributes that compare it with the one before."""
    return dataclasses.replace(event, extensions={**event.extensions, **published.attributes})


def _read_texts(column: str) -> Mapping[str, str]:
    document = strict_json.loads(column)
    if not isinstance(document, dict) or not all(isinstance(value, str) for value in document.values()):
        raise ValueError("Fields and Attributes must be JSON objects of texts")
    return document


def _sequence(event: Event[ReferralData]) -> str:
    return event.extensions.get("sequence", "")


def _attributes(event: Event[ReferralData], fields: Mapping[str, str], before: Published | None) -> Mapping[str, str]:
    """`previousid`, `changed` and `outoforder`. An event that is published again has the same as the first time.

    It has none if its data differ from the first time, after a change of the contact policy or of the app: they would
    name the event itself.
    """
    if before is None:
        return {}
    if before.event_id == event.id:
        return before.attributes if before.fields == fields else {}
    names = sorted(name for name in fields.keys() | before.fields.keys() if fields.get(name) != before.fields.get(name))
    attributes = {"previousid": before.event_id}
    if names:
        attributes["changed"] = ",".join(names)
    if before.is_newer_than(_sequence(event)):
        attributes["outoforder"] = "true"
    return attributes


def _fingerprints(data: ReferralData, key: str) -> dict[str, str]:
    secret = bytes.fromhex(key)
    return {
        name: hashlib.blake2s(
            strict_json.dumps(value, sort_keys=True), key=secret, digest_size=_DIGEST_BYTES
        ).hexdigest()
        for name, value in data.items()
    }
