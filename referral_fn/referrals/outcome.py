"""How a request may end."""

from dataclasses import dataclass

from referral_fn.errors import Finding, Upstream
from referral_fn.referrals.events import Event
from referral_fn.referrals.referral_data import ReferralData

REJECT_REASONS = (
    "invalid-request",
    "referral-not-found",
    "upstream-refused",
    "invalid-referral",
    "event-too-large",
    "retries-exhausted",
)
"""Every reason a reject can have."""

DEFER_REASONS = (
    "upstream-denied",
    "mfa-required",
    "upstream-throttled",
    "upstream-unavailable",
    "upstream-timeout",
    "token-unavailable",
    "queue-unavailable",
)
"""Every reason for which a referral can be deferred. A backfill's page can be, also for `state-unavailable`."""


@dataclass(frozen=True, slots=True)
class Forwarded:
    """The event is on the events queue."""

    event: Event[ReferralData]
    encoded: bytes
    """The event as it was put on the queue: UTF-8 JSON."""
    upstream: Upstream
    """Partner Center's answer that it was built from."""


@dataclass(frozen=True, slots=True)
class Unchanged:
    """This version of the referral was published already, and nobody asked for it again: there is no event."""

    event: Event[ReferralData]
    """The event that would have been published."""
    upstream: Upstream
    """Partner Center's answer that it was built from."""


@dataclass(frozen=True, slots=True)
class Rejected:
    """There will be no event, and trying again would not help."""

    reason: str
    """One of `REJECT_REASONS`."""
    detail: str
    """The reason as a sentence."""
    errors: tuple[Finding, ...] = ()
    """The fields at fault, where the reason is about fields."""
    upstream: Upstream | None = None
    """Partner Center's answer, where it was asked."""


@dataclass(frozen=True, slots=True)
class Deferred:
    """There is no event yet. The request should be tried again."""

    delay: float
    """Seconds to wait before the next attempt."""
    reason: str
    """One of `DEFER_REASONS`."""
    detail: str = ""
    """The reason as a sentence."""
    upstream: Upstream | None = None
    """Partner Center's answer, where it was asked."""
    attempt_consumed: bool = True
    """Whether this counts as an attempt. A request held back by the closed gate keeps its place in the schedule."""


Outcome = Forwarded | Unchanged | Rejected | Deferred
