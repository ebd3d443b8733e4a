"""The message that makes one page of a backfill: all that a worker needs to go on where another died."""

import re
import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

from referral_fn import strict_json
from referral_fn.queues.base import Message
from referral_fn.timestamps import read_utc, utc

STATUS = re.compile(r"[A-Za-z]{1,32}", re.ASCII)
"""A referral's status: one word."""

_OPTIONAL = ("skipToken", "status", "since", "after", "ticket", "milestone")


@dataclass(frozen=True, slots=True)
class BackfillPage:
    """A page of the list whose referrals are to be requested, or what is left of it."""

    run_id: str
    number: int = 0
    """The page's number, from 0."""
    skip_token: str | None = None
    """Where the page starts; None for the first one."""
    status: str | None = None
    """Only referrals of this status."""
    since: datetime | None = None
    """Only referrals that were updated then or later."""
    after: str = ""
    """The last referral of the page that was taken already; empty if none was."""
    attempt: int = 0
    """How many attempts at this page have failed and were deferred."""
    ticket: str = ""
    """Identifies this message and its copies among those for the same page; empty in a run's first one."""
    milestone: str = ""
    """Hash of the skip token of an earlier page, which must not come again; empty on the first page."""
    republish: bool = False
    """Whether to publish again what was published already."""

    def message(self) -> Message:
        """The message that asks for this page."""
        members = {
            "run": self.run_id,
            "page": self.number,
            "skipToken": self.skip_token,
            "status": self.status,
            "since": utc(self.since),
            "after": self.after or None,
            "attempt": self.attempt,
            "ticket": self.ticket or None,
            "milestone": self.milestone or None,
            "republish": self.republish or None,
        }
        present = {name: value for name, value in members.items() if value is not None}
        return Message(strict_json.dumps({"backfill": present}), session=self.run_id, correlation=self.run_id)

    @classmethod
    def read(cls, members: Any) -> Self:
        """Read the `backfill` member of a message.

        Raises:
            ValueError: it is not one; the text is the rule it breaks.
        """
        match members:
            case {"run": str(run), "page": int(number), "attempt": int(attempt)} if number >= 0 and attempt >= 0:
                optional = {name: members.get(name) for name in _OPTIONAL}
                token, status, since, after, ticket, milestone = optional.values()
                is_valid = all(value is None or isinstance(value, str) for value in optional.values())
                if is_valid and (status is None or STATUS.fullmatch(status)):
                    return cls(
                        str(uuid.UUID(run)),
                        number,
                        token,
                        status,
                        read_utc(since) if since else None,
                        after or "",
                        attempt,
                        ticket or "",
                        milestone or "",
                        members.get("republish") is True,
                    )
        raise ValueError(f"must have run, page and attempt, and may have {', '.join(_OPTIONAL)}, republish")
