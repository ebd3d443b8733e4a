"""The gate: closed while Partner Center limits the request rate, then half open for one probe."""

import contextlib

import pytest

from referral_fn import gate as gate_module
from referral_fn.errors import PermanentError, RetryableError
from referral_fn.gate import PROBE_AFTER, Gate


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(gate_module, "time", clock)
    return clock


def passes(gate: Gate) -> bool:
    try:
        with gate.passage():
            return True
    except RetryableError:
        return False


def failure() -> RetryableError:
    return RetryableError("upstream-unavailable", "detail")


def test_an_open_gate_lets_any_number_through_at_once() -> None:
    gate = Gate()
    with gate.passage(), gate.passage():
        assert passes(gate)


def test_a_closed_gate_states_for_how_long(clock: Clock) -> None:
    gate = Gate()
    gate.close(30)
    gate.close(10)
    clock.now += 12
    with pytest.raises(RetryableError) as raised, gate.passage():
        pass
    assert raised.value.retry_after == 18
    error = raised.value
    assert (error.reason, error.quick, error.attempt_consumed) == ("upstream-throttled", False, False)


def test_one_request_probes_and_the_others_wait_for_it(clock: Clock) -> None:
    gate = Gate()
    gate.close(30)
    clock.now += 30
    with gate.passage():
        assert not passes(gate)
        assert not passes(gate)
    with gate.passage():
        assert passes(gate)


def test_a_probe_goes_through_after_fifteen_minutes_of_a_longer_pause(clock: Clock) -> None:
    gate = Gate()
    gate.close(3600)
    clock.now += 899
    with pytest.raises(RetryableError) as raised, gate.passage():
        pass
    assert raised.value.retry_after == 1
    clock.now += 1
    with gate.passage():
        assert not passes(gate)
    assert passes(gate)
    assert PROBE_AFTER == 900


def test_a_refusal_opens_the_gate_because_it_is_an_answer(clock: Clock) -> None:
    gate = Gate()
    gate.close(30)
    clock.now += 30
    with pytest.raises(PermanentError), gate.passage():
        raise PermanentError("referral-not-found", "detail")
    with gate.passage():
        assert passes(gate)


@pytest.mark.parametrize("error", [failure(), BaseException("cancelled")])
def test_after_a_failed_probe_the_next_request_probes(clock: Clock, error: BaseException) -> None:
    gate = Gate()
    gate.close(30)
    clock.now += 30
    with pytest.raises(type(error)), gate.passage():
        raise error
    with gate.passage():
        assert not passes(gate)


def test_a_throttled_probe_closes_the_gate_again(clock: Clock) -> None:
    gate = Gate()
    gate.close(30)
    clock.now += 30
    with contextlib.suppress(RetryableError), gate.passage():
        gate.close(60)
        raise failure()
    clock.now += 59
    assert not passes(gate)
    clock.now += 1
    assert passes(gate)


def test_a_request_that_passed_before_the_gate_closed_does_not_open_it(clock: Clock) -> None:
    gate = Gate()
    with gate.passage():
        gate.close(30)
        clock.now += 30
    with gate.passage():
        assert not passes(gate)
