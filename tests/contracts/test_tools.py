"""The tools that people use on the contracts, run in Node on what is published."""

import json
import shutil
from pathlib import Path

import pytest

from local_stack.stack import Stack
from tests.conftest import StartApp
from tests.contract import OPENAPI, ROOT, run

NODE = ROOT / "tests" / "contracts" / "node"

pytestmark = pytest.mark.e2e


@pytest.mark.parametrize("program", sorted(path.name for path in NODE.glob("*.test.mjs")))
async def test_the_tools_can_use_what_is_published(program: str, node_folder: Path) -> None:
    shutil.copytree(NODE, node_folder, dirs_exist_ok=True)
    report = await run("node", "--test", "--test-reporter", "tap", program, folder=node_folder, REPOSITORY=str(ROOT))
    assert "# fail 0" in report
    assert "# pass 0" not in report


async def test_every_request_of_the_postman_collection_works(
    start_app: StartApp, stack: Stack, node_folder: Path
) -> None:
    async with start_app(STATE_URL=await stack.fresh_table()) as app:
        base = f"baseUrl={app.host.url}/api"
        collection = str(ROOT / "schemas" / "postman.json")
        report = ("--reporters", "json", "--reporter-json-export", "report.json")
        await run("newman", "run", collection, "--env-var", base, *report, folder=node_folder)
    executions = json.loads((node_folder / "report.json").read_text(encoding="utf-8"))["run"]["executions"]
    assert all(execution["assertions"] for execution in executions)
    called = {tuple(execution["request"]["url"]["path"]) for execution in executions}
    assert len(called) == len(OPENAPI["paths"]) - 1, "all but the webhook"
