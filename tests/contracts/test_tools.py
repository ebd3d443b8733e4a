"""The tools that people use on the contracts, run in Node on what is published."""

import shutil
from pathlib import Path

import pytest

from tests.contract import ROOT, run

NODE = ROOT / "tests" / "contracts" / "node"

pytestmark = pytest.mark.e2e


@pytest.mark.parametrize("program", sorted(path.name for path in NODE.glob("*.test.mjs")))
async def test_the_tools_can_use_what_is_published(program: str, node_folder: Path) -> None:
    shutil.copytree(NODE, node_folder, dirs_exist_ok=True)
    report = await run("node", "--test", "--test-reporter", "tap", program, folder=node_folder, REPOSITORY=str(ROOT))
    assert "# fail 0" in report
    assert "# pass 0" not in report
