"""The errors every layer raises, and the two records they carry."""

from typing import Annotated

from pydantic import Field
from typing_extensions import TypedDict  # pydantic reads no other before Python 3.12


class Finding(TypedDict):
    """A field, and the rule it breaks. Never its value, which may be personal."""

    path: Annotated[str, Field(examples=["/customer/contacts/0/email"])]
    """JSON Pointer (RFC 6901) to the field; empty: the whole document."""
    rule: Annotated[str, Field(examples=["is not an email address"])]
    """What the field should be, or is."""


class Upstream(TypedDict, total=False):
    """What Partner Center answered, in the terms its support asks for."""

    status: int
    """The HTTP status."""
    code: str
    """Partner Center's error code."""
    requestId: str
    """Partner Center's ID of the call."""
    clientRequestId: str
    """The app's ID of the call."""


class PermanentError(Exception):
    """Something failed, and would fail again however often it is tried.

    `reason` is stable and part of the contract: a reject's reason, or the last part of a problem's type.
    """

    def __init__(
        self, reason: str, detail: str, *, errors: tuple[Finding, ...] = (), upstream: Upstream | None = None
    ) -> None:
        super().__init__(detail)
        self.reason = reason
        self.errors = errors
        """The fields at fault, where the error is about fields."""
        self.upstream = upstream
        """The answer it came from, where Partner Center was asked."""


class RetryableError(Exception):
    """Something failed, and may work later. `reason` is stable and part of the contract."""

    def __init__(
        self,
        reason: str,
        detail: str,
        *,
        retry_after: float | None = None,
        upstream: Upstream | None = None,
        quick: bool = True,
        attempt_consumed: bool = True,
    ) -> None:
        super().__init__(detail)
        self.reason = reason
        self.retry_after = retry_after
        """Seconds that the other side asks us to wait."""
        self.upstream = upstream
        """The answer it came from, where Partner Center was asked."""
        self.quick = quick
        """Whether another attempt within seconds could help."""
        self.attempt_consumed = attempt_consumed
        """Whether a call was made. A request held back by the closed gate keeps its place in the schedule."""


class SignatureError(Exception):
    """A notification cannot be trusted. `check` names the check that failed, for the log only."""

    def __init__(self, check: str, detail: str) -> None:
        super().__init__(detail)
        self.check = check
