"""`backfill`, as an operator uses it. That runs reach their end is for tests/test_backfill.py."""

import json
from typing import Any

import pytest

from tests.cli.conftest import Cli


@pytest.mark.parametrize(
    ("options", "members"),
    [
        ([], {}),
        (["--all"], {"republish": True}),
        (["--status", "New", "--since", "2026-01-02"], {"status": "New", "since": "2026-01-02T00:00:00.000000Z"}),
    ],
)
async def test_a_run_is_started_with_what_was_asked_for(
    storage_cli: Cli, options: list[str], members: dict[str, Any]
) -> None:
    state = await storage_cli.stack.fresh_table()
    result = await storage_cli("backfill", "--no-wait", "--json", *options, STATE_URL=state)
    run = json.loads(result.out)
    (message,) = await storage_cli.requests.documents()
    assert message["backfill"] == {"run": run["id"], "page": 0, "attempt": 0, **members}
    result = await storage_cli("backfill", "--run", run["id"], "--no-wait", STATE_URL=state)
    assert (result.status, result.out) == (0, f"{run['id']}  running  0 pages, 0 listed, 0 requested\n")
