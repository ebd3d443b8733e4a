"""Stores the CRM's ID of a referral in Partner Center, without answering the event of its own write."""

import json
from typing import Any


def write_back(event: dict[str, Any], crm_id: str) -> tuple[dict[str, str], bytes] | None:
    """Return the headers and the body of the PATCH that stores the CRM's ID; None if there is nothing to do."""
    data = event["data"]
    if data["side"] != "partner" or "etag" not in data or "/externalReferenceId" in data.get("omitted", ()):
        return None
    if data.get("externalReferenceId") == crm_id:
        return None
    patch = [{"op": "add", "path": "/externalReferenceId", "value": crm_id}]
    return {"Content-Type": "application/json", "If-Match": data["etag"]}, json.dumps(patch).encode()
