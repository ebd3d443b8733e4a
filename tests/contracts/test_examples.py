"""The published examples: valid, one for each case, and together they show every field."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_structured_event

from referral_fn.api import problems
from referral_fn.referrals import events
from referral_fn.referrals.outcome import REJECT_REASONS
from referral_fn.referrals.request import BACKFILL, RECONCILE, REFERRAL_EVENTS
from schemas import generate
from tests.contract import OPENAPI, ROOT, SCHEMAS, check_event_data, validator


def example(path: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((ROOT / path).read_text(encoding="utf-8"))
    return document


EVENTS = {path: example(path) for path in generate.EVENTS}
PROBLEMS = {path: example(path) for path in generate.PROBLEMS}


@pytest.mark.parametrize("path", EVENTS)
def test_an_event_is_as_its_schemas_say(path: str) -> None:
    event = EVENTS[path]
    validator(SCHEMAS[f"{event['type']}.event"]["$id"]).validate(event)
    validator(event["dataschema"]).validate(event["data"])
    check_event_data(event)


@pytest.mark.parametrize("path", EVENTS)
def test_the_python_sdk_of_cloudevents_takes_an_event_whole(path: str) -> None:
    sent = EVENTS[path]
    body = (ROOT / path).read_bytes()
    taken = from_structured_event(HTTPMessage({"content-type": events.CONTENT_TYPE}, body))
    attributes = taken.get_attributes()
    assert taken.get_data() == sent["data"]
    assert {*attributes} == sent.keys() - {"data"}
    assert [name for name, value in attributes.items() if name != "time" and value != sent[name]] == []


@pytest.mark.parametrize("name", SCHEMAS)
def test_the_schema_of_the_data_is_not_that_of_the_event(name: str) -> None:
    event = next(event for event in EVENTS.values() if event["type"] == name.removesuffix(".event"))
    whole = name.endswith(".event")
    assert validator(SCHEMAS[name]["$id"]).is_valid(event) == whole
    assert validator(SCHEMAS[name]["$id"]).is_valid(event["data"]) != whole


@pytest.mark.parametrize("path", PROBLEMS)
def test_a_problem_is_as_the_api_describes_it(path: str) -> None:
    validator("urn:openapi#/components/schemas/Problem").validate(PROBLEMS[path])


def test_each_case_has_an_example() -> None:
    rejects = {event["data"]["reason"] for event in EVENTS.values() if event["type"] == events.REJECT_TYPE}
    assert rejects == set(REJECT_REASONS)
    assert {event.get("cause") for event in EVENTS.values()} >= {*REFERRAL_EVENTS, RECONCILE, BACKFILL}
    assert {problem["type"] for problem in PROBLEMS.values()} == {problems.TYPE + name for name in problems.PROBLEMS}
    referrals = [event["data"] for event in EVENTS.values() if event["type"] == events.REFERRAL_TYPE]
    for field in ("deal", "warnings", "invite", "targets", "omitted"):
        assert any(field in data for data in referrals), field


def fields(schema: dict[str, Any], definitions: dict[str, Any], path: str = "") -> Iterator[str]:
    """The path of every field that a schema names."""
    if "$ref" in schema:
        schema = definitions[schema["$ref"].rpartition("/")[2]]
    for name, field in schema.get("properties", {}).items():
        yield f"{path}/{name}"
        yield from fields(field, definitions, f"{path}/{name}")
    if "items" in schema:
        yield from fields(schema["items"], definitions, path)


def shown(value: Any, path: str = "") -> Iterator[str]:
    """The path of every field that a document has."""
    if isinstance(value, dict):
        for name, item in value.items():
            yield f"{path}/{name}"
            yield from shown(item, f"{path}/{name}")
    elif isinstance(value, list):
        for item in value:
            yield from shown(item, path)


@pytest.mark.parametrize("event_type", [events.REFERRAL_TYPE, events.REJECT_TYPE])
def test_the_examples_show_every_field_of_an_event(event_type: str) -> None:
    schema = SCHEMAS[f"{event_type}.event"]
    visible = {path for event in EVENTS.values() if event["type"] == event_type for path in shown(event)}
    unseen = set(fields(schema, schema["definitions"])) - visible
    assert unseen == set(), (
        "no example has these fields: give them a value in `today` of local_stack/stand_ins/referrals.py, where "
        "Partner Center has them, then run `make schemas`"
    )


def test_the_examples_show_every_field_of_a_problem() -> None:
    definitions = OPENAPI["components"]["schemas"]
    visible = {path for problem in PROBLEMS.values() for path in shown(problem)}
    visible |= {f"/results{path}" for path in ("/referralId",)}  # a problem has results only if none is queued
    assert set(fields(definitions["Problem"], definitions)) - visible == set()
