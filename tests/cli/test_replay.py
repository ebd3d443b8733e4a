"""`python -m referral_fn replay` and `forward`, as an operator uses them."""

import json
import uuid
from typing import Any

import pytest

from local_stack.stand_ins.partner_center import Fault
from referral_fn.cli.replay import read_rejects
from referral_fn.queues.base import LeasedMessage
from tests.conftest import App, StartApp, eventually_empty, eventually_holds, until
from tests.documents import seed

BOTH_KINDS = True


async def command(app: App, *arguments: str) -> tuple[int, str]:
    status, said = await app.stack.run_command(app.environment, *arguments)
    assert "Traceback" not in said, said
    return status, said


async def listed(app: App, *arguments: str) -> list[Any]:
    status, said = await command(app, "replay", "--json", *arguments)
    assert status == 0, said
    found: list[Any] = json.loads(said)
    return found


async def reject(app: App, fault: Fault | None) -> str:
    """Have a referral rejected: for the fault, or as one that is not found."""
    referral_id = str(uuid.uuid4())
    if fault:
        app.stack.partner_center.referrals[referral_id] = seed(id=referral_id)
        app.stack.partner_center.faults[referral_id] = fault
    before = await app.queues.rejects.count()
    await app.queues.requests.send(json.dumps({"referralId": referral_id, "firstSeen": "2026-01-02T03:04:05Z"}))
    await until(app.queues.rejects.count, before + 1)
    return referral_id


REFUSED = Fault("status", status=400)


async def test_rejects_are_listed_chosen_and_shown_whole(app: App) -> None:
    missing, refused = await reject(app, None), await reject(app, REFUSED)
    status, table = await command(app, "replay")
    assert status == 0
    assert all(text in table for text in (missing, refused, "referral-not-found", "upstream-refused", "answered 400"))
    assert {one["subject"] for one in await listed(app)} == {missing, refused}
    assert [one["subject"] for one in await listed(app, "--reason", "upstream-refused")] == [refused]
    assert [one["subject"] for one in await listed(app, missing.upper())] == [missing]
    (first, second) = await listed(app)
    assert [one["id"] for one in await listed(app, second["id"])] == [second["id"]]
    assert await listed(app, "--since", "2000-01-01", "--until", "2001-01-01") == []
    assert [one["id"] for one in await listed(app, "--since", second["time"])] == [second["id"]]
    assert [one["id"] for one in await listed(app, "--until", second["time"])] == [first["id"]]
    status, whole = await command(app, "replay", "--whole", refused)
    assert json.loads(whole)[0]["data"]["upstream"]["status"] == 400
    status, said = await command(app, "replay", "--reason", "nothing")
    assert (status, said.strip()) == (0, "There are no such rejects.")
    assert await app.queues.rejects.count() == 2


async def test_a_reject_is_put_back_and_removed_and_a_dry_run_changes_nothing(app: App) -> None:
    refused, missing = await reject(app, REFUSED), await reject(app, None)
    app.stack.partner_center.faults.clear()
    status, said = await command(app, "replay", "--reason", "upstream-refused", "--requeue")
    assert (status, said.splitlines()[-1]) == (0, "1 would be put back: add --yes.")
    assert await app.queues.rejects.count() == 2
    status, said = await command(app, "replay", "--reason", "upstream-refused", "--requeue", "--yes")
    assert (status, said.splitlines()[-1]) == (0, "1 put back.")
    (event,) = await eventually_holds(app.queues.events)
    assert event["subject"] == refused
    (left,) = await app.queues.rejects.documents()
    assert left["subject"] == missing


async def test_a_message_that_asked_for_nothing_is_put_back_as_it_was(start_app: StartApp) -> None:
    async with start_app() as app:
        text = '"' * 45_000
        await app.queues.requests.send(text)
        rejects = await eventually_holds(app.queues.rejects)
        await eventually_holds(app.queues.rejects, rejects[0]["data"]["message"]["parts"])
        await eventually_empty(app.queues.requests)
        await app.host.stop()
        status, said = await command(app, "replay", "--requeue", "--yes")
        assert (status, said.splitlines()[-1]) == (0, "1 put back.")
        assert await app.queues.requests.texts() == [text]
        assert await app.queues.rejects.count() == 0


