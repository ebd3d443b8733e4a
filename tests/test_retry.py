import asyncio
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from referral_fn.errors import RetryableError
from referral_fn.retry import LONGEST_WAIT, read_retry_after, retrying


class Attempts:
    """Fails as told, then succeeds; notes the seconds it was given."""

    def __init__(self, *troubles: RetryableError) -> None:
        self.troubles = list(troubles)
        self.given: list[float] = []

    async def __call__(self, seconds: float) -> str:
        self.given.append(seconds)
        if self.troubles:
            raise self.troubles.pop(0)
        return "done"


def trouble(retry_after: float | None = None, *, quick: bool = True) -> RetryableError:
    return RetryableError("reason", "detail", retry_after=retry_after, quick=quick)


async def test_the_third_attempt_may_succeed() -> None:
    attempts = Attempts(trouble(), trouble())
    assert await retrying(attempts, budget=0.4) == "done"
    assert len(attempts.given) == 3
    assert attempts.given[0] == pytest.approx(0.2)


async def test_there_is_no_fourth() -> None:
    attempts = Attempts(*[trouble() for _ in range(9)])
    with pytest.raises(RetryableError):
        await retrying(attempts, budget=0.4)
    assert len(attempts.given) == 3


async def test_what_cannot_be_helped_quickly_is_tried_once() -> None:
    attempts = Attempts(trouble(quick=False))
    with pytest.raises(RetryableError):
        await retrying(attempts, budget=20)
    assert len(attempts.given) == 1


async def test_a_pause_asked_for_is_made_where_it_fits_the_budget() -> None:
    clock = asyncio.get_running_loop().time
    started = clock()
    assert await retrying(Attempts(trouble(0.15)), budget=1) == "done"
    assert clock() - started >= 0.15


async def test_a_pause_that_does_not_fit_is_left_to_the_deferral() -> None:
    attempts = Attempts(trouble(5))
    with pytest.raises(RetryableError) as raised:
        await retrying(attempts, budget=1)
    assert (len(attempts.given), raised.value.retry_after) == (1, 5)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("", None),
        ("soon", None),
        ("-5", None),
        ("1.5", None),
        ("0", 0),
        (" 120 ", 120),
        ("9" * 30, LONGEST_WAIT),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0),
        ("Wed, 21 Oct 2015 07:28:00", 0),
        ("Wed, 21 Oct 9999 07:28:00 GMT", LONGEST_WAIT),
        ("Wed, 41 Oct 2015 07:28:00 GMT", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(header: str | None, seconds: float | None) -> None:
    assert read_retry_after(header) == seconds


def test_a_date_is_so_many_seconds_away() -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(minutes=5), usegmt=True)
    assert read_retry_after(date) == pytest.approx(300, abs=2)
