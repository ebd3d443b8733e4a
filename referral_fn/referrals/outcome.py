"""How a request may end."""

from dataclasses import dataclass

from referral_fn.errors import Finding, Upstream
from referral_fn.referrals.events import Event, ReferralData


@dataclass(frozen=True, slots=True)
class Forwarded:
    """The event is on the events queue."""

    event: Event[ReferralData]
    upstream: Upstream
    """The answer it was made of."""


@dataclass(frozen=True, slots=True)
class Rejected:
    """There will be no event; trying again would not help."""

    reason: str
    """`invalid-request`, `referral-not-found`, `upstream-refused`, `invalid-referral`, `event-too-large` or
    `retries-exhausted`."""
    detail: str
    errors: tuple[Finding, ...] = ()
    upstream: Upstream | None = None


@dataclass(frozen=True, slots=True)
class Deferred:
    """There is no event yet; the request is to be tried again after `delay` seconds."""

    delay: float
    reason: str
    detail: str = ""
    upstream: Upstream | None = None
    attempt_consumed: bool = True
    """Whether a try was made. A request held back by the closed gate keeps its place in the schedule."""


Outcome = Forwarded | Rejected | Deferred
