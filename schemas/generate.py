"""Generate the published documents from the app's code: `make schemas`."""

import json
from pathlib import Path
from typing import Any

from schemas import asyncapi, event_examples, event_schemas, openapi, postman, problem_examples

ROOT = Path(__file__).parent.parent

JSON_SCHEMAS = {f"schemas/{name}.json": schema for name, schema in event_schemas.published().items()}
EVENTS = {f"schemas/examples/{name}.json": event for name, event in event_examples.EVENTS.items()}
PROBLEMS = {f"schemas/examples/problem-{reason}.json": problem for reason, problem in problem_examples.PROBLEMS.items()}
DOCUMENTS: dict[str, dict[str, Any]] = {
    **JSON_SCHEMAS,
    **EVENTS,
    **PROBLEMS,
    "schemas/asyncapi.json": asyncapi.document(),
    "schemas/postman.json": postman.document(),
    "referral_fn/api/openapi.json": openapi.document(),  # in the package, because the app serves it
}
"""The documents by path."""


def text_of(path: str) -> str:
    """Return a document as it is published."""
    return json.dumps(DOCUMENTS[path], indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    for path in DOCUMENTS:
        (ROOT / path).parent.mkdir(exist_ok=True)
        (ROOT / path).write_text(text_of(path), encoding="utf-8")
