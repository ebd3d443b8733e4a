"""The snippets of docs/consumers.md, run on what the app puts on its queues: twice, and in the wrong order."""

import base64
import json
import random
import re
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from azure.storage.queue import QueueClient

from local_stack.azurite import ACCOUNT, KEY
from referral_fn.referrals.events import REFERRAL_TYPE
from tests.conftest import App
from tests.contract import CONTRACTS, ROOT, SCHEMAS, run
from tests.documents import SEED_ID, event_of, seed

PAGE = (ROOT / "docs" / "consumers.md").read_text(encoding="utf-8")
TIMES = ["2026-01-01T10:00:00Z", "2026-01-01T10:00:00.5Z", "2026-01-02T00:00:00Z"]
PROJECT = """<Project Sdk="Microsoft.NET.Sdk"><PropertyGroup><OutputType>Exe</OutputType>
<TargetFramework>net$(BundledNETCoreAppTargetFrameworkVersion)</TargetFramework>
<ImplicitUsings>enable</ImplicitUsings><Nullable>enable</Nullable></PropertyGroup></Project>"""


def snippets(language: str) -> str:
    return "\n".join(re.findall(rf"^```{language}\n(.+?)^```", PAGE, re.DOTALL | re.MULTILINE))


def python_snippets() -> dict[str, Any]:
    names: dict[str, Any] = {}
    exec(compile(snippets("python"), "consumers.md", "exec"), names)  # noqa: S102 - that is what the page is for
    return names


async def bodies(app: App) -> list[str]:
    """The messages of three snapshots of a referral, one after another and then all again in any order."""
    for time in TIMES:
        app.stack.partner_center.referrals[SEED_ID] = seed(updatedDateTime=time, name=f"Zoë at {time}")
        await app.forward(SEED_ID)
    sent = [base64.b64encode(text.encode()).decode() for text in await app.queues.events.texts()]
    return sent[::-1] + random.sample(sent, len(sent))


EXPECTED = [[True, False, False, False, False, False], f"Zoë at {TIMES[-1]}"]
"""The latest came first, so only that is news."""


async def test_the_python_snippets_keep_the_latest_snapshot_once(app: App) -> None:
    names = python_snippets()
    database = sqlite3.connect(":memory:")
    database.executescript(names["SCHEMA"])
    sent = await bodies(app)
    news = [names["store"](database, names["read"](body)) for body in sent]
    rows = database.execute("SELECT id, data FROM referrals").fetchall()
    assert [news, json.loads(rows[0][1])["name"]] == EXPECTED
    assert [row[0] for row in rows] == [SEED_ID]
    event = names["read"](base64.b64decode(sent[0]))  # as Service Bus has it
    assert not names["store"](database, event)
    assert not names["store"](database, event | {"id": "new", "type": "partnercenter.referral.v2"})

    url, root = app.queues.events.url, str(app.stack.authority.root)
    credential = {"account_name": ACCOUNT, "account_key": KEY}
    database.executescript("DELETE FROM seen; DELETE FROM referrals;")
    with QueueClient.from_queue_url(url, credential=credential, connection_verify=root) as queue:
        assert names["consume"](queue, database) == len(TIMES)
    assert database.execute("SELECT data FROM referrals").fetchall() == [rows[0][1:]]
    assert await app.queues.events.count() == 0
    database.close()


async def test_the_typescript_snippet_keeps_the_latest_snapshot_once(app: App, tmp_path: Path) -> None:
    assert CONTRACTS.exists(), "TypeScript is not installed here: `make test` installs it"
    driver = """
        const sent: string[] = JSON.parse(BODIES);
        const news = sent.map((body) => store(read(body)));
        console.log(JSON.stringify([news, (latest.get(SUBJECT)!.data as any).name]));
    """
    program = snippets("typescript") + _filled(driver, await bodies(app))
    (tmp_path / "consumer.ts").write_text(program, encoding="utf-8")
    await run("tsc", "--strict", "--target", "es2022", "--lib", "es2022,dom", "consumer.ts", folder=tmp_path)
    assert json.loads(await run("node", "consumer.js", folder=tmp_path)) == EXPECTED


@pytest.mark.skipif(not shutil.which("dotnet"), reason="dotnet is not installed here, so the C# snippet is not run")
async def test_the_csharp_snippet_keeps_the_latest_snapshot_once(app: App, tmp_path: Path) -> None:
    driver = """
        using System.Text.Json;
        var sent = JsonSerializer.Deserialize<string[]>(BODIES)!;
        var news = sent.Select(body => Referrals.Store(Referrals.Read(body))).ToList();
        Console.WriteLine(JsonSerializer.Serialize(new object[] {
            news, Referrals.Latest[SUBJECT].GetProperty("name").GetString()! }));
    """
    (tmp_path / "Referrals.cs").write_text(snippets("csharp"), encoding="utf-8")
    (tmp_path / "Program.cs").write_text(_filled(driver, await bodies(app)), encoding="utf-8")
    (tmp_path / "consumer.csproj").write_text(PROJECT, encoding="utf-8")
    assert json.loads(await run("dotnet", "run", folder=tmp_path)) == EXPECTED


def test_the_write_back_snippet_patches_the_referral_as_it_was_seen() -> None:
    document = seed(organizationId="p-1", eTag='"7"', externalReferenceId=None)
    headers, body = python_snippets()["write_back"](event_of(document).document(), "0064x00000AbCdE")
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
def test_the_write_back_snippet_writes_nothing_where_it_must_not(changes: dict[str, Any], policy: Any) -> None:
    document = seed(**{"organizationId": "p-1", "eTag": '"7"', **changes})
    event = event_of(document, policy=policy).document()
    assert python_snippets()["write_back"](event, "crm-7") is None


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


def _filled(driver: str, sent: list[str]) -> str:
    """A driver with its two constants, as literals that both languages read."""
    return driver.replace("BODIES", json.dumps(json.dumps(sent))).replace("SUBJECT", json.dumps(SEED_ID))
