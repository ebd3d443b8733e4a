"""The chaos run's own verdict: it must fail for a single referral that was lost or ended in the wrong way."""

from collections import Counter

import pytest

from endurance import chaos
from endurance.chaos import Fed


@pytest.mark.parametrize(
    ("fed", "wrong"),
    [
        (Fed("event"), "lost"),
        (Fed("event", Counter(a=2)), None),
        (Fed("event", Counter("ab")), "has events of different IDs: ['a', 'b']"),
        (Fed("event", rejects=Counter(["upstream-refused"])), "must end as event, and ended as ['upstream-refused']"),
        (Fed("event", rejects=Counter(["retries-exhausted"]), given_up=True), None),
        (Fed("referral-not-found", rejects=Counter(["referral-not-found"])), None),
        (Fed("referral-not-found", Counter("a")), "must end as referral-not-found, and ended as ['event']"),
    ],
)
def test_the_chaos_run_knows_a_wrong_fate(fed: Fed, wrong: str | None) -> None:
    assert fed.wrong() == wrong


@pytest.mark.parametrize("what", ["lost", "other than expected", "in the poison queue", "events of nobody"])
def test_the_chaos_run_fails_for_one_referral(what: str) -> None:
    clean = dict.fromkeys(
        (
            *("lost", "other than expected", "in the poison queue", "events of nobody"),
            *("given up beside one of them", "that stop workers"),
        ),
        0,
    )
    assert not chaos.failed(clean)
    assert chaos.failed(clean | {what: 1})
    assert chaos.failed(clean | {"given up beside one of them": 21, "that stop workers": 1})
