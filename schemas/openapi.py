"""The HTTP API as an OpenAPI 3.1 document: the models and problems are the code's, the rest is checked against it."""

import tomllib
from collections import defaultdict
from pathlib import Path
from typing import Any

from referral_fn import __version__
from referral_fn.api import problems
from referral_fn.referrals import events
from referral_fn.referrals.request import MAX_BATCH, MAX_BODY, MAX_NOTIFICATION, REFERRAL_EVENTS, TEST_EVENT
from schemas import event_schemas

_PROJECT = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]
_GUID = "[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
_SEED_ID = event_schemas.example(events.REFERRAL_TYPE)["subject"]
_KEYED: list[dict[str, list[str]]] = [{"functionKey": []}, {"functionKeyInQuery": []}]
_FORWARDING = (
    *("referral-not-found", "upstream-refused", "invalid-referral", "event-too-large", "upstream-denied"),
    "mfa-required",
    *("upstream-throttled", "upstream-unavailable", "upstream-timeout"),
)
_NOTIFYING = ("invalid-request", "signature-invalid", "request-too-large", "certificate-unavailable")
_QUEUEING = ("token-unavailable", "queue-unavailable", "misconfigured")


def document() -> dict[str, Any]:
    """The document."""
    return {
        "openapi": "3.1.1",
        "info": {
            "title": "Partner Center referrals",
            "version": __version__,
            "description": "Asks for Partner Center referrals, which are forwarded to a queue as CloudEvents. "
            "Errors are problem details (RFC 9457); docs/problems.md says what to do about each.",
            "license": {"name": _PROJECT["license"], "identifier": _PROJECT["license"]},
        },
        "servers": [{"url": "/api", "description": "The app that serves this document."}],
        "tags": [
            {"name": "referrals", "description": "Asking for referrals."},
            {"name": "webhooks", "description": "Notifications of referrals."},
            {"name": "operations", "description": "Operating the app."},
        ],
        "paths": {
            "/referrals/{referralId}": {"post": _forward()},
            "/referrals": {"post": _request()},
            "/webhooks/partner-center": {"post": _webhook()},
            "/backfills": {"post": _start_backfill()},
            "/backfills/{id}": {"get": _show_backfill()},
            "/health": {"get": _health()},
            "/openapi.json": {"get": _openapi()},
        },
        "components": {
            "securitySchemes": _security_schemes(),
            "headers": {
                "RetryAfter": {
                    "description": "Seconds after which asking again makes sense.",
                    "schema": {"type": "integer", "minimum": 0},
                },
            },
            "schemas": {**event_schemas.components(events.REFERRAL_TYPE, "ReferralEvent"), **_schemas()},
        },
    }


def _forward() -> dict[str, Any]:
    return {
        "operationId": "forwardReferral",
        "tags": ["referrals"],
        "summary": "Forward the referral in the path",
        "description": "Fetches the referral, puts its event on the events queue and returns the event. "
        "After a problem nothing is queued: synchronous callers must retry themselves.",
        "security": _KEYED,
        "parameters": [
            {
                "name": "referralId",
                "in": "path",
                "required": True,
                "description": "A GUID, in any case.",
                "schema": {"type": "string", "pattern": f"^{_GUID}$"},
                "example": _SEED_ID,
            },
            *_context(),
        ],
        "responses": {
            "200": _event_answer(),
            "202": _queued("#/components/schemas/Queued"),
            **_problems("invalid-request", *_FORWARDING, *_QUEUEING),
            "401": _NO_KEY,
        },
    }


