"""The commands of README and docs, run as printed, and what `make run` offers beside them."""

import pytest

from scripts.run_docs import PAGES, Block, blocks, run_all
from tests.contract import ROOT


@pytest.mark.e2e
@pytest.mark.skipif(not (ROOT / ".venv/bin/referral-fn").exists(), reason="bootstrap.py has not set up this folder")
@pytest.mark.timeout(300)
def test_the_marked_commands_of_the_documentation_work_as_printed() -> None:
    run_all(ROOT / ".venv")


def test_every_mark_is_followed_by_code() -> None:
    marked = [block for page in PAGES for block in blocks(page)]
    assert [block for block in marked if not block.code.strip()] == []
    text = "".join((ROOT / page).read_text(encoding="utf-8") for page in PAGES)
    assert len(marked) == text.count("<!-- run") + text.count("<!-- save")
    assert Block("README.md", ". .local/settings.sh\n", "run") in marked
