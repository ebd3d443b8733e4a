"""Rejects read back: recognized among anything else, selected, restored."""

import dataclasses
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from referral_fn.queues.base import Message
from referral_fn.referrals.backfill_page import BackfillPage
from referral_fn.referrals.rejects import NotRestorableError, Reject, RejectPart, Selection, read_part
from referral_fn.referrals.request import read_queued
from tests.cli.rejects import encoded, parts, reject
from tests.documents import json_values

REFERRAL_ID = "abcdef00-0000-4000-8000-000000000001"


def part_of(document: Any) -> RejectPart:
    part = read_part(encoded(document))
    assert part is not None
    return part


def message_of(*documents: Any) -> Message:
    return Reject(tuple(part_of(document) for document in documents)).restore()


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_no_reject(body: bytes) -> None:
    assert read_part(body) is None


@given(json_values)
def test_arbitrary_json_is_no_reject(value: Any) -> None:
    assert read_part(json.dumps(value).encode()) is None


@given(json_values, st.sampled_from(["id", "time", "type", "data"]))
def test_a_reject_with_any_value_in_place_of_a_member_does_not_raise(value: Any, name: str) -> None:
    read_part(json.dumps({**reject(), name: value}).encode())


@given(json_values, st.sampled_from(["reason", "detail", "referralId", "firstSeen", "message", "attempts"]))
def test_a_reject_with_any_value_in_its_data_is_restored_or_refused(value: Any, name: str) -> None:
    part = read_part(json.dumps(reject(data={name: value})).encode())
    if part:
        try:
            message = Reject((part,)).restore()
        except NotRestorableError:
            return
        assert isinstance(message.body, bytes)


@pytest.mark.parametrize(
    "kept",
    [
        {"part": 0, "parts": 2},
        {"part": 3, "parts": 2},
        {"part": "1", "parts": 2},
        {"part": 1.0, "parts": 2},
        {"part": 1},
        {"parts": 2},
        {"part": 1, "parts": 10**9},
        "text",
        None,
    ],
)
def test_a_reject_with_impossible_parts_is_foreign(kept: Any) -> None:
    assert read_part(encoded(reject(data={"message": kept}))) is None


@pytest.mark.parametrize(
    "changes", [{"time": "yesterday"}, {"data": {"referralId": "42"}}, {"data": {"firstSeen": 5}}, {"cause": "A B"}]
)
def test_a_reject_with_an_invalid_request_is_foreign(changes: dict[str, Any]) -> None:
    assert read_part(encoded(reject(**changes))) is None


def test_a_request_starts_anew_and_keeps_its_origin() -> None:
    trace = f"00-{'a' * 32}-{'b' * 16}-01"
    document = reject(
        data={"referralId": REFERRAL_ID.upper(), "attempts": 8}, traceparent=trace, cause="referral-updated"
    )
    message = message_of(document)
    assert json.loads(message.body) == {
        "referralId": REFERRAL_ID,
        "attempt": 0,
        "firstSeen": document["data"]["firstSeen"],
        "traceparent": trace,
        "cause": "referral-updated",
        "republish": True,
    }
    assert (message.session, message.verbatim) == (REFERRAL_ID, False)


@settings(max_examples=30)
@given(st.lists(st.text(max_size=20), min_size=1, max_size=5))
def test_kept_text_is_restored_verbatim_from_all_its_parts(texts: list[str]) -> None:
    message = message_of(*parts("long", *texts))
    assert (message.body, message.verbatim) == ("".join(texts).encode(), True)


def test_a_page_of_a_backfill_starts_anew_and_keeps_everything_else() -> None:
    since = datetime(2026, 1, 2, tzinfo=UTC)
    page = BackfillPage(REFERRAL_ID, 3, "abc", "New", since, "after", 8, "ticket", "milestone", republish=True)
    message = message_of(reject(data={"message": {"text": page.message().body.decode()}}))
    assert read_queued(message.body) == dataclasses.replace(page, attempt=0)


def test_kept_bytes_are_restored_from_all_their_parts() -> None:
    documents = parts("long", "", "")
    for document, text in zip(documents, ("/wA=", "/w=="), strict=True):
        document["data"]["message"] = {**document["data"]["message"], "base64": text}
        del document["data"]["message"]["text"]
    message = message_of(*documents)
    assert (message.body, message.verbatim) == (b"\xff\x00\xff", False)


@pytest.mark.parametrize(
    "kept", [{}, {"text": 5}, {"base64": "!"}, {"base64": 5}, {"base64": "é"}, {"text": "x", "omittedBytes": 1}]
)
def test_a_message_that_is_not_kept_whole_is_not_restored(kept: dict[str, Any]) -> None:
    with pytest.raises(NotRestorableError):
        message_of(reject(data={"message": kept}))


@pytest.mark.parametrize(
    ("selection", "is_included"),
    [
        (Selection(), True),
        (Selection(ids=frozenset({"reject-1"})), True),
        (Selection(ids=frozenset({REFERRAL_ID})), True),
        (Selection(ids=frozenset({"other"})), False),
        (Selection(reasons=frozenset({"upstream-refused", "other"})), True),
        (Selection(reasons=frozenset({"other"})), False),
        (Selection(since=datetime(2026, 1, 3, tzinfo=UTC), until=datetime(2026, 1, 4, tzinfo=UTC)), True),
        (Selection(until=datetime(2026, 1, 3, tzinfo=UTC)), False),
        (Selection(since=datetime(2026, 1, 4, tzinfo=UTC)), False),
        (Selection(ids=frozenset({"reject-1"}), reasons=frozenset({"other"})), False),
    ],
)
def test_a_reject_is_selected_by_all_conditions(selection: Selection, *, is_included: bool) -> None:
    document = reject(id="Reject-1", data={"referralId": REFERRAL_ID.upper()})
    assert selection.includes(Reject((part_of(document),))) is is_included