def _request() -> dict[str, Any]:
    return {
        "operationId": "requestReferrals",
        "tags": ["referrals"],
        "summary": "Forward the referral in the body, or queue many",
        "description": "One `referralId` is forwarded as by its own path. `referralIds` are always queued; the "
        f"answer has the result for each. The body may have up to {MAX_BODY} bytes.",
        "security": _KEYED,
        "parameters": _context(),
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": {"$ref": "#/components/schemas/Asked"},
                    "examples": {
                        "one": {"summary": "One referral.", "value": {"referralId": _SEED_ID}},
                        "many": {"summary": "Several referrals.", "value": {"referralIds": [_SEED_ID]}},
                    },
                }
            },
        },
        "responses": {
            "200": _event_answer(),
            "202": {
                "description": "Queued: the one referral, if the caller prefers that, or at least one of several.",
                "headers": _queued("")["headers"],
                "content": {
                    "application/json": {
                        "schema": {
                            "oneOf": [
                                {"$ref": "#/components/schemas/Queued"},
                                {"$ref": "#/components/schemas/Results"},
                            ]
                        }
                    }
                },
            },
            **_problems("invalid-request", "length-required", "request-too-large", *_FORWARDING, *_QUEUEING),
            "401": _NO_KEY,
        },
    }


def _webhook() -> dict[str, Any]:
    shared: dict[str, list[str]] = {"signatureCertificate": [], "signatureAlgorithm": []}
    return {
        "operationId": "receiveNotification",
        "tags": ["webhooks"],
        "summary": "Receive a notification from Partner Center",
        "description": "Queues the referral that the notification is about. The signature is RSASSA-PKCS1-v1_5 over "
        f"the exact bytes of the body, up to {MAX_NOTIFICATION}.",
        "security": [{"signature": [], **shared}, {"signatureHeader": [], **shared}],
        "parameters": _context()[1:],
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": {
                        "oneOf": [
                            {"$ref": "#/components/schemas/ReferralNotification"},
                            {"$ref": "#/components/schemas/OtherNotification"},
                        ]
                    },
                    "examples": {
                        "changed": {"summary": "A referral has changed.", "value": notification()},
                        "test": {"summary": "A test of the webhook.", "value": {"EventName": TEST_EVENT}},
                    },
                }
            },
        },
        "responses": {
            "200": {"description": f"The answer to `{TEST_EVENT}`: the webhook works."},
            "202": {"description": "The request is on the requests queue."},
            "204": {"description": "The notification is about something else, and is ignored."},
            **_problems(
                "invalid-request",
                "signature-invalid",
                "request-too-large",
                "body-missing",
                "certificate-unavailable",
                *_QUEUEING,
            ),
        },
    }


def _start_backfill() -> dict[str, Any]:
    return {
        "operationId": "startBackfill",
        "tags": ["operations"],
        "summary": "Load everything that Partner Center lists",
        "description": "Requests each listed referral that was not published yet, page by page. Only with `STATE_URL`.",
        "security": _KEYED,
        "requestBody": {
            "required": False,
            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/BackfillRequest"}}},
        },
        "responses": {
            "202": {
                "description": "The run has started.",
                "headers": {"Location": {"description": "Where its progress is.", "schema": {"type": "string"}}},
                "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Backfill"}}},
            },
            **_problems("invalid-request", "length-required", "request-too-large", "state-unavailable", *_QUEUEING),
            "401": _NO_KEY,
        },
    }


def _show_backfill() -> dict[str, Any]:
    return {
        "operationId": "showBackfill",
        "tags": ["operations"],
        "summary": "Say how far a backfill has come",
        "description": "Only with `STATE_URL`. A run ends before the referrals that it requested last are forwarded.",
        "security": _KEYED,
        "parameters": [
            {
                "name": "id",
                "in": "path",
                "required": True,
                "description": "The run's ID, from the answer that started it.",
                "schema": {"type": "string", "pattern": f"^{_GUID}$"},
                "example": _RUN["id"],
            }
        ],
        "responses": {
            "200": {
                "description": "The run.",
                "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Backfill"}}},
            },
            **_problems(
                "invalid-request", "backfill-not-found", "state-unavailable", "token-unavailable", "misconfigured"
            ),
            "401": _NO_KEY,
        },
    }


