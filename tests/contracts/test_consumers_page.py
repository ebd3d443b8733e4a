"""docs/consumers.md: what it prints is part of the programs, its commands work, its fields exist."""

import json
import re
import runpy
import shutil
from pathlib import Path
from typing import Any

import pytest

from referral_fn.referrals.events import REFERRAL_TYPE
from tests.contract import ROOT, SCHEMAS, run
from tests.documents import event_of, seed

EXAMPLES = ROOT / "examples"
NODE = ROOT / "tests" / "contracts" / "node"
PAGE = (ROOT / "docs" / "consumers.md").read_text(encoding="utf-8")
SUFFIXES = {"python": "py", "typescript": "ts", "csharp": "cs"}


@pytest.mark.parametrize(("language", "snippet"), re.findall(r"(?ms)^```(python|typescript|csharp)\n(.+?)^```", PAGE))
def test_a_printed_snippet_is_part_of_a_program(language: str, snippet: str) -> None:
    programs = [path.read_text(encoding="utf-8") for path in EXAMPLES.rglob(f"*.{SUFFIXES[language]}")]
    assert any(snippet in text for text in programs)


COMMANDS = re.findall(r"(?m)^npx (?:--package \S+ )?(.+)$", PAGE)


@pytest.mark.e2e
@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.rsplit(maxsplit=1)[-1])
async def test_the_command_for_types_works_as_printed(command: str, node_folder: Path) -> None:
    assert len(COMMANDS) == 4
    shutil.copy(ROOT / "referral_fn" / "api" / "openapi.json", node_folder)
    for schema in (ROOT / "schemas").glob("*.event.json"):
        shutil.copy(schema, node_folder)
    await run("sh", "-c", command, folder=node_folder)
    written = (node_folder / command.rsplit(maxsplit=1)[-1]).read_text(encoding="utf-8")
    name = "paths" if "openapi" in command else "ReferralEvent"
    assert re.search(rf"\b(class|interface) {name}\b", written)
    if command.startswith("json2ts"):
        assert written == (EXAMPLES / "typescript" / "referral-event.ts").read_text(encoding="utf-8"), (
            "generate it anew"
        )
    if command.endswith(".py"):
        compile(written, "referral_event.py", "exec")


def test_the_typescript_examples_use_the_packages_that_were_tried() -> None:
    tried = json.loads((NODE / "package.json").read_text(encoding="utf-8"))["dependencies"]
    used = json.loads((EXAMPLES / "typescript" / "package.json").read_text(encoding="utf-8"))
    assert {**used["dependencies"], **used["devDependencies"]}.items() <= tried.items()


def write_back(event: dict[str, Any], crm_id: str) -> tuple[dict[str, str], bytes] | None:
    names: dict[str, Any] = runpy.run_path(str(EXAMPLES / "python" / "write_back.py"))
    answer: tuple[dict[str, str], bytes] | None = names["write_back"](event, crm_id)
    return answer


def test_the_write_back_patches_the_referral_as_it_was_seen() -> None:
    document = seed(organizationId="p-1", eTag='"7"', externalReferenceId=None)
    patch = write_back(event_of(document).document(), "0064x00000AbCdE")
    assert patch is not None
    headers, body = patch
    assert headers["If-Match"] == '"7"'
    assert json.loads(body) == [{"op": "add", "path": "/externalReferenceId", "value": "0064x00000AbCdE"}]


@pytest.mark.parametrize(
    ("changes", "policy"),
    [
        ({"externalReferenceId": "crm-7"}, "full"),
        ({"organizationId": "msft"}, "full"),
        ({"eTag": None}, "full"),
        ({"externalReferenceId": "crm 7 of Zelda Quux"}, "none"),
    ],
    ids=["its own echo", "Microsoft's side", "no entity tag", "a reference that may not appear"],
)
def test_the_write_back_writes_nothing_where_it_must_not(changes: dict[str, Any], policy: Any) -> None:
    document = seed(**{"organizationId": "p-1", "eTag": '"7"', **changes})
    assert write_back(event_of(document, policy=policy).document(), "crm-7") is None


def test_the_crm_table_maps_fields_that_events_have() -> None:
    rows = re.findall(r"^\| (`[a-z][^|]*) \| .+ \| .+ \| .+ \| .+ \|$", PAGE, re.MULTILINE)
    paths = [re.sub(r"\[\d\]", "", path).split(".") for row in rows for path in re.findall(r"`(.+?)`", row)]
    definitions = SCHEMAS[REFERRAL_TYPE]["definitions"]
    for names in paths:
        schema = SCHEMAS[REFERRAL_TYPE]
        for name in [name for name in names if name != "Duns"]:
            schema = schema["properties"][name]
            schema = definitions[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
    assert len(paths) > len(rows) > 12
