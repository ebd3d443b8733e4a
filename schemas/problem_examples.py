"""An example of each problem that the HTTP API answers."""

import json
from typing import Any

from referral_fn.api.problems import Problem
from schemas.event_examples import upstream

_INVALID = [{"path": "/referralId", "rule": "must be a GUID"}]
_PROBLEMS = (
    Problem("invalid-request", "/referralId must be a GUID", {"errors": _INVALID}),
    Problem("signature-invalid", "the log of the app says which check failed"),
    Problem("length-required", "send the body with a Content-Length, not chunked"),
    Problem("request-too-large", "the request must have at most 262144 bytes"),
    Problem("referral-not-found", "Partner Center answered 404", {"upstream": upstream(404, "itemNotFound")}),
    Problem("upstream-refused", "Partner Center answered 400", {"upstream": upstream(400, "badRequest")}),
    Problem(
        "invalid-referral",
        "Partner Center's answer is not the referral",
        {"errors": [{"path": "/details/dealValue", "rule": "should be a number"}]},
    ),
    Problem("event-too-large", "the message has 71234 bytes; the queue takes 49152"),
    Problem("upstream-denied", "Partner Center answered 403", {"upstream": upstream(403, "unauthorized")}),
    Problem("mfa-required", "the user must sign in with multi-factor authentication and consent again"),
    Problem("token-unavailable", "Entra ID answered 400"),
    Problem("upstream-throttled", "Partner Center answered 429", {"upstream": upstream(429, "tooManyRequests")}, 30),
    Problem("upstream-unavailable", "no answer from Partner Center: connection reset", retry_after=10),
    Problem("upstream-timeout", "Partner Center did not answer in time", retry_after=10),
    Problem("body-missing", "the body did not arrive: send it with a Content-Length, not chunked", retry_after=60),
    Problem("certificate-unavailable", "the signer's certificate could not be fetched", retry_after=60),
    Problem(
        "queue-unavailable",
        "no request could be queued",
        {"results": [{"index": 0, "status": "failed", "detail": "the queue answered 503"}]},
        10,
    ),
    Problem("state-unavailable", "the table answered 503", retry_after=10),
    Problem("backfill-not-found", "there is no run of this ID"),
    Problem("schema-not-found", "there is no schema of this name"),
    Problem("consent-lapsed", "the refresh token has expired: consent again"),
    Problem("misconfigured", "see settings", {"settings": [{"name": "EVENTS_URL", "rule": "is required"}]}),
)

PROBLEMS: dict[str, dict[str, Any]] = {problem.reason: json.loads(problem.encode()) for problem in _PROBLEMS}
"""The problems by their reasons, each as its body."""

MAY_WAIT = {problem.reason for problem in _PROBLEMS if problem.retry_after is not None}
"""The reasons of problems after which waiting may help: their responses have `Retry-After`."""
