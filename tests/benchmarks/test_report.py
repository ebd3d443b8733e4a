"""Whether a goal is met."""

import pytest

from benchmarks.report import Figures, goals, ratio

ROUNDS = {"app": [{"cpu": 900.0}, {"cpu": 4000.0}, {"cpu": 1000.0}], "floor": [{"cpu": 300.0}] + 2 * [{"cpu": 500.0}]}


def test_programs_are_compared_within_each_round() -> None:
    assert ratio(ROUNDS, "app", "floor") == 3


def figures(app: float) -> Figures:
    costs = {"floor": 400.0, "app": app, "sdk": 1800.0, "peer": 2200.0}
    starts = {"the four packages": 500.0, "function_app": 240.0, "function_app, and a first referral": 490.0}
    return {
        "compared": {
            "seed": {f"{program}, 32 in flight": [{"cpu": cost}] for program, cost in costs.items()}
            | {"peer, 2 in flight": [{"cpu": 700.0}]}
        },
        "starts": {name: ([cpu], [40.0]) for name, cpu in starts.items()},
        "hidden latency": [{"together": 0.96, "staggered": 0.97}],
        "growth": 11 * [{"cpu": app, "memory": 80.0}],
    }


@pytest.mark.parametrize(("app", "missed"), [(900, 0), (1000, 4)])
def test_a_goal_is_met_up_to_its_bound(app: float, missed: int) -> None:
    assert list(goals(figures(app)).columns[-1].cells).count("no") == missed
