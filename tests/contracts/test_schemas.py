"""The published JSON Schemas: they keep what was released, and state their revision."""

import copy
import json
import re
from collections.abc import Callable, Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pathspec
import pytest

from referral_fn.api import contracts
from referral_fn.referrals import events
from schemas import event_schemas, generate
from tests.conftest import App
from tests.contract import OPENAPI, ROOT, SCHEMAS, check_answer, check_event_data
from tests.documents import SEED_ID

ANNOTATIONS = {"$comment", "$id", "$schema", "description", "examples", "title"}
DEFINITIONS = {"$defs", "definitions"}
CHANGES = (ROOT / "docs" / "contract-changes.md").read_text(encoding="utf-8")
Schema = dict[str, Any]


def changes(released: Schema, published: Schema) -> list[str]:
    """What is no longer as it was released, apart from words and optional fields that were added.

    Events are kept and replayed, so those of old must fit the published schema; and consumers were built on the
    released one, so those of today must fit that. So a field may neither widen nor narrow, nor come to be required.
    """

    def resolved(schema: Schema, whole: Schema) -> Schema:
        return definitions(whole)[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema

    def compare(old: Schema, new: Schema, path: str) -> Iterator[str]:
        old, new = resolved(old, released), resolved(new, published)
        for keyword in (old.keys() | new.keys()) - ANNOTATIONS - {"properties", "items", *DEFINITIONS}:
            before, after = old.get(keyword), new.get(keyword)
            if isinstance(before, list) and isinstance(after, list):  # required, enum, type: in any order
                before, after = sorted(before), sorted(after)
            if before != after:
                yield f"{path}: {keyword}"
        for name, field in old.get("properties", {}).items():
            if name not in new.get("properties", {}):
                yield f"{path}/{name}: gone"
            else:
                yield from compare(field, new["properties"][name], f"{path}/{name}")
        if "items" in old or "items" in new:
            yield from compare(old.get("items", {}), new.get("items", {}), f"{path}/[]")

    return list(compare(released, published, ""))


def definitions(schema: Schema) -> dict[str, Schema]:
    """The named parts of a schema: revision 1.0 had them under `$defs`, later ones have them where every tool looks."""
    (name,) = schema.keys() & DEFINITIONS
    named: dict[str, Schema] = schema[name]
    return named


def released(path: str) -> Schema:
    """The schema as of the last release, which a release may extend by the fields it adds."""
    schema: Schema = json.loads((ROOT / "schemas" / "released" / Path(path).name).read_text(encoding="utf-8"))
    return schema


@pytest.mark.parametrize("path", generate.JSON_SCHEMAS)
def test_a_released_schema_keeps_its_promises(path: str) -> None:
    assert changes(released(path), generate.DOCUMENTS[path]) == []


REFERRAL = "schemas/partnercenter.referral.v1.json"


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda s: s["properties"].pop("deal"), "/deal: gone"),
        (lambda s: s["$defs"]["Contact"]["properties"].pop("email"), "/customer/contacts/[]/email: gone"),
        (lambda s: s["required"].remove("category"), ": required"),
        (lambda s: s["required"].append("engagementId"), ": required"),
        (lambda s: s["properties"]["category"]["enum"].append("Gift"), "/category: enum"),
        (lambda s: s["properties"]["category"]["enum"].remove("Unknown"), "/category: enum"),
        (lambda s: s["properties"]["name"].update(type=["string", "null"]), "/name: type"),
        (lambda s: s["properties"]["name"].update(maxLength=10), "/name: maxLength"),
        (lambda s: s["properties"]["createdAt"].pop("pattern"), "/createdAt: pattern"),
        (lambda s: s["$defs"]["Size"]["properties"]["min"].update(type="number"), "/customer/size/min: type"),
        (lambda s: s["$defs"]["Address"]["properties"]["lines"]["items"].clear(), "/customer/address/lines/[]: type"),
        (lambda s: s.update(additionalProperties=False), ": additionalProperties"),
    ],
)
def test_whatever_would_break_a_consumer_is_found(change: Callable[[Schema], Any], found: str) -> None:
    before = released(REFERRAL)
    after = copy.deepcopy(before)
    change(after)
    assert found in changes(before, after)


def test_a_field_may_be_added_and_words_may_change() -> None:
    before = released(REFERRAL)
    after = copy.deepcopy(before) | {"description": "Better words."}
    after["properties"]["score"] = {"type": "integer"}
    after["$defs"]["Deal"]["properties"]["margin"] = {"type": "string"}
    assert changes(before, after) == []


