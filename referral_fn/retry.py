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

MAX_RETRY_AFTER = 3600
"""Seconds. The longest `Retry-After` that is obeyed: a longer one is more likely an error than a plan."""

_FIRST_PAUSE = 1 / 40
"""The mean of the first pause, as a share of the budget: half a second out of twenty."""

_OWN_SHARE = 0.95
"""The share of its limit that an attempt plans with: its own time-outs, which name their cause, expire first."""

T = TypeVar("T")


async def retrying(
    attempt: Callable[[float], Awaitable[T]], *, budget: float, on_timeout: Callable[[], RetryableError]
) -> T:
    """Try up to three times, with jittered pauses that double, or as long as the other side asks for.

    Args:
        attempt: called with the seconds that it may take. Each attempt has half of the budget, so that a stalled one
            leaves time for another. An attempt that takes longer is cancelled, whatever it is waiting for.
        budget: seconds for everything, pauses included.
        on_timeout: makes the error of a cancelled attempt.

    Raises:
        RetryableError: the last one, when attempts or time are used up or a quick attempt cannot help.
    """
    clock = asyncio.get_running_loop().time
    deadline = clock() + budget
    number = 0
    while True:
        number += 1
        limit = min(budget / 2, deadline - clock())
        try:
            async with asyncio.timeout(limit):
                return await attempt(limit * _OWN_SHARE)
        except TimeoutError:
            error = on_timeout()
        except RetryableError as failure:
            error = failure
        pause = error.retry_after
        if pause is None:
            pause = budget * _FIRST_PAUSE * 2 ** (number - 1) * random.uniform(0.5, 1.5)  # noqa: S311 - not a secret
        if number == ATTEMPTS or not error.quick or clock() + pause >= deadline:
            raise error
        await asyncio.sleep(pause)


def read_retry_after(value: str | None) -> float | None:
    """Seconds to wait according to a `Retry-After` header (RFC 9110, section 10.2.3): a number of seconds, or a date.

    Returns:
        At most `MAX_RETRY_AFTER`. None if there is no header, or if it is neither a number nor a date.
    """
    text = (value or "").strip()
    if text.isascii() and text.isdecimal():
        return min(float(text), MAX_RETRY_AFTER)
    try:
        date = parsedate_to_datetime(text)
        date = date if date.tzinfo else date.replace(tzinfo=UTC)
        seconds = (date - datetime.now(UTC)).total_seconds()
    except (ValueError, OverflowError, TypeError, IndexError):  # the parser is older than any contract about errors
        return None
    return min(max(seconds, 0.0), MAX_RETRY_AFTER)
