"""Errors for HTTP callers: problem details (RFC 9457)."""

import math
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from referral_fn import strict_json
from referral_fn.errors import RetryableError, SignatureError
from referral_fn.referrals.outcome import Deferred, Rejected
from referral_fn.referrals.request import InvalidRequestError
from referral_fn.settings import SettingsError

CONTENT_TYPE = "application/problem+json"
TYPE = "urn:referral-fn:problem:"

PROBLEMS = {
    "invalid-request": (400, "The request names no referral"),
    "signature-invalid": (401, "The notification is not signed by Microsoft"),
    "length-required": (411, "The request's body has no Content-Length"),
    "request-too-large": (413, "The request is too large"),
    "referral-not-found": (404, "Partner Center has no such referral"),
    "upstream-refused": (502, "Partner Center refuses the call"),
    "invalid-referral": (502, "Partner Center's answer is not the referral"),
    "event-too-large": (502, "The event is too large for its queue"),
    "upstream-denied": (502, "Partner Center does not accept the app's credentials"),
    "mfa-required": (502, "Partner Center requires multi-factor authentication"),
    "token-unavailable": (502, "No token is available"),
    "upstream-throttled": (503, "Partner Center limits the request rate"),
    "upstream-unavailable": (503, "Partner Center is unavailable"),
    "upstream-timeout": (504, "Partner Center does not answer in time"),
    "body-missing": (503, "The notification's body did not arrive"),
    "certificate-unavailable": (503, "The signer's certificate cannot be fetched"),
    "queue-unavailable": (503, "A queue does not accept messages"),
    "state-unavailable": (503, "The table cannot be read or written"),
    "backfill-not-found": (404, "There is no such backfill"),
    "schema-not-found": (404, "There is no such schema"),
    "consent-lapsed": (503, "The user's consent has lapsed"),
    "misconfigured": (503, "Settings are missing or invalid"),
}
"""Every problem type: its status and title. docs/problems.md explains each."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One error. Its `type` is `TYPE` plus the reason, a word that deferrals, rejects and logs share."""

    reason: str
    detail: str
    members: dict[str, Any] = field(default_factory=dict)
    """Extension members: `errors` ({path, rule} each), `upstream`, `settings` ({name, rule} each), `results`."""
    retry_after: float | None = None
    """Seconds to wait before trying again; None if trying again is useless until an operator acts."""

    @property
    def status(self) -> int:
        """The HTTP status."""
        return PROBLEMS[self.reason][0]

    def encode(self) -> bytes:
        """The `application/problem+json` body."""
        status, title = PROBLEMS[self.reason]
        problem = {"type": TYPE + self.reason, "title": title, "status": status, "detail": self.detail}
        return strict_json.dumps({**problem, **{name: value for name, value in self.members.items() if value}})

    def headers(self) -> dict[str, str]:
        """The response's headers, without its content type."""
        return {} if self.retry_after is None else {"Retry-After": str(math.ceil(self.retry_after))}


def of_outcome(outcome: Rejected | Deferred) -> Problem:
    """The problem of a synchronous caller. Nothing has been queued: such callers must retry themselves."""
    if isinstance(outcome, Rejected):
        return Problem(outcome.reason, outcome.detail, {"errors": outcome.errors, "upstream": outcome.upstream})
    needs_operator = PROBLEMS[outcome.reason][0] == HTTPStatus.BAD_GATEWAY
    retry_after = None if needs_operator else outcome.delay
    return Problem(outcome.reason, outcome.detail, {"upstream": outcome.upstream}, retry_after)


def of_error(error: InvalidRequestError | RetryableError | SettingsError | SignatureError) -> Problem:
    """The problem for an error."""
    if isinstance(error, InvalidRequestError):
        return Problem(error.reason, str(error), {"errors": [{"path": error.path, "rule": error.rule}]})
    if isinstance(error, RetryableError):
        return Problem(error.reason, str(error), retry_after=error.retry_after)
    if isinstance(error, SignatureError):  # what exactly failed is for the log, not for an attacker
        return Problem("signature-invalid", "the log of the app says which check failed")
    settings = [{"name": problem.name, "rule": problem.rule} for problem in error.problems]
    return Problem("misconfigured", "see settings", {"settings": settings})


def of_results(results: list[dict[str, Any]]) -> Problem | None:
    """The problem of a batch of which nothing was queued; None if anything was, because the results say the rest."""
    statuses = {result["status"] for result in results}
    if "queued" in statuses:
        return None
    if "failed" in statuses:
        return Problem("queue-unavailable", "no request could be queued", {"results": results}, retry_after=10)
    return Problem("invalid-request", "no item is a referral ID", {"results": results})
