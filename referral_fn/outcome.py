"""How a request may end, and the two errors that lead to an end other than a forwarded event."""

from dataclasses import dataclass

from referral_fn.event import Event, ReferralData, Upstream
from referral_fn.referral import Finding


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
    counts: bool = True
    """Whether a try was made. A request held back by the closed gate keeps its place in the schedule."""


Outcome = Forwarded | Rejected | Deferred


class RefusalError(Exception):
    """Something will not work however often it is tried; carries the outcome."""

    def __init__(
        self, reason: str, detail: str, *, errors: tuple[Finding, ...] = (), upstream: Upstream | None = None
    ) -> None:
        super().__init__(detail)
        self.rejected = Rejected(reason, detail, errors, upstream)


class TroubleError(Exception):
    """Something did not work, and may work later."""

    def __init__(
        self,
        reason: str,
        detail: str,
        *,
        retry_after: float | None = None,
        upstream: Upstream | None = None,
        quick: bool = True,
        counts: bool = True,
    ) -> None:
        super().__init__(detail)
        self.reason = reason
        self.retry_after = retry_after
        """Seconds that the other side asks to be left alone for."""
        self.upstream = upstream
        self.quick = quick
        """Whether another try within seconds could help."""
        self.counts = counts
