"""The component schemas of the HTTP API's own requests and responses."""

from typing import Any

from referral_fn.api import problems
from referral_fn.referrals import events
from referral_fn.referrals.request import MAX_BATCH, REFERRAL_EVENTS, TEST_EVENT
from schemas import event_examples, event_schemas

GUID = "[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
"""A GUID in any case, as a pattern."""

SEED_ID: str = event_examples.of_type(events.REFERRAL_TYPE)["subject"]
RUN = {
    "id": "3a0c7e51-7d3f-4f54-9a39-0f6f2c1b7d20",
    "status": "running",
    "pages": 12,
    "listed": 1200,
    "requested": 1187,
    "startedAt": "2026-01-14T16:06:01.250000Z",
    "updatedAt": "2026-01-14T16:10:02.480000Z",
}
"""An example of a backfill."""

QUEUED = {"referralId": SEED_ID, "status": "queued"}
RESULTS = {
    "results": [
        {"index": 0, "referralId": SEED_ID, "status": "queued"},
        {"index": 1, "status": "invalid", "detail": "must be a GUID"},
    ]
}

_TEXT = {"type": "string"}
_COUNT = {"type": "integer", "format": "int32", "minimum": 0, "maximum": 2**31 - 1}
_TIME = {**_TEXT, "format": "date-time"}
_OWN_ID = {**_TEXT, "format": "uuid", "description": "The referral's ID, in lower case."}


def components() -> dict[str, Any]:
    """Return every schema by its name: those of events first."""
    return {
        **event_schemas.components(events.REFERRAL_TYPE),
        **_requests(),
        **notifications(),
        **_backfills(),
        **_answers(),
        "Upstream": event_schemas.components(events.REJECT_TYPE)["Upstream"],
        "Problem": _problem(),
    }


def guid() -> dict[str, Any]:
    """Return the schema of a referral ID that comes in."""
    return {**_TEXT, "pattern": f"^{GUID}$", "description": "A GUID, in any case."}


def notification() -> dict[str, Any]:
    """Return an example of a notification from Partner Center."""
    return {
        "EventName": "referral-updated",
        "ResourceUri": f"https://api.partnercenter.microsoft.com/engagements/v1/referrals/{SEED_ID}",
        "ResourceChangeUtcDate": "2018-09-26T22:50:17.9817210Z",
    }


