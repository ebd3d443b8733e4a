"""`replay`, as an operator uses it."""

import asyncio
import json
import os
import re
import uuid
from typing import Any

import pytest

from local_stack.stand_ins.service_bus import BusQueue
from referral_fn.cli.reject_printer import RejectPrinter
from referral_fn.referrals.rejects import Reject, read_part
from tests.cli.conftest import Cli
from tests.cli.rejects import encoded, parts, reject

pytestmark = pytest.mark.e2e  # not by what they use: whole walks over a queue take seconds

MISSING = {"reason": "referral-not-found", "detail": "Partner Center answered 404"}


async def fill(cli: Cli, *documents: Any) -> None:
    for document in documents:
        await cli.rejects.send(document if isinstance(document, str) else json.dumps(document))


async def listed(cli: Cli, *arguments: str) -> list[str]:
    result = await cli("replay", "--json", *arguments)
    assert (result.status, result.err) == (0, "")
    return [document["id"] for document in json.loads(result.out)]


def missing_requests_queue(cli: Cli) -> dict[str, str]:
    return {"REQUESTS_URL": cli.requests.url + "-not-there", "REFERRAL_REQUESTS_QUEUE": ""}


def asked_for(message: str) -> str:
    return str(json.loads(message)["referralId"])


class TestListing:
    async def test_rejects_are_a_table_with_whole_ids(self, cli: Cli) -> None:
        missing, refused = reject(data=MISSING), reject()
        await fill(cli, missing, refused)
        result = await cli("replay")
        assert result.status == 0
        header, *rows = result.out.splitlines()
        assert header.split() == ["rejected", "at", "reject", "referral", "reason", "detail"]
        for row, document in zip(rows, (missing, refused), strict=True):
            data = document["data"]
            values = ["2026-01-03T00:00:00Z", document["id"], data["referralId"], data["reason"], data["detail"]]
            assert re.split(" {2,}", row) == values
        assert await cli.rejects.count() == 2

    async def test_rejects_are_selected_by_id_reason_and_time(self, cli: Cli) -> None:
        first, second = reject(data=MISSING), reject(time="2026-01-04T00:00:00Z")
        await fill(cli, first, second)
        assert await listed(cli) == [first["id"], second["id"]]
        assert await listed(cli, "--reason", "upstream-refused") == [second["id"]]
        assert await listed(cli, first["data"]["referralId"]) == [first["id"]]
        assert await listed(cli, second["id"]) == [second["id"]]
        assert await listed(cli, "--since", "2000-01-01", "--until", "2001-01-01") == []
        assert await listed(cli, "--since", second["time"]) == [second["id"]]
        assert await listed(cli, "--until", second["time"]) == [first["id"]]
        result = await cli("replay", "--reason", "retries-exhausted")
        assert (result.status, result.out) == (0, "There are no such rejects.\n")

    async def test_ids_are_selected_in_any_case(self, cli: Cli) -> None:
        document = reject(id="ABCdef-1", data={"referralId": "ABCDEF00-0000-4000-8000-000000000001"})
        await fill(cli, document, reject())
        for text in ("abcDEF-1", "ABCDEF-1", "abcdef00-0000-4000-8000-000000000001"):
            assert await listed(cli, text) == ["ABCdef-1"]

    async def test_a_reject_is_shown_whole(self, cli: Cli) -> None:
        document = reject(data={"upstream": {"status": 400}})
        await fill(cli, reject(), document)
        result = await cli("replay", "--whole", document["id"].upper())
        assert json.loads(result.out) == [document]

    async def test_foreign_messages_are_counted_and_left_alone(self, cli: Cli) -> None:
        await fill(cli, "hello", "[]", reject(data={"message": {"text": "x", "part": 0, "parts": 2}}))
        result = await cli("replay", "--requeue", "--yes")
        assert (result.status, result.out) == (0, "There are no such rejects.\n0 put back.\n")
        assert result.err == "3 messages on the queue are not rejects and were left alone.\n"
        assert (await cli.rejects.count(), await cli.requests.count()) == (3, 0)

    @pytest.mark.parametrize("time", [["--since", "yesterday"], ["--until", ""]])
    async def test_an_invalid_time_is_refused(self, cli: Cli, time: list[str]) -> None:
        result = await cli("replay", *time)
        assert (result.status, "must be an ISO 8601 timestamp" in result.err) == (2, True)

    @pytest.mark.parametrize("form", [[], ["--whole"], ["--json"]])
    async def test_nothing_of_a_reject_controls_the_terminal(self, cli: Cli, form: list[str]) -> None:
        hostile = "\x1b]0;title\x07\x9b31m[bold red]\u202egnp.exe\u2028\u200f\r\x00"
        await fill(cli, reject(id=f"id{hostile}", data={"reason": f"r{hostile}", "detail": f"d{hostile}"}))
        result = await cli("replay", *form)
        assert result.status == 0
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u200f\u2028\u202e]", result.out)
        assert result.out.count("\\u202e") == 3
        assert "[bold red]" in result.out

    @pytest.mark.parametrize("columns", [20, 80, 139, 140, 300])
    def test_ids_are_whole_on_a_terminal_of_any_width(
        self, columns: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr("sys.stdout.isatty", lambda: True)
        monkeypatch.setattr("shutil.get_terminal_size", lambda: os.terminal_size((columns, 24)))
        document = reject(id=str(uuid.uuid4()))
        part = read_part(encoded(document))
        assert part is not None
        printer = RejectPrinter(as_json=False, whole=False)
        printer.show([Reject((part,))])
        printer.close()
        rows = capsys.readouterr().out.splitlines()
        assert len(rows) == (2 if columns >= 140 else 6)
        for id_ in (document["id"], document["data"]["referralId"]):
            assert sum(id_ in row for row in rows) == 1


class TestPuttingBack:
    async def test_a_request_is_put_back_and_its_reject_removed(self, cli: Cli) -> None:
        missing, refused = (
            reject(data=MISSING),
            reject(data={"attempts": 7}, traceparent=f"00-{'a' * 32}-{'b' * 16}-01"),
        )
        await fill(cli, missing, refused)
        result = await cli("replay", "--reason", "upstream-refused", "--requeue", "--yes")
        assert (result.status, result.out.splitlines()[-1]) == (0, "1 put back.")
        (request,) = await cli.requests.documents()
        assert request == {
            "referralId": refused["data"]["referralId"],
            "attempt": 0,
            "firstSeen": refused["data"]["firstSeen"],
            "traceparent": refused["traceparent"],
            "republish": True,
        }
        assert await cli.rejects.documents() == [missing]

    async def test_a_dry_run_changes_nothing(self, cli: Cli) -> None:
        await fill(cli, reject(), reject(data=MISSING))
        result = await cli("replay", "--reason", "upstream-refused", "--requeue")
        assert (result.status, result.out.splitlines()[-1]) == (0, "1 would be put back: add --yes.")
        assert (await cli.rejects.count(), await cli.requests.count()) == (2, 0)

    @pytest.mark.parametrize("text", ["hello", "aGVsbG8=", '{"a": "é\\u0000"}', "a\r\nb", ""])
    async def test_a_message_that_could_not_be_read_is_put_back_as_it_was(self, cli: Cli, text: str) -> None:
        await fill(cli, reject(data={"reason": "invalid-request", "message": {"text": text}}))
        result = await cli("replay", "--requeue", "--yes")
        assert (result.status, await cli.requests.texts(), await cli.rejects.count()) == (0, [text], 0)

    async def test_a_message_in_parts_is_put_back_whole(self, cli: Cli) -> None:
        await fill(cli, *parts("long", "abc", "def"))
        result = await cli("replay", "--requeue", "--yes")
        assert (result.status, await cli.requests.texts(), await cli.rejects.count()) == (0, ["abcdef"], 0)

    async def test_a_reject_stays_if_its_request_cannot_be_put_back(self, cli: Cli) -> None:
        document = reject()
        await fill(cli, document)
        result = await cli("replay", "--requeue", "--yes", **missing_requests_queue(cli))
        assert (result.status, result.out.splitlines()[-1]) == (1, "0 put back.")
        assert re.search(rf"Failed: {document['id']}: queue \S+-not-there does not exist \(4", result.err)
        assert await cli.rejects.documents() == [document]

    async def test_a_queue_that_accepts_nothing_ends_the_run(self, cli: Cli) -> None:
        await fill(cli, *(reject() for _ in range(200)))
        result = await cli("replay", "--requeue", "--yes", **missing_requests_queue(cli))
        assert result.status == 1
        assert 32 <= result.err.count("does not exist") < 100
        assert "Stopped, because the requests queue accepts nothing." in result.err
        assert await cli.rejects.count() == 200

    async def test_what_cannot_be_restored_is_reported_and_stays(self, cli: Cli) -> None:
        await fill(
            cli,
            reject(id="cut", data={"message": {"text": "x", "omittedBytes": 5}}),
            reject(id="odd", data={"message": {"text": 5}}),
        )
        result = await cli("replay", "--requeue", "--yes")
        assert (result.status, result.out.splitlines()[-1]) == (1, "0 put back.")
        assert "Failed: cut: its message was too long to be kept whole" in result.err
        assert "Failed: odd: it keeps no message that could be put back" in result.err
        assert await cli.rejects.count() == 2

    async def test_two_operators_put_every_request_back_once(self, cli: Cli) -> None:
        await fill(cli, *(reject() for _ in range(100)))
        command = ("replay", "--requeue", "--yes")
        await asyncio.gather(cli(*command), cli(*command))
        assert (await cli.requests.count(), await cli.rejects.count()) == (100, 0)

    @pytest.mark.e2e  # for the time it takes
    async def test_fifteen_hundred_rejects_are_listed_and_put_back_within_locks_of_a_minute(self, cli: Cli) -> None:
        assert isinstance(cli.rejects, BusQueue)
        assert cli.rejects.entity.lock_seconds == 60
        documents = [reject() for _ in range(1500)]
        await fill(cli, *documents)
        assert await listed(cli) == [document["id"] for document in documents]
        result = await cli("replay", "--requeue", "--yes")
        assert (result.status, result.out.splitlines()[-1]) == (0, "1500 put back.")
        assert await cli.rejects.count() == 0
        ids = {asked_for(text) for text in await cli.requests.texts()}
        assert ids == {document["data"]["referralId"] for document in documents}


class TestLeftovers:
    async def test_they_are_reported_and_left_alone(self, cli: Cli) -> None:
        await fill(cli, *parts("torn", "a", "b", "c")[1:])
        result = await cli("replay", "--requeue", "--yes")
        assert (result.status, result.err) == (0, "Incomplete: torn has only the parts [2, 3] of 3.\n")
        result = await cli("replay", "--remove-leftovers")
        assert result.err.splitlines()[-1] == "1 incomplete rejects would be removed: add --yes."
        assert (await cli.rejects.count(), await cli.requests.count()) == (2, 0)

    async def test_they_can_be_removed(self, cli: Cli) -> None:
        whole = parts("whole", "a", "b")
        await fill(cli, *parts("torn", "a", "b", "c")[1:], *whole, reject(id="single"))
        result = await cli("replay", "--remove-leftovers", "--yes")
        assert (result.status, result.err.splitlines()[-1]) == (0, "1 incomplete rejects removed.")
        assert [document["id"] for document in await cli.rejects.documents()] == ["whole", "whole/2", "single"]
