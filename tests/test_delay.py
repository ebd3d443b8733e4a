"""How long a deferred request waits."""

from typing import Any

import pytest

from referral_fn.errors import RetryableError
from referral_fn.forwarder import Forwarder
from referral_fn.referrals.outcome import Deferred
from referral_fn.referrals.request import ReferralRequest
from referral_fn.settings import read_settings
from tests.environment import ENVIRONMENT


class Throttled:
    """Partner Center, which always asks for a pause."""

    def __init__(self, retry_after: float | None, *, attempt_consumed: bool) -> None:
        self._error = RetryableError(
            "upstream-throttled", "d", retry_after=retry_after, attempt_consumed=attempt_consumed
        )

    async def fetch(self, *_: object) -> None:
        raise self._error


async def delays(retry_after: float | None, *, attempt: int = 0, attempt_consumed: bool = True) -> list[float]:
    partner_center: Any = Throttled(retry_after, attempt_consumed=attempt_consumed)
    events: Any = None
    forwarder = Forwarder(read_settings(ENVIRONMENT), partner_center, events)
    request = ReferralRequest("8b9dbf1c-1c5c-4b1a-9e37-3a6f7c2f2a11", attempt)
    outcomes = [await forwarder.forward(request) for _ in range(300)]
    return [outcome.delay for outcome in outcomes if isinstance(outcome, Deferred)]


async def test_without_a_pause_the_delay_is_the_schedules_with_jitter() -> None:
    assert all(10 * 1.08 <= delay <= 10 * 1.2 for delay in await delays(None))
    assert all(86400 * 1.08 <= delay <= 86400 * 1.2 for delay in await delays(None, attempt=7))


@pytest.mark.parametrize(("pause", "spread"), [(60, 60), (3600, 900)])
async def test_what_a_pause_held_up_is_spread_over_a_time_as_long_as_the_pause(pause: float, spread: float) -> None:
    found = await delays(pause, attempt_consumed=False)
    assert all(pause <= delay <= (pause + spread) * 1.2 for delay in found)
    assert max(found) - min(found) > spread / 2