def _backfill_schemas() -> dict[str, Any]:
    count = {"type": "integer", "minimum": 0}
    time = {"type": "string", "format": "date-time"}
    return {
        "BackfillRequest": {
            "type": "object",
            "description": "Which referrals; without a body or with an empty object, all.",
            "additionalProperties": False,
            "properties": {
                "status": {"type": "string", "pattern": "^[A-Za-z]{1,32}$", "description": "Those of this status."},
                "since": {**time, "description": "Those that were updated then or later."},
            },
            "examples": [{"status": "Active"}],
        },
        "Backfill": {
            "type": "object",
            "description": "A backfill.",
            "required": ["id", "status", "pages", "listed", "requested", "startedAt", "updatedAt"],
            "properties": {
                "id": {"type": "string", "format": "uuid", "description": "The run's ID."},
                "status": {"enum": ["running", "finished", "failed"], "description": "How it is."},
                "pages": {**count, "description": "Pages of the list that are done."},
                "listed": {**count, "description": "Referrals on these pages that were asked for."},
                "requested": {**count, "description": "How many of them had not been published, and were requested."},
                "startedAt": {**time, "description": "When it started."},
                "updatedAt": {**time, "description": "When it last came further."},
                "detail": {"type": "string", "description": "Why it failed."},
            },
            "examples": [_RUN],
        },
    }


_RUN = {
    "id": "3a0c7e51-7d3f-4f54-9a39-0f6f2c1b7d20",
    "status": "running",
    "pages": 12,
    "listed": 1200,
    "requested": 1187,
    "startedAt": "2026-01-14T16:06:01.250000Z",
    "updatedAt": "2026-01-14T16:10:02.480000Z",
}


def _health() -> dict[str, Any]:
    ok = {"status": "ok"}
    webhook = {"type": "string", "description": "What is wrong with the webhook registration. Only with `STATE_URL`."}
    members = {"status": {"const": "ok"}, "webhook": webhook}
    schema = {"type": "object", "required": ["status"], "properties": members, "examples": [ok]}
    return {
        "operationId": "readHealth",
        "tags": ["operations"],
        "summary": "Say whether the settings are right",
        "description": "Also says whether the user's consent is valid, as far as this worker knows.",
        "security": [],
        "responses": {
            "200": {"description": "They are.", "content": {"application/json": {"schema": schema}}},
            **_problems("misconfigured", "consent-lapsed"),
        },
    }


def _openapi() -> dict[str, Any]:
    schema = {"type": "object", "required": ["openapi"], "properties": {"openapi": {"type": "string"}}}
    return {
        "operationId": "describe",
        "tags": ["operations"],
        "summary": "Describe this API",
        "description": "This document.",
        "security": [],
        "responses": {"200": {"description": "OpenAPI 3.1.", "content": {"application/json": {"schema": schema}}}},
    }


_NO_KEY = {
    "description": "The function key is missing or wrong. Azure Functions answers this itself, without problem details."
}


def _context() -> list[dict[str, Any]]:
    """The headers that every call may have; the first, only calls that can be answered immediately."""
    header = {"in": "header", "required": False, "schema": {"type": "string"}}
    return [
        {
            "name": "Prefer",
            **header,
            "description": "With `respond-async` the referral is queued, and the answer is 202 (RFC 7240).",
            "example": "respond-async",
        },
        {
            "name": "traceparent",
            **header,
            "description": "W3C Trace Context, copied to the event. A malformed one is ignored.",
            "example": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        },
        {
            "name": "tracestate",
            **header,
            "description": "The same; kept only with a `traceparent`.",
            "example": "vendor=1",
        },
    ]


def _event_answer() -> dict[str, Any]:
    return {
        "description": "The event, which is on the events queue.",
        "content": {events.CONTENT_TYPE: {"schema": {"$ref": "#/components/schemas/ReferralEvent"}}},
    }


