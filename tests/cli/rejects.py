"""Rejects as the app writes them, and the two kinds of queue that keep them, simulated."""

import asyncio
import itertools
import json
import uuid
from collections import deque
from typing import Any

from referral_fn.errors import RetryableError
from referral_fn.queues.base import LeasedMessage, Message, Queue
from referral_fn.referrals.events import REJECT_TYPE

PAGE = 32


def reject(**changes: Any) -> dict[str, Any]:
    """A reject of a request for a referral. `data` is merged into the usual data."""
    data = {"reason": "upstream-refused", "detail": "Partner Center answered 400", "attempts": 0}
    asked = {"referralId": str(uuid.uuid4()), "firstSeen": "2026-01-02T03:04:05.000000Z"}
    merged = {**data, **({} if "message" in changes.get("data", {}) else asked), **changes.pop("data", {})}
    event = {"specversion": "1.0", "type": REJECT_TYPE, "id": str(uuid.uuid4()), "time": "2026-01-03T00:00:00.000000Z"}
    return {**event, **changes, "data": merged}


def parts(reject_id: str, *texts: str, **changes: Any) -> list[dict[str, Any]]:
    """A reject that keeps a message in several parts."""
    return [
        reject(
            id=reject_id if number == 1 else f"{reject_id}/{number}",
            data={"message": {"text": text, "part": number, "parts": len(texts)}},
            **changes,
        )
        for number, text in enumerate(texts, 1)
    ]


def encoded(document: Any) -> bytes:
    return json.dumps(document).encode()


class SimulatedQueue(Queue):
    """A queue in memory. Every call yields to other tasks, as a real one would."""

    def __init__(self, *, in_place: bool) -> None:
        """Make a queue.

        Args:
            in_place: whether a released message returns to its old place, as on Service Bus, and not behind the others.
        """
        self.name = "rejects"
        self.in_place = in_place
        self.visible: deque[tuple[int, bytes]] = deque()
        self.leased: dict[str, tuple[int, bytes]] = {}
        self.most_leased = 0
        self.leases_of: dict[int, int] = {}
        self.lease_limit: int | None = None
        """How many leases last; when there are more, the oldest end."""
        self.is_broken = False
        self._numbers = itertools.count(1)
        self._receipts = itertools.count(1)

    async def put(self, message: Message, *, delay: float = 0) -> None:
        await asyncio.sleep(0)
        if self.is_broken:
            raise RetryableError("queue-unavailable", "the queue is broken")
        self.add(message.body)

    def add(self, body: bytes) -> None:
        self.visible.append((next(self._numbers), body))

    async def take(self, seconds: int) -> list[LeasedMessage]:
        await asyncio.sleep(0)
        page: list[LeasedMessage] = []
        while self.visible and len(page) < PAGE:
            number, body = self.visible.popleft()
            receipt = str(next(self._receipts))
            self.leased[receipt] = (number, body)
            self.leases_of[number] = self.leases_of.get(number, 0) + 1
            page.append(LeasedMessage(receipt, body, str(number)))
        self.most_leased = max(self.most_leased, len(self.leased))
        while self.lease_limit and len(self.leased) > self.lease_limit:
            self._return(next(iter(self.leased)))
        return page

    async def release(self, message: LeasedMessage) -> None:
        await asyncio.sleep(0)
        self._check(message)
        self._return(message.receipt)

    async def remove(self, message: LeasedMessage) -> None:
        await asyncio.sleep(0)
        self._check(message)
        del self.leased[message.receipt]
        message.removed = True

    async def probe(self) -> None:
        raise NotImplementedError

    def bodies(self) -> list[bytes]:
        return [body for _, body in self.visible]

    def _check(self, message: LeasedMessage) -> None:
        if message.receipt not in self.leased:
            raise RetryableError("queue-unavailable", "the lease has ended")

    def _return(self, receipt: str) -> None:
        message = self.leased.pop(receipt)
        if not self.in_place:
            self.visible.append(message)
            return
        place = next((at for at, other in enumerate(self.visible) if other[0] > message[0]), len(self.visible))
        self.visible.insert(place, message)

    def _headers(self) -> dict[str, str]:
        raise NotImplementedError

    def _explain(self, method: str, path: str, response: Any) -> tuple[str, bool]:
        raise NotImplementedError
