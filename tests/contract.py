"""The published documents with which tests compare responses and messages, and the tools that read them."""

import asyncio
import functools
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
from referencing import Registry
from referencing.jsonschema import DRAFT7, DRAFT202012

from referral_fn.api import problems
from referral_fn.referrals import events

ROOT = Path(__file__).parent.parent
OPENAPI: dict[str, Any] = json.loads((ROOT / "referral_fn" / "api" / "openapi.json").read_text(encoding="utf-8"))
ASYNCAPI: dict[str, Any] = json.loads((ROOT / "schemas" / "asyncapi.json").read_text(encoding="utf-8"))
SCHEMAS: dict[str, dict[str, Any]] = {
    path.stem: json.loads(path.read_text(encoding="utf-8")) for path in (ROOT / "schemas").glob("partnercenter.*.json")
}
"""The published JSON Schemas by name: an event type for its data, and the same with `.event` for whole events."""
CONTRACTS = ROOT / ".venv" / "contracts"
PATH = os.pathsep.join([str(ROOT / ".venv" / "bin"), str(CONTRACTS / "node_modules" / ".bin"), os.environ["PATH"]])
_NAMES = {"urn:openapi": OPENAPI, "urn:asyncapi": ASYNCAPI}
_REGISTRY: Registry[Any] = Registry().with_resources(
    [
        *((name, DRAFT202012.create_resource(document)) for name, document in _NAMES.items()),
        *((schema["$id"], DRAFT7.create_resource(schema)) for schema in SCHEMAS.values()),
    ]
)


@functools.cache
def validator(reference: str) -> jsonschema.Draft202012Validator:
    """The validator of a JSON Schema by its `$id`, or of a part such as `urn:openapi#/components/schemas/Problem`."""
    formats = jsonschema.Draft202012Validator.FORMAT_CHECKER
    return jsonschema.Draft202012Validator({"$ref": reference}, registry=_REGISTRY, format_checker=formats)


def undeclared_fields(value: Any, schema: dict[str, Any], definitions: dict[str, Any], path: str = "") -> Iterator[str]:
    """Find the fields that a JSON Schema does not name. The published schemas are open: they allow such fields.

    An object whose schema names no field at all, such as `extra`, may have any.
    """
    if "$ref" in schema:
        schema = definitions[schema["$ref"].rpartition("/")[2]]
    if isinstance(value, dict) and "properties" in schema:
        for name, item in value.items():
            if name in schema["properties"]:
                yield from undeclared_fields(item, schema["properties"][name], definitions, f"{path}/{name}")
            else:
                yield f"{path}/{name}"
    elif isinstance(value, list) and "items" in schema:
        for index, item in enumerate(value):
            yield from undeclared_fields(item, schema["items"], definitions, f"{path}/{index}")


def check_event_data(event: dict[str, Any]) -> None:
    """Check that the published JSON Schema names every field in the data of an event."""
    schema = SCHEMAS[event["type"]]
    undeclared = list(undeclared_fields(event["data"], schema, schema["definitions"]))
    assert not undeclared, f"fields that the published schema does not name: {undeclared}"


def component(value: dict[str, Any]) -> dict[str, Any]:
    """A part of the OpenAPI document, or the component that it refers to."""
    if "$ref" not in value:
        return value
    _, _, kind, name = value["$ref"].split("/")
    referred: dict[str, Any] = OPENAPI["components"][kind][name]
    return referred


def check_answer(method: str, path: str, status: int, content_type: str, body: Any) -> None:
    """Compare a response with those documented for the operation. `path` excludes `/api`.

    The document names the problems of each response by its examples: the type of a problem is open.
    """
    (template,) = [known for known in OPENAPI["paths"] if re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", known), path)]
    answers = OPENAPI["paths"][template][method]["responses"]
    assert str(status) in answers, f"{method} {template} documents no {status}"
    contents = component(answers[str(status)]).get("content", {})
    if body is None:
        assert not contents, f"{method} {template} documents a body for {status}"
        return
    assert content_type in contents, f"{method} {template} documents no {content_type} for {status}"
    content = contents[content_type]
    validator(content["schema"]["$ref"].replace("#", "urn:openapi#", 1)).validate(body)
    if content_type == problems.CONTENT_TYPE:
        reason = body["type"].removeprefix(problems.TYPE)
        assert reason in content["examples"], f"{method} {template} documents no {reason} for {status}"
        assert body["status"] == status
    if content_type == events.CONTENT_TYPE:
        check_event_data(body)


async def run(*command: str, folder: Path = ROOT, **environment: str) -> str:
    """Run a command that must succeed, with the tools of the test environment on its path. Returns its output."""
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=folder,
        env={**os.environ, "PATH": PATH, "NO_COLOR": "1", **environment},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output = (await process.communicate())[0].decode()
    assert process.returncode == 0, output
    return output