def notifications() -> dict[str, Any]:
    """Return the schemas of notifications: of the two kinds, and of either."""
    name = {**_TEXT, "description": "What happened."}
    return {
        "ReferralNotification": {
            "type": "object",
            "description": "Partner Center says that a referral is new or has changed. Other members are not read.",
            "required": ["EventName", "ResourceUri"],
            "properties": {
                "EventName": {**name, "title": "ReferralEventName", "enum": list(REFERRAL_EVENTS)},
                "ResourceUri": {
                    **_TEXT,
                    "pattern": f"^https://[A-Za-z0-9.-]+(/[A-Za-z0-9._-]+)*/{GUID}$",
                    "description": "Has the referral's ID in its path. It is never fetched.",
                },
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
        "Notification": {
            "description": "A notification from Partner Center.",
            "oneOf": [
                {"$ref": "#/components/schemas/ReferralNotification"},
                {"$ref": "#/components/schemas/OtherNotification"},
            ],
        },
    }


def _requests() -> dict[str, Any]:
    return {
        "ReferralsRequest": {
            "type": "object",
            "description": "Asks for one referral, or for many; not for both.",
            "minProperties": 1,
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
            "not": {"required": ["referralId", "referralIds"]},
            "examples": [{"referralId": SEED_ID}],
        }
    }


def _backfills() -> dict[str, Any]:
    return {
        "BackfillRequest": {
            "type": "object",
            "description": "Which referrals; without a body or with an empty object, all that were not published.",
            "additionalProperties": False,
            "properties": {
                "status": {**_TEXT, "pattern": "^[A-Za-z]{1,32}$", "description": "Those of this status."},
                "since": {**_TIME, "description": "Those that were updated then or later."},
                "all": {
                    "type": "boolean",
                    "default": False,
                    "description": "Also those that were published. They are published again, with the same IDs.",
                },
            },
            "examples": [{"status": "Active"}, {"all": True}],
        },
        "Backfill": {
            "type": "object",
            "description": "A backfill.",
            "required": ["id", "status", "pages", "listed", "requested", "startedAt", "updatedAt"],
            "properties": {
                "id": {**_TEXT, "format": "uuid", "description": "The run's ID."},
                "status": {**_TEXT, "examples": ["running", "finished", "failed"], "description": "How it is."},
                "pages": {**_COUNT, "description": "Pages of the list that are done."},
                "listed": {**_COUNT, "description": "Referrals on these pages that were asked for."},
                "requested": {
                    **_COUNT,
                    "description": "How many of them were requested: those not published yet, or with `all` every one.",
                },
                "startedAt": {**_TIME, "description": "When it started."},
                "updatedAt": {**_TIME, "description": "When it last came further."},
                "detail": {**_TEXT, "description": "Why it failed."},
            },
            "examples": [RUN],
        },
    }


def _answers() -> dict[str, Any]:
    return {
        "Queued": {
            "type": "object",
            "description": "The one referral asked for is queued.",
            "required": ["referralId", "status"],
            "properties": {
                "referralId": _OWN_ID,
                "status": {**_TEXT, "const": "queued", "description": "That it is queued."},
            },
            "examples": [QUEUED],
        },
        "Accepted": {
            "type": "object",
            "description": "What is queued: one referral (`referralId` and `status`), or the `results` of several.",
            "minProperties": 1,
            "properties": {
                "referralId": _OWN_ID,
                "status": {**_TEXT, "const": "queued", "description": "That the one referral is queued."},
                "results": {
                    **_list("Result", "What became of each item of `referralIds`."),
                    "minItems": 1,
                    "maxItems": MAX_BATCH,
                },
            },
            "examples": [QUEUED, RESULTS],
        },
        "Result": {
            "type": "object",
            "description": "What became of one item.",
            "required": ["index", "status"],
            "properties": {
                "index": {**_COUNT, "description": "Its place in `referralIds`."},
                "referralId": _OWN_ID,
                "status": {
                    **_TEXT,
                    "enum": ["queued", "invalid", "failed"],
                    "description": "`failed`: it could not be queued; ask for it again.",
                },
                "detail": {**_TEXT, "description": "Why it was not queued."},
            },
        },
        "Health": {
            "type": "object",
            "description": "The app can work.",
            "required": ["status"],
            "properties": {
                "status": {**_TEXT, "const": "ok", "description": "That it can."},
                "webhook": {
                    **_TEXT,
                    "description": "What is wrong with the webhook registration. Only with `STATE_URL`.",
                },
            },
            "examples": [{"status": "ok"}],
        },
        "Setting": {
            "type": "object",
            "description": "A setting, and the rule it breaks. Never its value.",
            "required": ["name", "rule"],
            "properties": {
                "name": {**_TEXT, "description": "The setting's name.", "examples": ["EVENTS_URL"]},
                "rule": {**_TEXT, "description": "What it must be.", "examples": ["is required"]},
            },
        },
        "Document": {
            "type": "object",
            "description": "An OpenAPI document.",
            "required": ["openapi"],
            "properties": {"openapi": {**_TEXT, "description": "The version of OpenAPI."}},
        },
        "Schema": {
            "type": "object",
            "description": "A JSON Schema.",
            "required": ["$schema", "$id"],
            "properties": {
                "$schema": {**_TEXT, "format": "uri", "description": "The dialect of JSON Schema."},
                "$id": {**_TEXT, "format": "uri", "description": "The schema's name, as in an event's `dataschema`."},
                "$comment": {**_TEXT, "description": "The schema's revision."},
            },
        },
    }


def _problem() -> dict[str, Any]:
    types = [problems.TYPE + reason for reason in problems.PROBLEMS]
    listed = ", ".join(f"`{reason}`" for reason in problems.PROBLEMS)
    return {
        "type": "object",
        "description": "Problem details (RFC 9457).",
        "required": ["type", "title", "status", "detail"],
        "properties": {
            "type": {
                **_TEXT,
                "examples": types,
                "description": f"`{problems.TYPE}` and the problem's name, by which docs/problems.md has it. Names "
                f"may be added. Today's: {listed}.",
            },
            "title": {**_TEXT, "description": "What the type means."},
            "status": {
                "type": "integer",
                "format": "int32",
                "minimum": 400,
                "maximum": 599,
                "description": "The HTTP status.",
            },
            "detail": {**_TEXT, "description": "What happened here."},
            "errors": _list("Finding", "The fields at fault."),
            "upstream": {"$ref": "#/components/schemas/Upstream"},
            "settings": _list("Setting", "The settings that are missing or invalid."),
            "results": _list("Result", "What became of each item, if none is queued."),
        },
    }


def _list(name: str, description: str) -> dict[str, Any]:
    return {"type": "array", "items": {"$ref": f"#/components/schemas/{name}"}, "description": description}
