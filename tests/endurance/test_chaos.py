"""The chaos run's own verdict: it must fail for a single referral that was lost or ended in the wrong way."""

from collections import Counter

import pytest

from endurance import chaos
from endurance.fates import Asked


@pytest.mark.parametrize(
    ("asked", "violation"),
    [
        (Asked("event"), "lost"),
        (Asked("event", Counter(a=2)), None),
        (Asked("event", Counter("ab")), "has events of different IDs: ['a', 'b']"),
        (Asked("event", rejects=Counter(["upstream-refused"])), "must end as event, and ended as ['upstream-refused']"),
        (Asked("event", rejects=Counter(["retries-exhausted"]), gave_up=True), None),
        (Asked("referral-not-found", rejects=Counter(["referral-not-found"])), None),
        (Asked("referral-not-found", Counter("a")), "must end as referral-not-found, and ended as ['event']"),
    ],
)
def test_the_chaos_run_knows_a_wrong_fate(asked: Asked, violation: str | None) -> None:
    assert asked.violation() == violation


@pytest.mark.parametrize("what", ["lost", "other than expected", "in the poison queue", "unexpected events"])
def test_the_chaos_run_fails_for_one_referral(what: str) -> None:
    clean = dict.fromkeys(
        (
            *("lost", "other than expected", "in the poison queue", "unexpected events"),
            *("healthy, rejected after sharing a crashed worker", "that kill workers"),
        ),
        0,
    )
    assert not chaos.failed(clean)
    assert chaos.failed(clean | {what: 1})
    assert chaos.failed(clean | {"healthy, rejected after sharing a crashed worker": 21, "that kill workers": 1})
