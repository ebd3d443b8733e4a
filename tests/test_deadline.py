"""No message comes near functionTimeout, whatever is slow: a time-out would restart the worker and all it works on."""

import asyncio
import contextlib
import itertools
import json
import selectors
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest
from multidict import CIMultiDict, CIMultiDictProxy

from referral_fn import http_call
from referral_fn.credentials.token_source import TokenSource
from referral_fn.errors import RetryableError
from referral_fn.forwarder import Forwarder
from referral_fn.http_call import NoResponseError, Response
from referral_fn.partner_center import PartnerCenter
from referral_fn.queue_worker import Delivery, QueueWorker
from referral_fn.queues.storage import StorageQueue
from referral_fn.settings import read_settings

ID = "8b9dbf1c-1c5c-4b1a-9e37-3a6f7c2f2a11"
ACCOUNT = "https://acme.queue.core.windows.net"
SETTINGS = {
    "REFERRALS_AUTH": "managed-identity",
    "EVENTS_URL": f"{ACCOUNT}/events",
    "REJECTS_URL": f"{ACCOUNT}/rejects",
    "REQUESTS_URL": f"{ACCOUNT}/requests",
    "REFERRALS_RETRY_BUDGET": "30",  # the most that is allowed
}
HOST_JSON = json.loads((Path(__file__).parent.parent / "host.json").read_text(encoding="utf-8"))
NEVER = 10_000.0


class _NoWaiting(selectors.DefaultSelector):
    """Lets the loop's clock jump to the next timer instead of waiting for it."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self.now += timeout or 0
        return super().select(0)


class SimulatedLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._clock = _NoWaiting()
        super().__init__(self._clock)

    def time(self) -> float:
        return self._clock.now


def simulated_seconds(work: Coroutine[Any, Any, None]) -> float:
    loop = SimulatedLoop()
    try:
        loop.run_until_complete(work)
        return loop.time()
    finally:
        loop.close()


class SlowCredential:
    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    async def get_token(self, *scopes: str) -> Any:
        await asyncio.sleep(self._seconds)
        raise OSError

    async def close(self) -> None:
        pass


class FixedToken:
    async def token(self, scope: str, *, refused: str | None = None, seconds: float = 0) -> str:
        await asyncio.sleep(5)
        return f"{scope} {refused}"


def worker(tokens: Any) -> QueueWorker:
    session: Any = None
    settings = read_settings(SETTINGS)
    events, rejects, requests = (
        StorageQueue(url, session, tokens) for url in (settings.events_url, settings.rejects_url, settings.requests_url)
    )
    forwarder = Forwarder(settings, PartnerCenter(settings, session, tokens), events)
    return QueueWorker(settings, forwarder, requests, rejects)


async def _process(tokens: Any, delivery: Delivery) -> None:
    with contextlib.suppress(RetryableError):
        await worker(tokens).process(delivery)


def _half_of_the_time_out() -> float:
    hours, minutes, seconds = map(int, HOST_JSON["functionTimeout"].split(":"))
    return (hours * 3600 + minutes * 60 + seconds) / 2


@pytest.mark.parametrize("count", [1, 2, 10])
@pytest.mark.parametrize("status", [None, 401, 503])
@pytest.mark.parametrize("tokens", ["none in time", "slow"])
def test_a_message_takes_at_most_half_of_the_function_time_out(
    monkeypatch: pytest.MonkeyPatch, count: int, status: int | None, tokens: str
) -> None:
    calls = itertools.count()

    async def send(*_: Any, seconds: float, **__: Any) -> Response:
        """Answer at the last moment, or never."""
        next(calls)
        if status is None:
            await asyncio.sleep(seconds)
            raise NoResponseError("timeout", timed_out=True)
        await asyncio.sleep(seconds * 0.99)
        return Response(status, CIMultiDictProxy(CIMultiDict()), b"")

    monkeypatch.setattr(http_call, "send", send)
    source: Any = FixedToken() if tokens == "slow" else TokenSource(lambda: SlowCredential(NEVER))
    taken = simulated_seconds(_process(source, Delivery(ID.encode(), "message-1", count, 10)))
    assert 10 < taken <= _half_of_the_time_out()
    assert next(calls) > 0 or tokens == "none in time"


def test_a_slow_event_loop_clock_would_be_noticed() -> None:
    assert simulated_seconds(asyncio.sleep(NEVER)) == pytest.approx(NEVER)
