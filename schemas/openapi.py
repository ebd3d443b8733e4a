"""The HTTP API as an OpenAPI 3.1 document: the models and problems are the code's, the rest is checked against it."""

import functools
import tomllib
from pathlib import Path
from typing import Any

from referral_fn import __version__
from referral_fn.referrals.request import MAX_BODY, MAX_NOTIFICATION, TEST_EVENT
from schemas import event_schemas, openapi_models
from schemas.openapi_models import QUEUED, RESULTS, RUN, SEED_ID
from schemas.openapi_parameters import body, context, path_id, security_schemes
from schemas.openapi_responses import components, headers, json_response, problem_examples, responses

_PROJECT = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]
_KEYED: list[dict[str, list[str]]] = [{"functionKey": []}]
_SYNCHRONOUS = ("ReferralNotFound", "ForwardingFailed", "ForwardingUnavailable", "UpstreamTimeout")
_PREFERENCE = {"Preference-Applied": {"$ref": "#/components/headers/PreferenceApplied"}}
_EVENT = {"$ref": "#/components/responses/Event"}
_CACHING = {name: {"$ref": f"#/components/headers/{name.replace('-', '')}"} for name in ("ETag", "Cache-Control")}


@functools.cache
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
        "servers": [
            {
                "url": "https://{host}/api",
                "description": "Production: the app in Azure.",
                "x-internal": False,
                "variables": {
                    "host": {
                        "default": "contoso-referrals.azurewebsites.net",
                        "description": "The app's default host name, or a custom domain.",
                    }
                },
            },
            {
                "url": "http://127.0.0.1:7071/api",
                "description": "Local: the app on this machine (`make run`).",
                "x-internal": True,
            },
        ],
        "tags": [
            {"name": "referrals", "description": "Asking for referrals."},
            {"name": "webhooks", "description": "Notifications of referrals."},
            {"name": "operations", "description": "Operating the app."},
            {"name": "contracts", "description": "Descriptions for programs and generators."},
        ],
        "paths": {
            "/referrals/{referralId}": {"post": _forward()},
            "/referrals": {"post": _request()},
            "/webhooks/partner-center": {"post": _webhook()},
            "/backfills": {"post": _start_backfill()},
            "/backfills/{id}": {"get": _show_backfill()},
            "/health": {"get": _health()},
            "/openapi.json": {"get": _openapi()},
            "/schemas/{name}": {"get": _schema()},
        },
        "components": {
            "securitySchemes": security_schemes(),
            "headers": headers(),
            "responses": components(),
            "examples": problem_examples(),
            "schemas": openapi_models.components(),
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
        "parameters": [path_id("referralId", "A GUID, in any case.", SEED_ID), *context()],
        "responses": {
            "200": _EVENT,
            "202": json_response(
                "The request is on the requests queue.", "Queued", {"queued": QUEUED}, headers=_PREFERENCE
            ),
            **responses("InvalidRequest", *_SYNCHRONOUS),
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
        "parameters": context(),
        "requestBody": body(
            {"$ref": "#/components/schemas/ReferralsRequest"},
            {
                "one": {"summary": "One referral.", "value": {"referralId": SEED_ID}},
                "many": {"summary": "Several referrals.", "value": {"referralIds": [SEED_ID]}},
            },
        ),
        "responses": {
            "200": _EVENT,
            "202": json_response(
                "Queued: the one referral, if the caller prefers that, or at least one of several.",
                "Accepted",
                {"one": QUEUED, "many": RESULTS},
                headers=_PREFERENCE,
            ),
            **responses("InvalidRequest", "LengthRequired", "RequestTooLarge", *_SYNCHRONOUS),
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
        "parameters": context()[1:],
        "requestBody": body(
            {"$ref": "#/components/schemas/Notification"},
            {
                "changed": {"summary": "A referral has changed.", "value": openapi_models.notification()},
                "test": {"summary": "A test of the webhook.", "value": {"EventName": TEST_EVENT}},
            },
        ),
        "responses": {
            "200": {"description": f"The answer to `{TEST_EVENT}`: the webhook works."},
            "202": {"description": "The request is on the requests queue."},
            "204": {"description": "The notification is about something else, and is ignored."},
            **responses(
                *("InvalidRequest", "InvalidSignature", "RequestTooLarge", "TokenUnavailable"),
                "NotificationUnavailable",
                key=False,
            ),
        },
    }


def _start_backfill() -> dict[str, Any]:
    return {
        "operationId": "startBackfill",
        "tags": ["operations"],
        "summary": "Load everything that Partner Center lists",
        "description": "Requests each listed referral that was not published yet, or with `all` every one, page by "
        "page. Only with `STATE_URL`.",
        "security": _KEYED,
        "requestBody": body(
            {"$ref": "#/components/schemas/BackfillRequest"},
            {
                "active": {"summary": "Active referrals only.", "value": {"status": "Active"}},
                "all": {"summary": "Everything once more.", "value": {"all": True}},
            },
            required=False,
        ),
        "responses": {
            "202": json_response(
                "The run has started.",
                "Backfill",
                {"running": RUN},
                headers={"Location": {"$ref": "#/components/headers/Location"}},
            ),
            **responses(
                *("InvalidRequest", "LengthRequired", "RequestTooLarge", "TokenUnavailable"), "BackfillUnavailable"
            ),
        },
    }


def _show_backfill() -> dict[str, Any]:
    finished = {**RUN, "status": "finished", "pages": 14, "listed": 1380, "requested": 1365}
    return {
        "operationId": "showBackfill",
        "tags": ["operations"],
        "summary": "Say how far a backfill has come",
        "description": "Only with `STATE_URL`. A run ends before the referrals that it requested last are forwarded.",
        "security": _KEYED,
        "parameters": [path_id("id", "The run's ID, from the answer that started it.", str(RUN["id"]))],
        "responses": {
            "200": json_response("The run.", "Backfill", {"running": RUN, "finished": finished}),
            **responses("InvalidRequest", "BackfillNotFound", "TokenUnavailable", "BackfillUnavailable"),
        },
    }


def _health() -> dict[str, Any]:
    return {
        "operationId": "readHealth",
        "tags": ["operations"],
        "summary": "Say whether the settings are right",
        "description": "Also says whether the user's consent is valid, as far as this worker knows.",
        "security": [],
        "responses": {
            "200": json_response("They are.", "Health", {"ok": {"status": "ok"}}),
            **responses("NotReady", key=False),
        },
    }


def _openapi() -> dict[str, Any]:
    return {
        "operationId": "describe",
        "tags": ["contracts"],
        "summary": "Describe this API",
        "description": "This document.",
        "security": [],
        "responses": {
            "200": json_response("OpenAPI 3.1.", "Document", {"document": {"openapi": "3.1.1"}}),
            **responses(key=False),
        },
    }


def _schema() -> dict[str, Any]:
    names = list(event_schemas.published())
    example = {name: event_schemas.published()[names[0]][name] for name in ("$schema", "$id", "$comment")}
    answer = json_response("The schema.", "Schema", {"head": example}, headers=_CACHING)
    answer["content"] = {"application/schema+json": answer["content"].pop("application/json")}
    return {
        "operationId": "readSchema",
        "tags": ["contracts"],
        "summary": "Read a published JSON Schema",
        "description": "The schemas of events and of their data, by name: "
        f"{', '.join(f'`{name}`' for name in names)}. Without a key, and cacheable.",
        "security": [],
        "parameters": [
            {
                "name": "name",
                "in": "path",
                "required": True,
                "description": "The schema's name: what follows `urn:referral-fn:schema:` in `dataschema`. `.json` "
                "may follow it.",
                "schema": {"type": "string", "pattern": r"^[a-z0-9.-]+$", "maxLength": 100},
                "example": names[0],
            },
            {
                "name": "If-None-Match",
                "in": "header",
                "required": False,
                "description": "An `ETag` that the caller has: if the schema is the same, the answer is 304.",
                "schema": {"type": "string"},
                "example": '"5f2b1c"',
            },
        ],
        "responses": {
            "200": answer,
            "304": {"description": "The caller has this version.", "headers": _CACHING},
            **responses("SchemaNotFound", key=False),
        },
    }
