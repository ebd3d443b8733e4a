"""Requests referrals from an app in every supported way, and collects the outcomes."""

import asyncio
import dataclasses
import json
import random
import time
import uuid
from collections.abc import Callable, Coroutine
from typing import Any

import aiohttp
from azure.core.credentials import AccessToken

from endurance.fates import FAULT_TIMES, FAULTS, Asked
from endurance.platform import Platform
from local_stack.stack import Queues, Stack
from local_stack.stand_ins.partner_center import Fault
from referral_fn.credentials.token_source import TokenSource
from referral_fn.errors import RetryableError
from referral_fn.queues.base import LeasedMessage, Message, Queue
from referral_fn.queues.opening import open_queue

_BACKLOG = 400
"""Referrals in flight: as many as a queue can hold before Azurite slows down."""

_BATCH = 20
_BY_HTTP = 0.05
"""The share of batches that are requested over HTTP."""

_FULL_BATCH = 32
"""The maximum number of messages that one poll returns."""

_PAUSE = 0.3
"""Seconds between polls of a queue with few messages: a poll costs Azurite as much as a message."""

_TWICE = 0.03
"""The share of requests that are sent twice."""

_STOPPERS_EVERY = 20_000
"""One referral in so many kills every worker that fetches it."""


class Load:
    """The requests of one run, and their outcomes."""

    def __init__(
        self, stack: Stack, session: aiohttp.ClientSession, queues: Queues, platform: Platform, count: int
    ) -> None:
        self._stack = stack
        self._session = session
        self._platform = platform
        self._count = count
        self.random = random.Random(count)
        self.requests, self.events, self.rejects = open_queues(stack, session, queues)
        self.asked: dict[str, Asked] = {}
        self.under_way = 0
        self.strangers = 0
        """Outcomes of referrals that were not requested."""
        self.stoppers = 0
        """Referrals that kill every worker that fetches them."""
        self.sent_twice = 0
        self.last_outcome = time.monotonic()

    @property
    def done(self) -> int:
        """The number of referrals with an outcome."""
        return len(self.asked) - self.under_way

    async def ask(self) -> None:
        """Request all referrals, a limited number at a time."""
        while len(self.asked) < self._count:
            if self.under_way > _BACKLOG:
                await asyncio.sleep(0.02)
                continue
            batch = [self._invent() for _ in range(min(_BATCH, self._count - len(self.asked)))]
            if self.random.random() < _BY_HTTP:
                await self._ask_over_http(batch)
            else:
                await asyncio.gather(*(self._send(referral_id) for referral_id in batch))

    def _invent(self) -> str:
        """Create a referral with the fate that it must meet."""
        referral_id = str(uuid.UUID(int=self.random.getrandbits(128), version=4))
        must = "event"
        if len(self.asked) % _STOPPERS_EVERY == 150:
            self.stoppers += 1
            self._stack.partner_center.faults[referral_id] = Fault("kill")
            must = "retries-exhausted"
        elif drawn := self._draw():
            fault, reason = drawn
            times = None if reason else self.random.choice(FAULT_TIMES)
            self._stack.partner_center.faults[referral_id] = dataclasses.replace(fault, times=times)
            must = reason or must
        self.asked[referral_id] = Asked(must)
        self.under_way += 1
        return referral_id

    def _draw(self) -> tuple[Fault, str | None] | None:
        draw = self.random.random()
        for share, fault, reason in FAULTS:
            draw -= share
            if draw < 0:
                return fault, reason
        return None

    async def _send(self, referral_id: str) -> None:
        shapes: list[Any] = [
            {"referralId": referral_id.upper()},
            {"EventName": "referral-updated", "ResourceUri": f"https://example.com/v1/referrals/{referral_id}"},
            {"specversion": "1.0", "type": "t", "source": "s", "id": "1", "subject": referral_id},
        ]
        text = referral_id if self.random.random() < 0.7 else json.dumps(self.random.choice(shapes))
        twice = self.random.random() < _TWICE
        self.sent_twice += twice
        for _ in range(1 + twice):
            await patiently(self.requests.put, Message(text.encode()))

    async def _ask_over_http(self, referral_ids: list[str]) -> None:
        """Retry as a caller does, until each is queued."""
        while referral_ids:
            await self._platform.up.wait()
            try:
                url = f"{self._platform.host.url}/api/referrals"  # type: ignore[union-attr]
                async with self._session.post(url, json={"referralIds": referral_ids}) as answer:
                    results = (await answer.json())["results"] if answer.status == 202 else []
                queued = {result["referralId"] for result in results if result["status"] == "queued"}
                referral_ids = [referral_id for referral_id in referral_ids if referral_id not in queued]
            except (aiohttp.ClientError, TimeoutError, ValueError):
                await asyncio.sleep(0.2)

    async def collect(self, queue: Queue) -> None:
        """Take outcomes from a queue until cancelled."""
        while True:
            taken: list[LeasedMessage] = await patiently(queue.take, 60) or []
            for message in taken:
                self._note(json.loads(message.body))
            await asyncio.gather(*(patiently(queue.remove, message) for message in taken))
            if len(taken) < _FULL_BATCH:
                await asyncio.sleep(_PAUSE)

    def _note(self, event: dict[str, Any]) -> None:
        self.last_outcome = time.monotonic()
        asked = self.asked.get(event["subject"])
        if asked is None:
            self.strangers += 1
            return
        self.under_way -= not asked.has_outcome
        if "reason" in event["data"]:
            asked.rejects[event["data"]["reason"]] += 1
            asked.gave_up |= "last delivery" in event["data"]["detail"]
        else:
            asked.events[event["id"]] += 1


async def patiently(act: Callable[..., Coroutine[Any, Any, Any]], *arguments: Any) -> Any:
    """Retry an operation until the queue service accepts it."""
    while True:
        try:
            return await act(*arguments)
        except RetryableError as error:
            if "404" in str(error):  # removed before, by a call whose answer was lost
                return None
            await asyncio.sleep(0.2)


class _Caller:
    """A credential for a client other than the app."""

    def __init__(self, stack: Stack) -> None:
        self._issuer = stack.issuer

    async def get_token(self, *scopes: str) -> AccessToken:
        """A token for a service."""
        lifetime = 24 * 3600
        token = self._issuer.mint(scopes[0].removesuffix("/.default"), "somebody", lifetime)
        return AccessToken(token, int(time.time()) + lifetime)

    async def close(self) -> None:
        """Nothing is kept open."""


def open_queues(stack: Stack, session: aiohttp.ClientSession, queues: Queues) -> tuple[Queue, Queue, Queue]:
    """The queues of requests, events and rejects, as a client other than the app uses them."""
    requests, events, rejects = (
        open_queue(queue.url, session, TokenSource(lambda: _Caller(stack)), 256 * 1024)
        for queue in (queues.requests, queues.events, queues.rejects)
    )
    return requests, events, rejects