@pytest.mark.parametrize(
    ("field", "path"),
    [
        ({"score": 5}, "/score"),
        ({"customer": {"score": 5}}, "/customer/score"),
        ({"customer": {"contacts": [{}, {"score": 5}]}}, "/customer/contacts/1/score"),
    ],
)
def test_an_event_field_that_no_schema_names_is_found(field: dict[str, Any], path: str) -> None:
    data = {"referralId": SEED_ID, "category": "Unknown", "extra": {"anything": {"goes": 1}}}
    check_event_data({"type": events.REFERRAL_TYPE, "data": data})
    with pytest.raises(AssertionError, match=path):
        check_event_data({"type": events.REFERRAL_TYPE, "data": data | field})


def leaves(schema: Schema) -> set[str]:
    """The fields that a schema names anywhere, each as `Type.field`."""
    named = {schema["title"]: schema, **definitions(schema)}
    return {f"{title}.{name}" for title, part in named.items() for name in part.get("properties", {})}


@pytest.mark.parametrize("path", generate.JSON_SCHEMAS)
def test_every_field_that_was_added_is_listed_as_a_change(path: str) -> None:
    added = leaves(generate.DOCUMENTS[path]) - leaves(released(path))
    unlisted = [field for field in sorted(added) if f"`{field}`" not in CHANGES]
    assert unlisted == [], "add a line for each of these to docs/contract-changes.md, under a new revision"


@pytest.mark.parametrize("path", generate.JSON_SCHEMAS)
def test_a_schema_states_its_revision(path: str) -> None:
    schema = generate.DOCUMENTS[path]
    assert schema["$comment"] == f"revision {event_schemas.REVISION}"
    assert schema["description"].endswith(f" Revision {event_schemas.REVISION}.")
    revisions = re.findall(r"(?m)^## Revision (\d+\.\d+)", CHANGES)
    assert revisions == sorted(set(revisions), reverse=True)
    assert revisions[0] == event_schemas.REVISION


def test_an_event_names_the_schema_of_its_data() -> None:
    for event_type, uri in ((events.REFERRAL_TYPE, events.REFERRAL_SCHEMA), (events.REJECT_TYPE, events.REJECT_SCHEMA)):
        assert SCHEMAS[event_type]["$id"] == uri
        assert uri.rpartition(":")[2] in SCHEMAS, "the name by which the app serves it"


@pytest.mark.parametrize("name", SCHEMAS)
@pytest.mark.parametrize("suffix", ["", ".json"])
def test_the_app_serves_each_schema_to_be_cached(name: str, suffix: str) -> None:
    response = contracts.schema(name + suffix, {})
    check_answer("get", f"/schemas/{name}{suffix}", response.status, response.content_type, json.loads(response.body))
    assert json.loads(response.body) == SCHEMAS[name]
    assert "max-age" in response.headers["Cache-Control"]
    for known in (response.headers["ETag"], f'"other", W/{response.headers["ETag"]}', "*"):
        again = contracts.schema(name + suffix, {"if-none-match": known})
        assert (again.status, again.body, again.headers) == (HTTPStatus.NOT_MODIFIED, b"", response.headers)
    assert contracts.schema(name, {"if-none-match": '"other"'}).status == HTTPStatus.OK


@pytest.mark.parametrize(
    "name", [None, "", "nothing", "asyncapi", "../pyproject", "partnercenter.referral.v1.json.json"]
)
def test_no_other_name_is_served(name: str | None) -> None:
    response = contracts.schema(name, {})
    body = json.loads(response.body)
    check_answer("get", "/schemas/nothing", response.status, response.content_type, body)
    assert (response.status, body["type"]) == (HTTPStatus.NOT_FOUND, "urn:referral-fn:problem:schema-not-found")


def test_the_schemas_are_deployed_and_what_makes_them_is_not() -> None:
    ignored = pathspec.GitIgnoreSpec.from_lines((ROOT / ".funcignore").read_text(encoding="utf-8").splitlines())
    assert [name for name in SCHEMAS if ignored.match_file(f"schemas/{name}.json")] == []
    others = [
        path for path in (ROOT / "schemas").rglob("*.*") if path.stem not in SCHEMAS or path.parent.name != "schemas"
    ]
    assert [path for path in others if not ignored.match_file(path.relative_to(ROOT))] == []


async def test_the_app_describes_itself_to_anyone(app: App) -> None:
    answer, served = await app.get("openapi.json")
    assert (answer.status, served) == (200, OPENAPI)
    answer, served = await app.get(f"schemas/{events.REFERRAL_TYPE}")
    assert (answer.status, served) == (200, SCHEMAS[events.REFERRAL_TYPE])
    url, known = f"{app.host.url}/api/schemas/{events.REFERRAL_TYPE}", {"If-None-Match": answer.headers["ETag"]}
    async with app.session.get(url, headers=known) as again:
        assert (again.status, await again.read()) == (304, b"")
