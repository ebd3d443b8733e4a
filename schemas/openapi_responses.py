"""The responses of the HTTP API as OpenAPI components: problems by name, each with its examples."""

from typing import Any

from referral_fn.api import problems
from referral_fn.referrals import events
from schemas import event_examples
from schemas.problem_examples import MAY_WAIT, PROBLEMS

PROBLEM_RESPONSES = {
    "InvalidRequest": ("invalid-request",),
    "InvalidSignature": ("signature-invalid",),
    "ReferralNotFound": ("referral-not-found",),
    "BackfillNotFound": ("backfill-not-found",),
    "SchemaNotFound": ("schema-not-found",),
    "LengthRequired": ("length-required",),
    "RequestTooLarge": ("request-too-large",),
    "ForwardingFailed": (
        *("upstream-refused", "invalid-referral", "event-too-large", "upstream-denied", "mfa-required"),
        "token-unavailable",
    ),
    "TokenUnavailable": ("token-unavailable",),
    "ForwardingUnavailable": ("upstream-throttled", "upstream-unavailable", "queue-unavailable", "misconfigured"),
    "UpstreamTimeout": ("upstream-timeout",),
    "NotificationUnavailable": ("body-missing", "certificate-unavailable", "queue-unavailable", "misconfigured"),
    "BackfillUnavailable": ("state-unavailable", "queue-unavailable", "misconfigured"),
    "NotReady": ("misconfigured", "consent-lapsed"),
}
"""By name, the problems of a response. All problems of a response have the same status."""

_JSON = "application/json"


def responses(*names: str, key: bool = True) -> dict[str, Any]:
    """Return the problem responses of an operation by status, after `default`. `key`: whether a key is needed."""
    by_status = {status_of(name): {"$ref": f"#/components/responses/{name}"} for name in names}
    if key:
        by_status["401"] = {"$ref": "#/components/responses/KeyMissing"}
    return {**dict(sorted(by_status.items())), "default": {"$ref": "#/components/responses/HostFailure"}}


def status_of(name: str) -> str:
    """Return the status of a named problem response."""
    (status,) = {problems.PROBLEMS[reason][0] for reason in PROBLEM_RESPONSES[name]}
    return str(status)


def components() -> dict[str, Any]:
    """Return every named response."""
    return {
        "Event": {
            "description": "The event, which is on the events queue.",
            "content": {
                events.CONTENT_TYPE: {
                    "schema": {"$ref": "#/components/schemas/ReferralEvent"},
                    "examples": {
                        "event": {
                            "summary": "The event of a referral.",
                            "value": event_examples.of_type(events.REFERRAL_TYPE),
                        }
                    },
                }
            },
        },
        **{name: _problem_response(reasons) for name, reasons in PROBLEM_RESPONSES.items()},
        "KeyMissing": {"description": "The function key is missing or invalid. The host answers this, without a body."},
        "HostFailure": {
            "description": "The Functions host's own failure, such as 500 while the app cannot start. It is no problem "
            "document, and may have no body."
        },
    }


def _problem_response(reasons: tuple[str, ...]) -> dict[str, Any]:
    response: dict[str, Any] = {
        "description": "\n".join(f"- `{reason}`: {problems.PROBLEMS[reason][1]}." for reason in reasons),
        "content": {
            problems.CONTENT_TYPE: {
                "schema": {"$ref": "#/components/schemas/Problem"},
                "examples": {reason: {"$ref": f"#/components/examples/{reason}"} for reason in reasons},
            }
        },
    }
    if MAY_WAIT.intersection(reasons):
        response["headers"] = {"Retry-After": {"$ref": "#/components/headers/RetryAfter"}}
    return response


def problem_examples() -> dict[str, Any]:
    """Return an example of each problem, by its reason."""
    return {reason: {"summary": f"{problems.PROBLEMS[reason][1]}.", "value": PROBLEMS[reason]} for reason in PROBLEMS}


def headers() -> dict[str, Any]:
    """Return the headers that responses share."""
    text = {"type": "string"}
    return {
        "RetryAfter": {
            "description": "Seconds after which asking again makes sense.",
            "schema": {"type": "integer", "format": "int32", "minimum": 0},
            "example": 10,
        },
        "PreferenceApplied": {
            "description": "`respond-async`, if the caller preferred it.",
            "schema": {**text, "const": "respond-async"},
            "example": "respond-async",
        },
        "Location": {
            "description": "Where the progress of the run is.",
            "schema": {**text, "format": "uri-reference"},
            "example": "/api/backfills/3a0c7e51-7d3f-4f54-9a39-0f6f2c1b7d20",
        },
        "ETag": {"description": "The version of the answer.", "schema": text, "example": '"5f2b1c"'},
        "CacheControl": {
            "description": "How long the answer may be reused.",
            "schema": text,
            "example": "public, max-age=86400",
        },
    }


def json_response(description: str, schema: str, examples: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Return a response with a named schema in JSON, and its examples by name."""
    named = {
        name: {"summary": f"{name.replace('-', ' ').capitalize()}.", "value": value} for name, value in examples.items()
    }
    content = {_JSON: {"schema": {"$ref": f"#/components/schemas/{schema}"}, "examples": named}}
    return {"description": description, **more, "content": content}
