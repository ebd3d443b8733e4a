"""Write what others build on, from the app's own code: `make schemas`."""

import json
from pathlib import Path
from typing import Any

from schemas import asyncapi, event_schemas, openapi

ROOT = Path(__file__).parent.parent
JSON_SCHEMAS = {f"schemas/{name}.json": event_schemas.schema_of(name) for name in event_schemas.SCHEMAS}
DOCUMENTS: dict[str, dict[str, Any]] = {
    **JSON_SCHEMAS,
    "schemas/asyncapi.json": asyncapi.document(),
    "referral_fn/api/openapi.json": openapi.document(),  # deployed, for the app serves it
}
"""By path."""


def text_of(path: str) -> str:
    """A document as it is published."""
    return json.dumps(DOCUMENTS[path], indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    for path in DOCUMENTS:
        (ROOT / path).write_text(text_of(path), encoding="utf-8")
