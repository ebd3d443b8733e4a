"""The verdict on missed changes: one missing referral fails the run, or one event that claims what is not so."""

from typing import Any

import pytest

from endurance import missed
from endurance.ledger import Ledger

FIRST = {"id": "a@1", "sequence": "1", "data": {"name": "x", "status": "New"}}
SECOND = {"id": "a@2", "sequence": "2", "data": {"name": "y", "status": "New"}, "previousid": "a@1", "changed": "name"}


def violations(*events: dict[str, Any]) -> list[str]:
    ledger = Ledger()
    for event in events:
        ledger.note(event)
    ledger.check()
    return ledger.untrue


def test_events_that_are_true_pass_in_any_order_and_twice() -> None:
    assert violations(FIRST, SECOND, SECOND) == []
    assert violations(SECOND, FIRST) == []
    older = {**FIRST, "previousid": "a@2", "changed": "name", "outoforder": "true"}
    assert violations({**SECOND, "previousid": None, "changed": None}, older) == []


@pytest.mark.parametrize(
    ("change", "violation"),
    [
        ({"changed": "status"}, "a@2 says status, and name differ"),
        ({"changed": None}, "a@2 says None, and name differ"),
        ({"previousid": "a@0"}, "a@2 names a@0, which was never published"),
        ({"outoforder": "true"}, "a@2 is not older than a@1"),
        ({"sequence": "0"}, "a@2 is older than a@1"),
        ({"id": "a@1", "previousid": None, "changed": None}, "a@1 was published with different data"),
    ],
)
def test_a_false_claim_is_a_violation(change: dict[str, Any], violation: str) -> None:
    assert violations(FIRST, {**SECOND, **change}) == [violation]


def test_events_that_could_name_a_predecessor_and_do_not_are_counted() -> None:
    ledger = Ledger()
    for event in (FIRST, FIRST, {**SECOND, "previousid": None}, {**FIRST, "id": "b@1"}):
        ledger.note(event)
    assert (ledger.without_predecessor, ledger.with_predecessor) == (1, 0)
    ledger.note(SECOND)
    assert ledger.with_predecessor == 1


@pytest.mark.parametrize("what", missed.MUST_BE_ZERO)
def test_one_of_them_fails_the_run(what: str) -> None:
    clean = dict.fromkeys(missed.MUST_BE_ZERO, 0) | {"events that name a predecessor": 1}
    assert not missed.failed(clean)
    assert missed.failed(clean | {what: 1})


def test_a_run_fails_if_no_event_names_a_predecessor() -> None:
    clean = dict.fromkeys(missed.MUST_BE_ZERO, 0)
    assert missed.failed(clean | {"events that name a predecessor": 0})
