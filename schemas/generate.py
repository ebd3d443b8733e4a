"""Write the published JSON Schemas from the types the app builds its events of: `python -m schemas.generate`."""

import json
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema

from referral_fn import event

FOLDER = Path(__file__).parent
SCHEMAS = {
    event.REFERRAL_TYPE: (event.REFERRAL_SCHEMA, event.ReferralData),
    event.REJECT_TYPE: (event.REJECT_SCHEMA, event.RejectData),
}
"""By event type: the schema's URI, and the type of the event's data."""


class _Untitled(GenerateJsonSchema):
    """Pydantic titles every field by its name, which says nothing twice."""

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002 - the parent's signature
        return False


def schema_of(event_type: str) -> dict[str, Any]:
    """The JSON Schema 2020-12 of an event type's data. Open: a later minor version may add fields."""
    uri, data = SCHEMAS[event_type]
    schema = TypeAdapter(data).json_schema(schema_generator=_Untitled)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": uri, **schema}


def text_of(event_type: str) -> str:
    """The schema as it is published."""
    return json.dumps(schema_of(event_type), indent=2) + "\n"


if __name__ == "__main__":
    for name in SCHEMAS:
        (FOLDER / f"{name}.json").write_text(text_of(name))
