"""The HTTP API as a Postman collection, version 2.1, which Bruno and Insomnia import, too.

It is made from the OpenAPI document, with every call but the webhook, which only Partner Center can sign. Optional
headers are there, switched off.
"""

import json
from collections.abc import Iterator
from typing import Any

from schemas import openapi

_SCHEMA = "https://schema.getpostman.com/json/collection/v2.1.0/collection.json"
_BACKFILL = {"start": "startBackfill", "show": "showBackfill", "variable": "backfillId"}


def document() -> dict[str, Any]:
    """The collection. Its variables are to be set: `baseUrl` and `functionKey`."""
    api = openapi.document()
    local = api["servers"][1]["url"]
    return {
        "info": {"name": api["info"]["title"], "description": api["info"]["description"], "schema": _SCHEMA},
        "variable": [
            {"key": "baseUrl", "value": local, "description": api["servers"][0]["url"]},
            {"key": "functionKey", "value": "", "description": "A function key of the app; none is needed locally."},
            {"key": _BACKFILL["variable"], "value": "", "description": "Set by the call that starts a backfill."},
        ],
        "auth": {
            "type": "apikey",
            "apikey": [
                {"key": "in", "value": "header", "type": "string"},
                {"key": "key", "value": "x-functions-key", "type": "string"},
                {"key": "value", "value": "{{functionKey}}", "type": "string"},
            ],
        },
        "item": [
            {"name": tag["name"], "description": tag["description"], "item": items}
            for tag in api["tags"]
            if (items := list(_items(api, tag["name"])))
        ],
    }


def _items(api: dict[str, Any], tag: str) -> Iterator[dict[str, Any]]:
    """The requests of a tag: one for each example of a body."""
    for path, operations in api["paths"].items():
        for method, operation in operations.items():
            if operation["tags"] != [tag] or tag == "webhooks":
                continue
            content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
            bodies = content.get("examples") or {"": {}}
            for body in bodies.values():
                yield _item(method, path, operation, body)


def _item(method: str, path: str, operation: dict[str, Any], body: dict[str, Any]) -> dict[str, Any]:
    parameters = operation.get("parameters", [])
    route = path.replace("{", ":").replace("}", "")
    request: dict[str, Any] = {
        "method": method.upper(),
        "description": operation["description"],
        "url": {
            "raw": f"{{{{baseUrl}}}}{route}",
            "host": ["{{baseUrl}}"],
            "path": route.strip("/").split("/"),
            "variable": [_variable(operation, parameter) for parameter in parameters if parameter["in"] == "path"],
        },
        "header": [
            {"key": header["name"], "value": header["example"], "description": header["description"], "disabled": True}
            for header in parameters
            if header["in"] == "header"
        ],
    }
    if not operation["security"]:
        request["auth"] = {"type": "noauth"}
    if "value" in body:
        request["header"].append({"key": "Content-Type", "value": "application/json"})
        text = json.dumps(body["value"], indent=2)
        request["body"] = {"mode": "raw", "raw": text, "options": {"raw": {"language": "json"}}}
    name = " ".join([operation["summary"], *([f"({body['summary']})"] if body else [])])
    return {"name": name, "request": request, "event": [{"listen": "test", "script": {"exec": _script(operation)}}]}


def _variable(operation: dict[str, Any], parameter: dict[str, Any]) -> dict[str, Any]:
    value = parameter["example"]
    if operation["operationId"] == _BACKFILL["show"]:
        value = f"{{{{{_BACKFILL['variable']}}}}}"
    return {"key": parameter["name"], "value": value, "description": parameter["description"]}


def _script(operation: dict[str, Any]) -> list[str]:
    """What is run after a response: whether it is a success that is documented."""
    statuses = ", ".join(status for status in operation["responses"] if status < "4")
    lines = [f'pm.test("succeeds", () => pm.expect(pm.response.code).to.be.oneOf([{statuses}]));']
    if operation["operationId"] == _BACKFILL["start"]:
        lines.append(f'pm.collectionVariables.set("{_BACKFILL["variable"]}", pm.response.json().id);')
    return lines