async def test_a_reject_stays_where_its_request_cannot_be_put_back(app: App) -> None:
    refused = await reject(app, REFUSED)
    nowhere = {"REQUESTS_URL": app.queues.requests.url + "-not-there", "REFERRAL_REQUESTS_QUEUE": ""}
    status, said = await app.stack.run_command({**app.environment, **nowhere}, "replay", "--requeue", "--yes")
    assert status == 1
    assert "0 put back." in said
    assert "-not-there does not exist (4" in said
    assert [one["subject"] for one in await app.queues.rejects.documents()] == [refused]


async def test_what_is_no_reject_is_left_alone(app: App) -> None:
    await app.queues.rejects.send("hello")
    await app.queues.rejects.send("[]")
    status, said = await command(app, "replay", "--requeue", "--yes")
    assert status == 0
    assert "2 messages on the queue are no rejects, and are left alone." in said
    assert await app.queues.rejects.count() == 2


@pytest.mark.parametrize("wrong", [["--since", "yesterday"], ["--until", ""]])
async def test_a_wrong_time_is_refused(app: App, wrong: list[str]) -> None:
    status, said = await command(app, "replay", *wrong)
    assert (status, "must be an ISO 8601 timestamp" in said) == (2, True)


def test_a_message_with_a_part_missing_is_not_put_back() -> None:
    def part(number: int) -> LeasedMessage:
        document = {
            "type": "partnercenter.referral.rejected.v1",
            "id": "a" if number == 1 else f"a/{number}",
            "time": "2026-01-01T00:00:00Z",
            "data": {"reason": "r", "detail": "d", "message": {"text": str(number), "part": number, "parts": 3}},
        }
        return LeasedMessage(str(number), json.dumps(document).encode())

    (whole,), _ = read_rejects([part(2), part(1), part(3), part(1)])
    request = whole.request()
    assert request is not None
    assert request.body == b"123"
    assert len(whole.held) == 4
    (torn,), _ = read_rejects([part(1), part(3)])
    assert torn.request() is None


async def test_forward_says_what_became_of_each(app: App) -> None:
    fine, refused, later = (str(uuid.uuid4()) for _ in range(3))
    for referral_id in (fine, refused, later):
        app.stack.partner_center.referrals[referral_id] = seed(id=referral_id)
    app.stack.partner_center.faults[refused] = REFUSED
    app.stack.partner_center.faults[later] = Fault("status", status=500)
    status, said = await command(app, "forward", fine.upper(), refused, later)
    lines = {line.split()[0]: line for line in said.splitlines()}
    assert status == 1
    assert lines[fine].split()[1] == "forwarded"
    assert "upstream-refused  Partner Center answered 400" in lines[refused]
    assert lines[later].endswith("; may work later")
    (event,) = await app.queues.events.documents()
    assert lines[fine].split()[2] == event["id"]
    status, said = await command(app, "forward", "--json", refused)
    assert (status, json.loads(said)["mayWorkLater"]) == (1, False)
    status, said = await command(app, "forward", "--json", fine)
    assert (status, json.loads(said)["event"]) == (0, event)


async def test_forward_can_show_the_apps_log(app: App) -> None:
    fine = str(uuid.uuid4())
    app.stack.partner_center.referrals[fine] = seed(id=fine)
    status, said = await command(app, "forward", "--log", fine)
    events = {json.loads(line)["event"] for line in said.splitlines() if line.startswith("{")}
    assert (status, events) == (0, {"upstream.answered", "referral.forwarded"})


async def test_forward_refuses_what_is_no_id_before_it_starts(app: App) -> None:
    status, said = await command(app, "forward", str(uuid.uuid4()), "42")
    assert (status, said.strip()) == (1, "Failed: ID 2 must be a GUID")
    assert not app.stack.partner_center.calls
