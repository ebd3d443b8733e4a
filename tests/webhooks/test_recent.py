"""Repeated notifications: folded where that loses nothing."""

import asyncio
import dataclasses
from datetime import UTC, datetime

import pytest

from local_stack.stand_ins.webhooks import notification
from referral_fn.errors import RetryableError
from referral_fn.referrals.request import ReferralRequest
from referral_fn.webhooks import recent
from referral_fn.webhooks.recent import RecentNotifications
from tests.documents import SEED_ID
from tests.webhook_caller import BODY, Clock

REQUEST = ReferralRequest(SEED_ID, cause="referral-updated", changed_at=datetime(2026, 1, 1, tzinfo=UTC))


class Requests:
    """A requests queue that counts, and fails for as long as a test wants."""

    def __init__(self) -> None:
        self.queued: list[bytes] = []
        self.failures = 0
        self.attempts = 0
        self.delivered = asyncio.Event()
        self.delivered.set()

    async def put(self, body: bytes) -> None:
        self.attempts += 1
        await self.delivered.wait()
        if self.failures:
            self.failures -= 1
            raise RetryableError("queue-unavailable", "for a moment")
        self.queued.append(body)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def notifications(clock: Clock) -> RecentNotifications:
    return RecentNotifications(clock)


async def test_500_replays_make_one_request(notifications: RecentNotifications) -> None:
    requests = Requests()
    queued = [await notifications.once(REQUEST, BODY, lambda: requests.put(BODY)) for _ in range(500)]
    assert queued == [True] + [False] * 499
    assert requests.queued == [BODY]


async def test_500_concurrent_replays_make_one_request(notifications: RecentNotifications) -> None:
    requests = Requests()
    queued = await asyncio.gather(*(notifications.once(REQUEST, BODY, lambda: requests.put(BODY)) for _ in range(500)))
    assert sum(queued) == 1
    assert requests.queued == [BODY]


async def test_another_notification_of_the_same_referral_is_queued(notifications: RecentNotifications) -> None:
    requests = Requests()
    bodies = [notification("referral-updated", SEED_ID) for _ in range(3)]
    assert len(set(bodies)) == 3
    for body in [*bodies, *bodies]:
        await notifications.once(REQUEST, body, lambda body=body: requests.put(body))  # type: ignore[misc]
    assert requests.queued == bodies


async def test_a_notification_that_was_not_queued_is_not_remembered(notifications: RecentNotifications) -> None:
    requests = Requests()
    requests.failures = 2
    for _ in range(2):
        with pytest.raises(RetryableError):
            await notifications.once(REQUEST, BODY, lambda: requests.put(BODY))
    assert await notifications.once(REQUEST, BODY, lambda: requests.put(BODY))
    assert requests.queued == [BODY]


async def test_no_replay_is_answered_before_the_first_is_queued(notifications: RecentNotifications) -> None:
    requests = Requests()
    requests.failures = 1
    requests.delivered.clear()
    calls = [asyncio.create_task(notifications.once(REQUEST, BODY, lambda: requests.put(BODY))) for _ in range(3)]
    await asyncio.sleep(0)
    requests.delivered.set()
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(result) for result in results] == [RetryableError] * 3
    assert (requests.attempts, requests.queued) == (1, [])


async def test_a_caller_who_hangs_up_does_not_lose_the_notification(notifications: RecentNotifications) -> None:
    requests = Requests()
    requests.delivered.clear()
    first = asyncio.create_task(notifications.once(REQUEST, BODY, lambda: requests.put(BODY)))
    second = asyncio.create_task(notifications.once(REQUEST, BODY, lambda: requests.put(BODY)))
    await asyncio.sleep(0)
    first.cancel()
    requests.delivered.set()
    await second
    assert requests.queued == [BODY]


async def test_a_notification_is_queued_again_after_the_window(
    notifications: RecentNotifications, clock: Clock
) -> None:
    requests = Requests()
    for seconds in (0, recent.WINDOW - 1, 1):
        clock.advance(seconds)
        await notifications.once(REQUEST, BODY, lambda: requests.put(BODY))
    assert requests.queued == [BODY, BODY]


async def test_only_so_many_are_remembered(notifications: RecentNotifications, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recent, "MAX_REMEMBERED", 2)
    requests = Requests()
    for body in (b"1", b"2", b"3", b"3", b"2", b"1"):
        await notifications.once(REQUEST, body, lambda body=body: requests.put(body))  # type: ignore[misc]
    assert requests.queued == [b"1", b"2", b"3", b"1"]


async def test_a_notification_without_a_time_is_always_queued(notifications: RecentNotifications) -> None:
    requests, timeless = Requests(), dataclasses.replace(REQUEST, changed_at=None)
    assert [await notifications.once(timeless, BODY, lambda: requests.put(BODY)) for _ in range(3)] == [True] * 3
    assert requests.queued == [BODY] * 3
