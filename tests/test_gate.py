"""The gate: closed while Partner Center asks for a pause, then half open for one."""

import contextlib

import pytest

from referral_fn import gate as gate_module
from referral_fn.errors import PermanentError, RetryableError
from referral_fn.gate import Gate


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(gate_module, "time", made)
    return made


def passes(gate: Gate) -> bool:
    try:
        with gate.passage():
            return True
    except RetryableError:
        return False


def trouble() -> RetryableError:
    return RetryableError("upstream-unavailable", "detail")


def test_an_open_gate_lets_any_number_through_at_once() -> None:
    gate = Gate()
    with gate.passage(), gate.passage():
        assert passes(gate)


def test_a_closed_gate_says_for_how_long(clock: Clock) -> None:
    gate = Gate()
    gate.close(30)
    gate.close(10)
    clock.now += 12
    with pytest.raises(RetryableError) as held, gate.passage():
        pass
    assert held.value.retry_after == 18
    assert (held.value.reason, held.value.quick, held.value.attempt_consumed) == ("upstream-throttled", False, False)


def test_one_probes_and_the_others_wait_for_it(clock: Clock) -> None:
    gate = Gate()
    gate.close(30)
    clock.now += 30
    with gate.passage():
        assert not passes(gate)
        assert not passes(gate)
    with gate.passage():
        assert passes(gate)


def test_a_refusal_opens_it_too_for_an_answer_is_an_answer(clock: Clock) -> None:
    gate = Gate()
    gate.close(30)
    clock.now += 30
    with pytest.raises(PermanentError), gate.passage():
        raise PermanentError("referral-not-found", "detail")
    with gate.passage():
        assert passes(gate)


@pytest.mark.parametrize("error", [trouble(), BaseException("cancelled")])
def test_after_a_probe_in_trouble_the_next_one_probes(clock: Clock, error: BaseException) -> None:
    gate = Gate()
    gate.close(30)
    clock.now += 30
    with pytest.raises(type(error)), gate.passage():
        raise error
    with gate.passage():
        assert not passes(gate)


def test_a_probe_that_is_throttled_closes_it_again(clock: Clock) -> None:
    gate = Gate()
    gate.close(30)
    clock.now += 30
    with contextlib.suppress(RetryableError), gate.passage():
        gate.close(60)
        raise trouble()
    clock.now += 59
    assert not passes(gate)
    clock.now += 1
    assert passes(gate)


def test_one_who_passed_before_it_closed_does_not_open_it(clock: Clock) -> None:
    gate = Gate()
    with gate.passage():
        gate.close(30)
        clock.now += 30
    with gate.passage():
        assert not passes(gate)
