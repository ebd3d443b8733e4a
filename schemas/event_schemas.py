"""The JSON Schemas of the events, generated from the types that the app builds them with; and example events."""

import json
from typing import Any

from pydantic import ConfigDict, TypeAdapter
from pydantic.json_schema import GenerateJsonSchema
from typing_extensions import is_typeddict

from local_stack.stand_ins.referrals import SEED
from referral_fn import errors
from referral_fn.referrals import events, referral_data, referral_parts
from referral_fn.referrals.contact_policy import Policy
from referral_fn.referrals.normalization import normalize
from referral_fn.referrals.wire import read_referral
from referral_fn.state.published import COMPARISON

SOURCE = "https://api.partner.microsoft.com/v1/referrals"
SCHEMAS = {
    events.REFERRAL_TYPE: (events.REFERRAL_SCHEMA, referral_data.ReferralData),
    events.REJECT_TYPE: (events.REJECT_SCHEMA, events.RejectData),
}
"""By event type: the URI of the schema, and the type of the data."""

_MISSING = "0d2e0e65-3bb4-4c5f-9d51-6d6a8b3f6a10"
_ATTRIBUTES = {
    "specversion": {"const": "1.0", "description": "The version of CloudEvents."},
    "id": {
        "type": "string",
        "description": "The same for the same snapshot of a referral, so duplicates can be found.",
    },
    "source": {"type": "string", "format": "uri", "description": "The URL of the referrals collection."},
    "subject": {"type": "string", "format": "uuid", "description": "The referral's ID."},
    "time": {"type": "string", "format": "date-time", "description": "When the referral changed, or was rejected."},
    "datacontenttype": {"const": "application/json", "description": "The media type of `data`."},
    "partitionkey": {"type": "string", "description": "The ID of the engagement, or of the referral if it has none."},
    "sequence": {
        "type": "string",
        "description": "When the referral changed. Within a subject, the greater text is the later snapshot.",
    },
    "traceparent": {"type": "string", "description": "W3C Trace Context, from the caller who asked for the referral."},
    "tracestate": {"type": "string", "description": "W3C Trace Context, vendor-specific part."},
    "cause": {
        "type": "string",
        "examples": ["referral-updated"],
        "description": "What led to the event: a notification, or `reconcile` or `backfill`.",
    },
    "previousid": {
        "type": "string",
        "description": "The `id` of the event that was published last before this one. Only with the optional table.",
    },
    "changed": {
        "type": "string",
        "pattern": "^[A-Za-z]+(,[A-Za-z]+)*$",
        "examples": ["etag,status,substatus,updatedAt"],
        "description": "The fields of `data` that differ from the event `previousid` names, sorted. Absent if none "
        "does, and on the first event.",
    },
    "outoforder": {
        "const": "true",
        "description": "Present if the referral is older than the one in the event that `previousid` names.",
    },
}
"""The attributes of an event, except those that its type fixes."""

_OPTIONAL = {
    events.REFERRAL_TYPE: {"time", "sequence", "traceparent", "tracestate", "cause", *COMPARISON},
    events.REJECT_TYPE: {"subject", "traceparent", "tracestate", "cause"},
}
_NEVER = {events.REFERRAL_TYPE: set[str](), events.REJECT_TYPE: {"partitionkey", "sequence", *COMPARISON}}

for types in (events, referral_data, referral_parts, errors):
    for member in vars(types).values():
        if is_typeddict(member):  # the docstrings of the fields become descriptions
            member.__pydantic_config__ = ConfigDict(use_attribute_docstrings=True)


class _EventSchema(GenerateJsonSchema):
    """JSON Schema as published: without titles that repeat field names, and without null, which no event contains."""

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002 - the parent's signature
        return False

    def nullable_schema(self, schema: Any) -> dict[str, Any]:
        return self.generate_inner(schema["schema"])


def schema_of(event_type: str) -> dict[str, Any]:
    """Return the JSON Schema 2020-12 of an event type's data. It is open: a later minor version may add fields."""
    uri, data = SCHEMAS[event_type]
    schema = TypeAdapter(data).json_schema(schema_generator=_EventSchema)
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": uri}
    return {**head, **schema, "examples": [example(event_type)["data"]]}


def components(event_type: str, name: str) -> dict[str, Any]:
    """Return the same as `components/schemas` of another document, with the schema of the whole event as `name`."""
    uri, data = SCHEMAS[event_type]
    reference = "#/components/schemas/{model}"
    schema = TypeAdapter(data).json_schema(schema_generator=_EventSchema, ref_template=reference)
    shared = schema.pop("$defs")
    attributes = {
        **{attribute: spec for attribute, spec in _ATTRIBUTES.items() if attribute not in _NEVER[event_type]},
        "type": {"const": event_type, "description": "The kind of event, and the major version of its data."},
        "dataschema": {"const": uri, "description": "The schema of `data`."},
        "data": {"$ref": reference.format(model=data.__name__)},
    }
    whole = {
        "type": "object",
        "description": f"CloudEvents 1.0 in structured JSON, of type `{event_type}`.",
        "required": [attribute for attribute in attributes if attribute not in _OPTIONAL[event_type]],
        "properties": attributes,
        "examples": [example(event_type)],
    }
    return {**shared, data.__name__: schema, name: whole}


def example(event_type: str) -> dict[str, Any]:
    """Return an example: the event of the documented referral of 2018, or the reject of a referral that is missing."""
    return referral_event(SEED) if event_type == events.REFERRAL_TYPE else _reject()


def referral_event(referral: dict[str, Any], policy: Policy = "full") -> dict[str, Any]:
    """Return the event of a referral as Partner Center sends it."""
    wire = read_referral(json.dumps(referral).encode(), referral["id"])
    return normalize(wire, collection=SOURCE, policy=policy).document()


def _reject() -> dict[str, Any]:
    upstream = errors.Upstream(status=404, code="itemNotFound", clientRequestId="7c1a3f52-9f0e-4a51-8b57-1a0c9a2a7f7e")
    data = events.RejectData(
        reason="referral-not-found",
        detail="Partner Center answered 404",
        attempts=0,
        referralId=_MISSING,
        firstSeen="2026-01-14T16:06:01.250000Z",
        upstream=upstream,
    )
    reject = events.Event(
        id="3f0c7a3e-52f5-4a7e-8f2c-9a4f6f6d9b11",
        source=SOURCE,
        type=events.REJECT_TYPE,
        dataschema=events.REJECT_SCHEMA,
        data=data,
        subject=_MISSING,
        time="2026-01-14T16:06:02.480000Z",
    )
    return reject.document()