def _queued(schema: str) -> dict[str, Any]:
    return {
        "description": "The request is on the requests queue.",
        "headers": {
            "Preference-Applied": {
                "description": "`respond-async`, if the caller preferred it.",
                "schema": {"const": "respond-async"},
            }
        },
        "content": {"application/json": {"schema": {"$ref": schema}}},
    }


def _problems(*reasons: str) -> dict[str, Any]:
    """The responses with these problems, by status."""
    by_status: dict[int, list[str]] = defaultdict(list)
    for reason in reasons:
        by_status[problems.PROBLEMS[reason][0]].append(reason)
    responses: dict[str, Any] = {}
    for status, named in sorted(by_status.items()):
        types = [problems.TYPE + reason for reason in named]
        schema = {
            "allOf": [{"$ref": "#/components/schemas/Problem"}],
            "properties": {"type": {"enum": types}, "status": {"const": status}},
        }
        response: dict[str, Any] = {
            "description": "\n".join(f"- `{reason}`: {problems.PROBLEMS[reason][1]}." for reason in named),
            "content": {problems.CONTENT_TYPE: {"schema": schema}},
        }
        if status in (503, 504):  # waiting may help
            response["headers"] = {"Retry-After": {"$ref": "#/components/headers/RetryAfter"}}
        responses[str(status)] = response
    return responses


def _security_schemes() -> dict[str, Any]:
    key: dict[str, Any] = {"type": "apiKey", "in": "header"}
    return {
        "functionKey": {**key, "name": "x-functions-key", "description": "A function key of the app."},
        "functionKeyInQuery": {**key, "in": "query", "name": "code", "description": "The same."},
        "signature": {
            **key,
            "name": "Authorization",
            "description": "`Signature` and the signature in base64, unless the registration says otherwise.",
        },
        "signatureHeader": {
            **key,
            "name": "x-ms-signature",
            "description": "The same, if the registration has `SignatureTokenToMsSignatureHeader`.",
        },
        "signatureCertificate": {
            **key,
            "name": "x-ms-certificate-url",
            "description": "Where the signer's certificate is: https, on a host of `WEBHOOK_CERTIFICATE_HOSTS`.",
        },
        "signatureAlgorithm": {
            **key,
            "name": "x-ms-signature-algorithm",
            "description": "`rsa-sha256`, `rsa-sha384` or `rsa-sha512`.",
        },
    }


