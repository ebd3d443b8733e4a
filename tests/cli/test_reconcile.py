"""`reconcile`, as an operator uses it."""

import json
from datetime import UTC, datetime, timedelta

from referral_fn.timestamps import utc
from tests.cli.conftest import Cli
from tests.documents import seed


def changed(cli: Cli, number: int, ago: timedelta) -> str:
    """A referral that changed some time ago."""
    referral_id = f"5f0c7a3e-52f5-4a7e-8f2c-{number:012}"
    cli.stack.partner_center.referrals[referral_id] = seed(id=referral_id, updatedDateTime=utc(datetime.now(UTC) - ago))
    return referral_id


async def test_differences_are_shown_and_requested_once_they_are_forwarded_there_are_none(storage_cli: Cli) -> None:
    cli = storage_cli
    state = await cli.stack.fresh_table()
    missing = [changed(cli, number, timedelta(minutes=20 + number)) for number in range(3)]
    result = await cli("reconcile", "--dry-run", STATE_URL=state)
    assert result.status == 0
    assert sorted(line.split()[0] for line in result.out.splitlines()[1:-1]) == sorted(missing)
    assert result.out.endswith(", 0 current, 3 to request.\n")
    assert await cli.requests.count() == 0
    result = await cli("reconcile", "--json", STATE_URL=state)
    *lines, totals = [json.loads(line) for line in result.out.splitlines()]
    assert {line["referralId"] for line in lines} == set(missing)
    assert (totals["listed"], totals["requested"]) == (3, 3)
    requests = await cli.requests.documents()
    assert {(one["referralId"], one["cause"]) for one in requests} == {(one, "reconcile") for one in missing}
    assert (await cli("forward", *missing, STATE_URL=state)).status == 0
    since = utc(datetime.now(UTC) - timedelta(hours=2))
    result = await cli("reconcile", "--since", since, STATE_URL=state)
    assert result.out == f"3 listed since {since}, 3 current, 0 requested.\n"


async def test_without_a_table_there_is_nothing_to_compare_with(cli: Cli) -> None:
    result = await cli("reconcile")
    assert (result.status, result.err) == (
        1,
        "Failed: This needs a table: set STATE_URL, as docs/operations.md says.\n",
    )


async def test_a_table_that_is_not_there_is_named_with_the_roles_needed(storage_cli: Cli) -> None:
    state = await storage_cli.stack.fresh_table()
    result = await storage_cli("reconcile", STATE_URL=f"{state}x")
    assert result.status == 1
    assert "does not exist (404 TableNotFound)" in result.err
    assert "Storage Table Data Contributor" in result.err
