"""Quick attempts at operations that may succeed a moment later."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TypeVar

from referral_fn.errors import RetryableError

ATTEMPTS = 3
LONGEST_WAIT = 7 * 24 * 3600
"""Seconds. The maximum visibility timeout of a queue message ("Put Message" in the Queue Storage REST reference)."""

_FIRST_PAUSE = 1 / 40
"""The mean of the first pause, as a share of the budget: half a second out of twenty."""

T = TypeVar("T")


async def retrying(attempt: Callable[[float], Awaitable[T]], *, budget: float) -> T:
    """Try up to three times, with jittered pauses that double, or as long as the other side asks for.

    Args:
        attempt: called with the seconds it may take: half of the budget at most, so that a stall leaves time for a
            second try.
        budget: seconds that all of it may take.

    Raises:
        RetryableError: the last one, once attempts or time are used up, or when it says that being quick cannot help.
    """
    clock = asyncio.get_running_loop().time
    deadline = clock() + budget
    for number in range(1, ATTEMPTS):
        try:
            return await attempt(min(budget / 2, deadline - clock()))
        except RetryableError as trouble:
            pause = trouble.retry_after
            if pause is None:
                pause = budget * _FIRST_PAUSE * 2 ** (number - 1) * random.uniform(0.5, 1.5)  # noqa: S311 - no secret
            if not trouble.quick or clock() + pause >= deadline:
                raise
        await asyncio.sleep(pause)
    return await attempt(min(budget / 2, deadline - clock()))


def read_retry_after(value: str | None) -> float | None:
    """Seconds to wait by a `Retry-After` header (RFC 9110, section 10.2.3): a number of them, or a date."""
    if value is None:
        return None
    if value.strip().isdecimal():
        return min(float(value), LONGEST_WAIT)
    try:
        until = parsedate_to_datetime(value)
    except ValueError:
        return None
    until = until if until.tzinfo else until.replace(tzinfo=UTC)
    return min(max((until - datetime.now(UTC)).total_seconds(), 0.0), LONGEST_WAIT)
