"""`forward`, as an operator uses it."""

import json
import uuid

import pytest

from local_stack.stand_ins.partner_center import Fault
from tests.cli.conftest import Cli
from tests.documents import seed

REFUSED = Fault("status", status=400)


def known(cli: Cli, fault: Fault | None = None) -> str:
    """The ID of a referral that exists, and may be faulty."""
    referral_id = str(uuid.uuid4())
    cli.stack.partner_center.referrals[referral_id] = seed(id=referral_id)
    if fault:
        cli.stack.partner_center.faults[referral_id] = fault
    return referral_id


async def test_the_outcome_of_each_referral_is_a_line(cli: Cli) -> None:
    fine, refused, later = known(cli), known(cli, REFUSED), known(cli, Fault("status", status=500))
    result = await cli("forward", fine.upper(), refused, later)
    lines = {line.split()[0]: line for line in result.out.splitlines()}
    assert (result.status, len(lines)) == (1, 3)
    (event,) = await cli.events.documents()
    assert lines[fine].split()[1:] == ["forwarded", event["id"]]
    assert "upstream-refused  Partner Center answered 400" in lines[refused]
    assert lines[later].endswith("; may work later")


async def test_the_outcome_of_each_referral_can_be_json(cli: Cli) -> None:
    fine, refused = known(cli), known(cli, REFUSED)
    result = await cli("forward", "--json", refused)
    assert (result.status, json.loads(result.out)["mayWorkLater"]) == (1, False)
    result = await cli("forward", "--json", fine)
    (event,) = await cli.events.documents()
    assert (result.status, json.loads(result.out)["event"]) == (0, event)


async def test_ids_are_read_from_standard_input(cli: Cli) -> None:
    ids = [known(cli) for _ in range(40)]
    result = await cli("forward", stdin="\n".join([*ids, "", ""]), REFERRALS_RETRY_BUDGET="20")
    assert (result.status, sorted(line.split()[0] for line in result.out.splitlines())) == (0, sorted(ids))
    assert await cli.events.count() == 40


@pytest.mark.parametrize("stdin", ["", " \n\n"])
async def test_empty_standard_input_is_reported(cli: Cli, stdin: str) -> None:
    result = await cli("forward", stdin=stdin)
    assert (result.status, result.out) == (1, "")
    assert result.err == "Failed: there are no IDs, neither as arguments nor on standard input, one a line\n"


async def test_the_apps_log_goes_to_stderr(cli: Cli) -> None:
    result = await cli("forward", "--log", known(cli))
    events = {json.loads(line)["event"] for line in result.err.splitlines()}
    assert (result.status, events) == (0, {"referral.forwarded"})


async def test_an_invalid_id_is_refused_before_anything_is_forwarded(cli: Cli) -> None:
    result = await cli("forward", known(cli), "42")
    assert (result.status, result.err) == (1, "Failed: ID 2 must be a GUID\n")
    assert not cli.stack.partner_center.calls
