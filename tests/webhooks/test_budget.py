from referral_fn.webhooks.budget import Budget
from tests.webhook_caller import Clock


def test_a_budget_allows_a_burst_and_refills_over_time() -> None:
    clock = Clock()
    budget = Budget(3, 10, clock)
    assert [budget.spend() for _ in range(4)] == [None, None, None, 10]
    clock.advance(4)
    assert budget.spend() == 6
    clock.advance(6)
    assert budget.spend() is None
    assert budget.spend() == 10


def test_a_budget_saves_no_more_than_its_burst() -> None:
    clock = Clock()
    budget = Budget(2, 10, clock)
    clock.advance(1_000_000)
    assert [budget.spend() for _ in range(3)] == [None, None, 10]
