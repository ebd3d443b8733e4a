"""What others build on: the published descriptions, held against the code, the linters and real messages."""

import copy
import json
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from local_stack.stack import Stack
from local_stack.stand_ins import service_bus
from local_stack.stand_ins.webhooks import CERTIFICATE_PATH
from referral_fn.api import problems
from referral_fn.referrals import events
from referral_fn.referrals.messages import FILTER_PROPERTIES
from schemas import generate
from tests.conftest import App, StartApp, eventually_holds
from tests.contract import ASYNCAPI, CONTRACTS, OPENAPI, ROOT, check_event_data, run, validator
from tests.documents import SEED_ID

BOTH_KINDS = True
ANNOTATIONS = {"$id", "$schema", "description", "examples", "title"}
Schema = dict[str, Any]


@pytest.mark.parametrize("path", generate.DOCUMENTS)
def test_what_is_published_is_in_step_with_the_code(path: str) -> None:
    assert (ROOT / path).read_text(encoding="utf-8") == generate.text_of(path), "run `make schemas`"


@pytest.mark.parametrize("path", generate.JSON_SCHEMAS)
def test_every_field_is_described(path: str) -> None:
    def fields(schema: Any, where: str) -> Iterator[str]:
        for name, field in schema.get("properties", {}).items():
            yield from [] if field.keys() & {"description", "$ref"} else [f"{where}/{name}"]
        for name, definition in schema.get("$defs", {}).items():
            yield from fields(definition, name)

    assert list(fields(generate.DOCUMENTS[path], "")) == []


@pytest.mark.e2e
@pytest.mark.parametrize(
    "command",
    [
        ("spectral", "lint", "--ruleset", "schemas/.spectral.yaml", "--fail-severity", "hint"),
        ("redocly", "lint", "--config", "schemas/redocly.yaml"),
    ],
    ids=lambda command: command[0],
)
async def test_the_linters_find_nothing(command: tuple[str, ...]) -> None:
    assert CONTRACTS.exists(), "the linters are not installed here: `make test` installs them"
    await run(*command, "referral_fn/api/openapi.json", "schemas/asyncapi.json")


def changes(released: Schema, published: Schema) -> list[str]:
    """What is no longer as it was released, apart from words and optional fields that were added.

    Events are kept and replayed, so those of old must fit the published schema; and consumers were built on the
    released one, so those of today must fit that. Hence a field may neither widen nor narrow, nor come to be required.
    """

    def resolved(schema: Schema, whole: Schema) -> Schema:
        return whole["$defs"][schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema

    def compare(old: Schema, new: Schema, path: str) -> Iterator[str]:
        old, new = resolved(old, released), resolved(new, published)
        for keyword in (old.keys() | new.keys()) - ANNOTATIONS - {"properties", "items", "$defs"}:
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


@pytest.mark.parametrize("path", generate.EXAMPLES)
def test_the_example_events_are_as_described(path: str) -> None:
    event = json.loads((ROOT / path).read_text(encoding="utf-8"))
    name = "ReferralEvent" if event["type"] == events.REFERRAL_TYPE else "RejectEvent"
    validator(f"urn:asyncapi#/components/schemas/{name}").validate(event)
    check_event_data(event)


def test_every_problem_type_is_an_answer_of_some_operation() -> None:
    answers = [
        answer
        for operations in OPENAPI["paths"].values()
        for operation in operations.values()
        for status, answer in operation["responses"].items()
        if problems.CONTENT_TYPE in answer.get("content", {})
    ]
    types = {
        name
        for answer in answers
        for name in answer["content"][problems.CONTENT_TYPE]["schema"]["properties"]["type"]["enum"]
    }
    assert types == {problems.TYPE + reason for reason in problems.PROBLEMS}


def test_every_problem_type_has_its_section() -> None:
    text = (ROOT / "docs" / "problems.md").read_text(encoding="utf-8")
    section = (
        r'<a id="(.+?)"></a>\n\n## (.+?)\n\n(\d+), \*(.+?)\*\n\n\*\*What it means\*\*: .+?\n\n\*\*What to do\*\*: .'
    )
    sections = re.findall(section, text, re.DOTALL)
    assert sections == [
        (problems.TYPE + reason, reason, str(status), title) for reason, (status, title) in problems.PROBLEMS.items()
    ]
    assert text.count("<a id=") == len(sections)


async def test_the_app_serves_its_description_to_anyone(app: App) -> None:
    answer, served = await app.get("openapi.json")
    assert (answer.status, served) == (200, OPENAPI)


@pytest.mark.storage_only
async def test_schemathesis_finds_nothing(start_app: StartApp, stack: Stack, tmp_path: Path) -> None:
    key = stack.webhooks.signer.key
    assert isinstance(key, rsa.RSAPrivateKey)
    pem = tmp_path / "key.pem"
    pem.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    async with start_app(STATE_URL=await stack.fresh_table()) as app:
        report = await run(
            *(sys.executable, "-m", "schemathesis.cli", "--config-file", "tests/schemathesis.toml", "run"),
            *("referral_fn/api/openapi.json", "--url", f"{app.host.url}/api"),
            SIGNING_KEY=str(pem),
            CERTIFICATE_URL=f"https://{stack.webhooks.certificate_host}{CERTIFICATE_PATH}",
            PYTHONPATH=str(ROOT),
        )
        assert f"Tested: {sum(map(len, OPENAPI['paths'].values()))}" in report, report
        assert "(Failed, " not in app.host.log, "a function raised"


async def test_what_lies_on_the_queues_is_as_described(app: App, kind: str) -> None:
    await app.queues.requests.send("hello")
    await app.queues.requests.send(SEED_ID)
    for queue, message in ((app.queues.events, "referral"), (app.queues.rejects, "reject")):
        (document,) = await eventually_holds(queue)
        name = f"{message.title()}Event"
        validator(f"urn:asyncapi#/components/schemas/{name}").validate(document)
        if isinstance(queue, service_bus.BusQueue):
            (stored,) = queue.entity.messages
            validator(f"urn:asyncapi#/components/messages/{message}OnServiceBus/headers").validate(
                {**stored.broker, "ContentType": stored.content_type, "applicationProperties": stored.properties}
            )


@pytest.mark.parametrize(
    ("name", "example"),
    [
        (name, example)
        for name, message in ASYNCAPI["components"]["messages"].items()
        for example in message["examples"]
    ],
)
def test_the_examples_of_messages_are_as_described(name: str, example: dict[str, Any]) -> None:
    for part in ("payload", "headers"):
        if part in example:
            validator(f"urn:asyncapi#/components/messages/{name}/{part}").validate(example[part])


@pytest.mark.parametrize("page", ["queues.md", "consumers.md"])
def test_the_docs_name_every_property_to_filter_by(page: str) -> None:
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    for names in FILTER_PROPERTIES.values():
        assert ", ".join(f"`{name}`" for name in names) in text
