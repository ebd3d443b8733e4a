"""What others build on: the OpenAPI and AsyncAPI documents, held against the code and real messages."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from local_stack.stack import Stack
from local_stack.stand_ins import service_bus
from local_stack.stand_ins.webhooks import CERTIFICATE_PATH
from referral_fn.api import problems
from referral_fn.referrals.messages import FILTER_PROPERTIES
from schemas import generate
from schemas.openapi_responses import PROBLEM_RESPONSES, status_of
from tests.conftest import App, StartApp, eventually_holds
from tests.contract import ASYNCAPI, OPENAPI, ROOT, component, run, validator
from tests.documents import SEED_ID

BOTH_KINDS = True
COMBINATIONS = {"$ref", "oneOf", "allOf", "anyOf"}


@pytest.mark.parametrize("path", generate.DOCUMENTS)
def test_what_is_published_is_in_step_with_the_code(path: str) -> None:
    assert (ROOT / path).read_text(encoding="utf-8") == generate.text_of(path), "run `make schemas`"


def test_no_document_is_left_over() -> None:
    published = {str(path.relative_to(ROOT)) for path in (ROOT / "schemas" / "examples").iterdir()}
    assert published == {path for path in generate.DOCUMENTS if path.startswith("schemas/examples/")}


def properties(value: Any, where: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every property that a document's schemas name, with where it is."""
    if isinstance(value, dict):
        for name, item in value.items():
            if name in {"examples", "example"}:
                continue
            if name == "properties":
                yield from ((f"{where}/{key}", field) for key, field in item.items())
            yield from properties(item, f"{where}/{name}")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from properties(item, f"{where}/{index}")


PUBLISHED = [*generate.JSON_SCHEMAS, "schemas/asyncapi.json", "referral_fn/api/openapi.json"]


@pytest.mark.parametrize("path", PUBLISHED)
def test_every_property_has_a_description_and_a_type(path: str) -> None:
    fields = list(properties(generate.DOCUMENTS[path]))
    assert fields
    assert [where for where, field in fields if not field.keys() & {"description", "$ref"}] == []
    assert [where for where, field in fields if not field.keys() & {"type", *COMBINATIONS}] == []


def responses() -> Iterator[tuple[str, dict[str, Any]]]:
    for path, operations in OPENAPI["paths"].items():
        for method, operation in operations.items():
            for status, answer in operation["responses"].items():
                yield f"{method} {path} {status}", component(answer)


def test_every_body_of_the_api_has_examples_that_are_as_described() -> None:
    bodies = [
        (f"{method} {path}", operation["requestBody"])
        for path, operations in OPENAPI["paths"].items()
        for method, operation in operations.items()
        if "requestBody" in operation
    ]
    for where, part in [*bodies, *responses()]:
        for content in part.get("content", {}).values():
            assert content["examples"], where
            for example in content["examples"].values():
                named = content["schema"]["$ref"].replace("#", "urn:openapi#", 1)
                validator(named).validate(component(example)["value"])


def test_the_parts_of_the_api_are_named_so_that_generated_types_are() -> None:
    for where, part in responses():
        for content in part.get("content", {}).values():
            assert list(content["schema"]) == ["$ref"], where
    assert all("$ref" in answer for _, answer in problem_answers())


def problem_answers() -> Iterator[tuple[str, dict[str, Any]]]:
    for operations in OPENAPI["paths"].values():
        for operation in operations.values():
            for status, answer in operation["responses"].items():
                if problems.CONTENT_TYPE in component(answer).get("content", {}):
                    yield status, answer


def test_every_problem_type_is_an_answer_of_some_operation() -> None:
    answered: set[str] = set()
    for status, answer in problem_answers():
        name = answer["$ref"].rpartition("/")[2]
        assert status_of(name) == status
        answered |= set(PROBLEM_RESPONSES[name])
    assert answered == problems.PROBLEMS.keys()


def test_a_generated_client_accepts_a_problem_type_that_is_added_later() -> None:
    problem = {"type": "urn:referral-fn:problem:new", "title": "New", "status": 503, "detail": "a later version's"}
    validator("urn:openapi#/components/schemas/Problem").validate(problem)


def test_every_call_has_a_response_for_the_failures_of_the_host() -> None:
    for operations in OPENAPI["paths"].values():
        for operation in operations.values():
            assert "content" not in component(operation["responses"]["default"])


def test_a_key_goes_into_a_header_only() -> None:
    assert {scheme["in"] for scheme in OPENAPI["components"]["securitySchemes"].values()} == {"header"}


@pytest.mark.parametrize(
    ("body", "is_valid"),
    [
        ({"referralId": SEED_ID}, True),
        ({"referralIds": [SEED_ID]}, True),
        ({}, False),
        ({"referralId": SEED_ID, "referralIds": [SEED_ID]}, False),
    ],
    ids=["one", "many", "neither", "both"],
)
def test_a_request_is_for_one_referral_or_for_many(body: dict[str, Any], is_valid: bool) -> None:
    assert validator("urn:openapi#/components/schemas/ReferralsRequest").is_valid(body) == is_valid


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
        assert "webhook.accepted" in app.host.log, "no notification was signed"


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
