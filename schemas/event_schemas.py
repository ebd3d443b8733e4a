"""The JSON Schemas of the events, generated from the types that the app builds them with."""

import functools
from typing import Any

from pydantic import ConfigDict, TypeAdapter
from pydantic.json_schema import GenerateJsonSchema
from typing_extensions import is_typeddict

from referral_fn import errors
from referral_fn.referrals import events, referral_data, referral_parts
from referral_fn.state.published import COMPARISON
from schemas import event_examples

REVISION = "1.1"
"""The revision of every schema here. docs/contract-changes.md says what each revision changed."""

DIALECT = "http://json-schema.org/draft-07/schema#"
"""The newest dialect that all of the usual generators and validators read, and that validators expect by default."""

_DATA = {
    events.REFERRAL_TYPE: (events.REFERRAL_SCHEMA, referral_data.ReferralData),
    events.REJECT_TYPE: (events.REJECT_SCHEMA, events.RejectData),
}
"""By event type: the URI of the schema of its data, and the type of the data."""

_NAMES = {events.REFERRAL_TYPE: "ReferralEvent", events.REJECT_TYPE: "RejectEvent"}
_TEXT = {"type": "string"}
_ATTRIBUTES: dict[str, dict[str, Any]] = {
    "specversion": {**_TEXT, "const": "1.0", "description": "The version of CloudEvents."},
    "id": {**_TEXT, "description": "The same for the same snapshot of a referral, so duplicates can be found."},
    "source": {**_TEXT, "format": "uri", "description": "The URL of the referrals collection."},
    "subject": {**_TEXT, "format": "uuid", "description": "The referral's ID."},
    "time": {**_TEXT, "format": "date-time", "description": "When the referral changed, or was rejected."},
    "datacontenttype": {**_TEXT, "const": "application/json", "description": "The media type of `data`."},
    "partitionkey": {**_TEXT, "description": "The ID of the engagement, or of the referral if it has none."},
    "sequence": {
        **_TEXT,
        "description": "When the referral changed. Within a subject, the greater text is the later snapshot.",
    },
    "traceparent": {**_TEXT, "description": "W3C Trace Context, from the caller who asked for the referral."},
    "tracestate": {**_TEXT, "description": "W3C Trace Context, vendor-specific part."},
    "cause": {
        **_TEXT,
        "examples": ["referral-updated"],
        "description": "What led to the event: a notification, or `reconcile` or `backfill`.",
    },
    "previousid": {
        **_TEXT,
        "description": "The `id` of the event that was published last before this one. Only with the optional table.",
    },
    "changed": {
        **_TEXT,
        "pattern": "^[A-Za-z]+(,[A-Za-z]+)*$",
        "examples": ["etag,status,substatus,updatedAt"],
        "description": "The fields of `data` that differ from the event `previousid` names, sorted. Absent if none "
        "does, and on the first event.",
    },
    "outoforder": {
        **_TEXT,
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


@functools.cache
def published() -> dict[str, dict[str, Any]]:
    """Return every published schema by its name, by which the app serves it."""
    schemas: dict[str, dict[str, Any]] = {}
    for event_type in _DATA:
        schemas[event_type] = data_schema(event_type)
        schemas[f"{event_type}.event"] = event_schema(event_type)
    return schemas


def data_schema(event_type: str) -> dict[str, Any]:
    """Return the schema of an event type's data. It is open: a later revision may add fields."""
    uri, _ = _DATA[event_type]
    definitions, schema = _generated(event_type, "#/definitions/{model}")
    example = event_examples.of_type(event_type)["data"]
    return {**_head(uri), **_with_revision(schema), "examples": [example], "definitions": definitions}


def event_schema(event_type: str) -> dict[str, Any]:
    """Return the schema of whole events of a type: the attributes of CloudEvents, with the data."""
    definitions = components(event_type, "#/definitions/{model}")
    schema = definitions.pop(_NAMES[event_type])
    return {**_head(f"{_DATA[event_type][0]}.event"), **_with_revision(schema), "definitions": definitions}


def components(event_type: str, reference: str = "#/components/schemas/{model}") -> dict[str, Any]:
    """Return the schemas of an event type by their names, for another document. `reference` is how they refer."""
    uri, data = _DATA[event_type]
    name = _NAMES[event_type]
    definitions, schema = _generated(event_type, reference)
    attributes = {
        **{attribute: spec for attribute, spec in _ATTRIBUTES.items() if attribute not in _NEVER[event_type]},
        "type": {**_TEXT, "const": event_type, "description": "The kind of event, and the major version of its data."},
        "dataschema": {**_TEXT, "format": "uri", "const": uri, "description": "The name of the schema of `data`."},
        "data": {"$ref": reference.format(model=data.__name__)},
    }
    whole = {
        "title": name,
        "type": "object",
        "description": f"A CloudEvent 1.0 in structured JSON, of type `{event_type}`.",
        "required": [attribute for attribute in attributes if attribute not in _OPTIONAL[event_type]],
        "properties": attributes,
        "examples": [event_examples.of_type(event_type)],
    }
    return {**definitions, data.__name__: schema, name: whole}


@functools.cache
def _generated(event_type: str, reference: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The schema of an event type's data, after the definitions that it refers to."""
    schema = TypeAdapter(_DATA[event_type][1]).json_schema(schema_generator=_EventSchema, ref_template=reference)
    for name, field in schema["properties"].items():
        if "enum" in field:  # generators name the type of the field after it
            field["title"] = name[0].upper() + name[1:]
    return schema.pop("$defs"), schema


def _head(uri: str) -> dict[str, Any]:
    return {"$schema": DIALECT, "$id": uri, "$comment": f"revision {REVISION}"}


def _with_revision(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema with the revision in its description, where generated types show it."""
    return {**schema, "description": f"{schema['description']} Revision {REVISION}."}
