"""The JSON Schemas of the events, and examples, from the types the app builds them of."""

import json
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, TypeAdapter
from pydantic.json_schema import GenerateJsonSchema
from typing_extensions import is_typeddict

from referral_fn import errors
from referral_fn.referrals import events, referral_data, referral_parts
from referral_fn.referrals.normalization import normalize
from referral_fn.referrals.wire import read_referral
from referral_fn.state.published import COMPARISON

SOURCE = "https://api.partner.microsoft.com/v1/referrals"
SCHEMAS = {
    events.REFERRAL_TYPE: (events.REFERRAL_SCHEMA, referral_data.ReferralData),
    events.REJECT_TYPE: (events.REJECT_SCHEMA, events.RejectData),
}
"""By event type: the schema's URI, and the type of the event's data."""

_SEED = Path(__file__).parent.parent / "local_stack" / "stand_ins" / "seed_referral.json"
_MISSING = "0d2e0e65-3bb4-4c5f-9d51-6d6a8b3f6a10"
_ATTRIBUTES = {
    "specversion": {"const": "1.0", "description": "The version of CloudEvents."},
    "id": {"type": "string", "description": "The same for the same snapshot of a referral: duplicates have the same."},
    "source": {"type": "string", "format": "uri", "description": "The URL of the referrals collection."},
    "subject": {"type": "string", "format": "uuid", "description": "The referral's ID."},
    "time": {"type": "string", "format": "date-time", "description": "When the referral changed, or was rejected."},
    "datacontenttype": {"const": "application/json", "description": "What `data` is."},
    "partitionkey": {"type": "string", "description": "The engagement's ID, else the referral's."},
    "sequence": {
        "type": "string",
        "description": "When the referral changed. Within a subject, the greater text is the later snapshot.",
    },
    "traceparent": {"type": "string", "description": "W3C Trace Context, from whoever asked for the referral."},
    "tracestate": {"type": "string", "description": "The same."},
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
"""The attributes of an event, but for those that its type fixes."""

_OPTIONAL = {
    events.REFERRAL_TYPE: {"time", "sequence", "traceparent", "tracestate", "cause", *COMPARISON},
    events.REJECT_TYPE: {"subject", "traceparent", "tracestate", "cause"},
}
_NEVER = {events.REFERRAL_TYPE: set[str](), events.REJECT_TYPE: {"partitionkey", "sequence", *COMPARISON}}

for types in (events, referral_data, referral_parts, errors):
    for member in vars(types).values():
        if is_typeddict(member):  # their fields' docstrings are the schema's descriptions
            member.__pydantic_config__ = ConfigDict(use_attribute_docstrings=True)


class _EventSchema(GenerateJsonSchema):
    """JSON Schema as published: without titles that repeat field names, and without null, which no event contains."""

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002 - the parent's signature
        return False

    def nullable_schema(self, schema: Any) -> dict[str, Any]:
        return self.generate_inner(schema["schema"])


def schema_of(event_type: str) -> dict[str, Any]:
    """The JSON Schema 2020-12 of an event type's data. Open: a later minor version may add fields."""
    uri, data = SCHEMAS[event_type]
    schema = TypeAdapter(data).json_schema(schema_generator=_EventSchema)
    said = {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": uri, **schema}
    return {**said, "examples": [example(event_type)["data"]]}


def components(event_type: str, name: str) -> dict[str, Any]:
    """The same as `components/schemas` of another document, beside the whole event's, which is called `name`."""
    uri, data = SCHEMAS[event_type]
    reference = "#/components/schemas/{model}"
    schema = TypeAdapter(data).json_schema(schema_generator=_EventSchema, ref_template=reference)
    shared = schema.pop("$defs")
    attributes = {
        **{attribute: said for attribute, said in _ATTRIBUTES.items() if attribute not in _NEVER[event_type]},
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
    """An event: of the documentation's own referral; or a reject: of a referral that there is not."""
    if event_type == events.REFERRAL_TYPE:
        seed = _SEED.read_bytes()
        made = normalize(read_referral(seed, json.loads(seed)["id"]), collection=SOURCE)
        return made.document()
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
