"""Quick retries within a budget, and the Retry-After header."""

import asyncio
import selectors
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from referral_fn.errors import RetryableError
from referral_fn.retry import MAX_RETRY_AFTER, read_retry_after, retrying

T = TypeVar("T")


class SimulatedTime(asyncio.SelectorEventLoop):
    """An event loop whose clock jumps to the next timer instead of waiting for it."""

    def __init__(self) -> None:
        self.now = 0.0
        loop = self

        class Selector(selectors.SelectSelector):
            def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
                loop.now += timeout or 0
                return super().select(0)

        super().__init__(Selector())

    def time(self) -> float:
        return self.now


def simulate(work: Awaitable[T]) -> tuple[T | RetryableError, float]:
    """Run to the end in simulated time. Returns the result, or the error, and the seconds that passed."""

    async def main() -> T | RetryableError:
        try:
            return await work
        except RetryableError as error:
            return error

    loop = SimulatedTime()
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        return runner.run(main()), loop.now


class Attempts:
    """Raises the given errors one by one, then succeeds. Records the seconds that each attempt may take."""

    def __init__(self, *errors: RetryableError) -> None:
        self.errors = list(errors)
        self.limits: list[float] = []

    async def __call__(self, seconds: float) -> str:
        self.limits.append(seconds)
        if self.errors:
            raise self.errors.pop(0)
        return "done"


def failure(retry_after: float | None = None, *, quick: bool = True) -> RetryableError:
    return RetryableError("reason", "detail", retry_after=retry_after, quick=quick)


def timed_out() -> RetryableError:
    return RetryableError("timeout", "detail")


def retried(attempt: Callable[[float], Awaitable[T]], budget: float) -> tuple[T | RetryableError, float]:
    return simulate(retrying(attempt, budget=budget, on_timeout=timed_out))


def test_the_third_attempt_may_succeed() -> None:
    attempts = Attempts(failure(), failure())
    result, seconds = retried(attempts, 20)
    assert (result, len(attempts.limits)) == ("done", 3)
    assert 0 < seconds < 20
    assert 9 < attempts.limits[0] < 10


def test_there_is_no_fourth_attempt() -> None:
    attempts = Attempts(*[failure() for _ in range(9)])
    result, _ = retried(attempts, 20)
    assert isinstance(result, RetryableError)
    assert len(attempts.limits) == 3


def test_there_is_one_attempt_if_a_quick_one_cannot_help() -> None:
    attempts = Attempts(failure(quick=False))
    result, seconds = retried(attempts, 20)
    assert isinstance(result, RetryableError)
    assert (len(attempts.limits), seconds) == (1, 0)


def test_a_requested_pause_is_made_if_it_fits_the_budget() -> None:
    assert retried(Attempts(failure(15)), 20) == ("done", 15)


def test_a_requested_pause_that_does_not_fit_is_left_to_the_deferral() -> None:
    attempts = Attempts(failure(25))
    result, seconds = retried(attempts, 20)
    assert isinstance(result, RetryableError)
    assert (len(attempts.limits), result.retry_after, seconds) == (1, 25, 0)


def test_an_attempt_that_hangs_outside_of_any_call_is_cancelled_within_the_budget() -> None:
    cancelled = 0

    async def hang(_: float) -> str:
        nonlocal cancelled
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            cancelled += 1
        return "done"

    result, seconds = retried(hang, 20)
    assert isinstance(result, RetryableError)
    assert (result.reason, cancelled) == ("timeout", 2)
    assert seconds <= 20


@given(st.lists(st.tuples(st.floats(0, 60), st.none() | st.floats(0, 40), st.booleans()), min_size=3, max_size=3))
def test_nothing_takes_longer_than_the_budget(script: list[tuple[float, float | None, bool]]) -> None:
    steps = iter(script)

    async def attempt(_: float) -> str:
        duration, retry_after, succeeds = next(steps)
        await asyncio.sleep(duration)
        if succeeds:
            return "done"
        raise failure(retry_after)

    assert retried(attempt, 20)[1] <= 20.001


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("", None),
        ("soon", None),
        ("-5", None),
        ("1.5", None),
        ("\u0661\u0662", None),
        ("0", 0),
        (" 120 ", 120),
        ("604800", MAX_RETRY_AFTER),
        ("9" * 30, MAX_RETRY_AFTER),
        ("9" * 5000, MAX_RETRY_AFTER),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0),
        ("Wed, 21 Oct 2015 07:28:00", 0),
        ("Wed, 21 Oct 9999 07:28:00 GMT", MAX_RETRY_AFTER),
        ("Wed, 21 Oct 99999999999999999999 07:28:00 GMT", None),
        ("Wed, 21 Oct 2015 07:28:00 +999999999999", None),
        ("Wed, 41 Oct 2015 07:28:00 GMT", None),
    ],
)
def test_retry_after_is_seconds_or_a_date_and_obeyed_up_to_one_hour(header: str | None, seconds: float | None) -> None:
    assert read_retry_after(header) == seconds


def test_a_retry_after_date_counts_from_now() -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(minutes=5), usegmt=True)
    assert read_retry_after(date) == pytest.approx(300, abs=2)


_DATES = st.builds(
    "{}, {} {} {} {}:{}:{} {}".format,
    st.sampled_from(["Wed", "", "Xyz"]),
    st.integers(),
    st.sampled_from(["Oct", "Feb", "13", ""]),
    st.integers(),
    st.integers(),
    st.integers(-1, 99),
    st.integers(),
    st.sampled_from(["GMT", "", "+0000", "-9999", "+99999999999999", "EST", "?"]),
)


@given(st.text() | _DATES | st.integers().map(str) | st.text(st.sampled_from("0123456789 :,+-GMTOct")))
def test_no_retry_after_header_raises_or_asks_for_more_than_an_hour(header: str) -> None:
    seconds = read_retry_after(header)
    assert seconds is None or 0 <= seconds <= MAX_RETRY_AFTER
