"""The events of a run, checked against each other: is what each one says of its predecessor true?"""

import hashlib
import json
import time
from collections import Counter
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Noted:
    """An event without its content."""

    sequence: str
    fields: dict[str, str]
    """By top-level field of `data`, a hash of its value."""


class Ledger:
    """Keeps what is needed to check events, in little memory."""

    def __init__(self) -> None:
        self.versions: dict[str, set[str]] = {}
        """By referral, the versions published."""
        self.delivered = 0
        self.untrue: list[str] = []
        """What events claim, and is not so."""
        self.causes: Counter[str] = Counter()
        self.last_news = time.monotonic()
        """When a version was first published."""
        self._events: dict[str, Noted] = {}
        self._claims: set[tuple[str, str | None, str | None, bool]] = set()
        """ID, `previousid`, `changed`, and whether `outoforder`."""

    def note(self, event: dict[str, Any]) -> None:
        """Keep an event."""
        referral_id, _, version = event["id"].partition("@")
        self.delivered += 1
        self.causes[event.get("cause", "none")] += 1
        if version not in self.versions.setdefault(referral_id, set()):
            self.versions[referral_id].add(version)
            self.last_news = time.monotonic()
        hashes = {
            name: hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]
            for name, value in event["data"].items()
        }
        noted = Noted(event["sequence"], hashes)
        if self._events.setdefault(event["id"], noted) != noted:
            self.untrue.append(f"{event['id']} was published with different data")
        self._claims.add((event["id"], event.get("previousid"), event.get("changed"), "outoforder" in event))

    @property
    def with_predecessor(self) -> int:
        """How many events name a predecessor."""
        return len({event_id for event_id, previous, _, _ in self._claims if previous is not None})

    @property
    def without_predecessor(self) -> int:
        """How many events name no predecessor, although another version of the referral was published, too."""
        first = {event_id for event_id, previous, _, _ in self._claims if previous is None}
        return len(first) - len({event_id.partition("@")[0] for event_id in first})

    def check(self) -> None:
        """Compare each event with the one it names."""
        for event_id, previous, changed, out_of_order in sorted(self._claims, key=str):
            if previous is None:
                continue
            after, before = self._events[event_id], self._events.get(previous)
            if before is None:
                self.untrue.append(f"{event_id} names {previous}, which was never published")
                continue
            names = before.fields.keys() | after.fields.keys()
            differing = ",".join(sorted(name for name in names if before.fields.get(name) != after.fields.get(name)))
            if differing != (changed or ""):
                self.untrue.append(f"{event_id} says {changed}, and {differing} differ")
            if out_of_order != (after.sequence < before.sequence):
                self.untrue.append(f"{event_id} {'is not' if out_of_order else 'is'} older than {previous}")