def _schemas() -> dict[str, Any]:
    own_id = {"type": "string", "format": "uuid", "description": "The referral's ID, in lower case."}
    statuses = ["queued", "invalid", "failed"]
    return {
        "Asked": {
            "type": "object",
            "description": "Asks for one referral, or for many; not for both.",
            "properties": {
                "referralId": guid(),
                "referralIds": {
                    "type": "array",
                    "items": guid(),
                    "minItems": 1,
                    "maxItems": MAX_BATCH,
                    "description": "The IDs of the referrals. A repeated ID is queued once. An item that is not an ID "
                    "does not keep the others from being queued.",
                },
            },
            "oneOf": [{"required": ["referralId"]}, {"required": ["referralIds"]}],
        },
        **notification_schemas(),
        **_backfill_schemas(),
        "Queued": {
            "type": "object",
            "description": "The one referral asked for is queued.",
            "required": ["referralId", "status"],
            "properties": {"referralId": own_id, "status": {"const": "queued"}},
            "examples": [{"referralId": _SEED_ID, "status": "queued"}],
        },
        "Results": {
            "type": "object",
            "description": "What became of each item of `referralIds`.",
            "required": ["results"],
            "properties": {
                "results": {"type": "array", "items": {"$ref": "#/components/schemas/Result"}, "minItems": 1}
            },
            "examples": [
                {
                    "results": [
                        {"index": 0, "referralId": _SEED_ID, "status": "queued"},
                        {"index": 1, "status": "invalid", "detail": "must be a GUID"},
                    ]
                }
            ],
        },
        "Result": {
            "type": "object",
            "description": "What became of one item.",
            "required": ["index", "status"],
            "properties": {
                "index": {"type": "integer", "minimum": 0, "description": "Its place in `referralIds`."},
                "referralId": own_id,
                "status": {"enum": statuses, "description": "`failed`: it could not be queued; ask for it again."},
                "detail": {"type": "string", "description": "Why it was not queued."},
            },
        },
        "Setting": {
            "type": "object",
            "description": "A setting, and the rule it breaks. Never its value.",
            "required": ["name", "rule"],
            "properties": {
                "name": {"type": "string", "description": "The setting's name.", "examples": ["EVENTS_URL"]},
                "rule": {"type": "string", "description": "What it must be.", "examples": ["is required"]},
            },
        },
        **_upstream(),
        "Problem": {
            "type": "object",
            "description": "Problem details (RFC 9457).",
            "required": ["type", "title", "status", "detail"],
            "properties": {
                "type": {
                    "enum": [problems.TYPE + reason for reason in problems.PROBLEMS],
                    "description": "The problem's name, by which docs/problems.md has it.",
                },
                "title": {"type": "string", "description": "What the type means."},
                "status": {"type": "integer", "description": "The HTTP status."},
                "detail": {"type": "string", "description": "What happened here."},
                "errors": {"type": "array", "items": {"$ref": "#/components/schemas/Finding"}},
                "upstream": {"$ref": "#/components/schemas/Upstream"},
                "settings": {"type": "array", "items": {"$ref": "#/components/schemas/Setting"}},
                "results": {"type": "array", "items": {"$ref": "#/components/schemas/Result"}},
            },
        },
    }


def _upstream() -> dict[str, Any]:
    rejects = event_schemas.components(events.REJECT_TYPE, "RejectEvent")
    return {"Upstream": rejects["Upstream"]}


def guid() -> dict[str, Any]:
    """What a referral ID may look like that comes in."""
    return {"type": "string", "pattern": f"^{_GUID}$", "description": "A GUID, in any case."}


def notification() -> dict[str, Any]:
    """A notification of Partner Center's."""
    return {
        "EventName": "referral-updated",
        "ResourceUri": f"https://api.partnercenter.microsoft.com/engagements/v1/referrals/{_SEED_ID}",
        "ResourceName": "referral",
        "AuditUri": None,
        "ResourceChangeUtcDate": "2018-09-26T22:50:17.9817210Z",
    }


def notification_schemas() -> dict[str, Any]:
    """The two kinds of notification, as component schemas."""
    name = {"type": "string", "description": "What happened."}
    return {
        "ReferralNotification": {
            "type": "object",
            "description": "Partner Center says that a referral is new or has changed.",
            "required": ["EventName", "ResourceUri"],
            "properties": {
                "EventName": {**name, "enum": list(REFERRAL_EVENTS)},
                "ResourceUri": {
                    "type": "string",
                    "pattern": f"^https://[A-Za-z0-9.-]+(/[A-Za-z0-9._-]+)*/{_GUID}$",
                    "description": "Has the referral's ID in its path. It is never fetched.",
                },
                "ResourceName": {"description": "The kind of resource. Not read."},
                "AuditUri": {"description": "Not read."},
                "ResourceChangeUtcDate": {
                    "type": ["string", "null"],
                    "format": "date-time",
                    "description": "When the referral changed.",
                },
            },
            "examples": [notification()],
        },
        "OtherNotification": {
            "type": "object",
            "description": f"Partner Center tests the webhook (`{TEST_EVENT}`), or speaks of another product.",
            "required": ["EventName"],
            "properties": {"EventName": {**name, "not": {"enum": list(REFERRAL_EVENTS)}}},
            "examples": [{"EventName": TEST_EVENT}],
        },
    }
