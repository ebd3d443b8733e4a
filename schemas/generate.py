"""Generate the published documents from the app's code: `make schemas`."""

import json
from pathlib import Path
from typing import Any

from local_stack.stand_ins.referrals import SEED, today
from referral_fn.referrals import events
from schemas import asyncapi, event_schemas, openapi

ROOT = Path(__file__).parent.parent
_TODAY = today("Example of a co-sell opportunity")

JSON_SCHEMAS = {f"schemas/{name}.json": event_schemas.schema_of(name) for name in event_schemas.SCHEMAS}
EXAMPLES: dict[str, dict[str, Any]] = {
    "schemas/examples/referral-2018.json": event_schemas.referral_event(SEED),
    "schemas/examples/referral-today.json": event_schemas.referral_event(_TODAY),
    "schemas/examples/referral-without-people.json": event_schemas.referral_event(_TODAY, "none"),
    "schemas/examples/reject.json": event_schemas.example(events.REJECT_TYPE),
}
DOCUMENTS: dict[str, dict[str, Any]] = {
    **JSON_SCHEMAS,
    **EXAMPLES,
    "schemas/asyncapi.json": asyncapi.document(),
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
