"""What lies on the rejects queue: looked at, and put back on the requests queue."""

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from referral_fn import strict_json
from referral_fn.errors import RetryableError
from referral_fn.queues.base import LeasedMessage, Message, Queue
from referral_fn.referrals.events import REJECT_TYPE
from referral_fn.referrals.request import InvalidRequestError, parse_envelope
from referral_fn.timestamps import read_utc

HOLD = 600
"""Seconds for which rejects are hidden from other readers while they are looked at; then they are there again."""

_AT_ONCE = 16


@dataclass(frozen=True, slots=True)
class Reject:
    """One reject; of several messages where what it keeps was too long for one."""

    id: str
    reason: str
    detail: str
    at: datetime
    referral_id: str | None
    documents: tuple[dict[str, Any], ...]
    """The CloudEvents, whole, the parts in their order."""
    held: tuple[LeasedMessage, ...]

    def request(self) -> Message | None:
        """The message that asks for it anew, its attempts forgotten; none where parts are missing."""
        first = self.documents[0]
        if self.referral_id:
            body = parse_envelope({**first["data"], **first, "attempt": 0}).envelope(attempt=0)
            return Message(body, session=self.referral_id, correlation=self.referral_id)
        messages = [document["data"].get("message", {}) for document in self.documents]
        if len(messages) != messages[0].get("parts", 1) or not all("text" in message for message in messages):
            return None
        text = "".join(message["text"] for message in messages)
        return Message(text.encode(), session=self.id, content_type="text/plain")


@dataclass(frozen=True, slots=True)
class Choice:
    """Which rejects are meant; all of them, where nothing is said."""

    ids: frozenset[str] = frozenset()
    """IDs of rejects, or of referrals in lower case."""
    reasons: frozenset[str] = frozenset()
    since: datetime | None = None
    until: datetime | None = None

    def __contains__(self, reject: Reject) -> bool:
        return (
            (not self.ids or bool(self.ids & {reject.id, reject.referral_id}))
            and (not self.reasons or reject.reason in self.reasons)
            and (self.since is None or reject.at >= self.since)
            and (self.until is None or reject.at < self.until)
        )


@contextlib.asynccontextmanager
async def holding(queue: Queue, told: Callable[[int], None] = lambda _: None) -> AsyncIterator[list[LeasedMessage]]:
    """Take all messages there are for `HOLD` seconds, and let those go in the end that have not been removed.

    Args:
        queue: the rejects queue.
        told: called with how many have been taken so far.

    Raises:
        RetryableError: the queue cannot be read.
    """
    held: list[LeasedMessage] = []
    try:
        while taken := await queue.take(HOLD):
            held += taken
            told(len(held))
        yield held
    finally:
        await _each(lambda message: _let_go(queue, message), held)


async def _let_go(queue: Queue, message: LeasedMessage) -> None:
    if not message.removed:
        with contextlib.suppress(RetryableError):  # it is let go by itself, later
            await queue.release(message)


def read_rejects(messages: Iterable[LeasedMessage]) -> tuple[list[Reject], int]:
    """The rejects among messages, oldest first, and how many other messages there are."""
    parts: dict[str, list[tuple[int, dict[str, Any], LeasedMessage]]] = defaultdict(list)
    others = 0
    for message in messages:
        try:
            document = strict_json.loads(message.body)
            if document["type"] != REJECT_TYPE:
                raise ValueError
            number = document["data"].get("message", {}).get("part", 1)
            reject_id = document["id"].rpartition("/")[0] if number > 1 else document["id"]
            read_utc(document["time"]), document["data"]["reason"], document["data"]["detail"]
            parts[reject_id].append((number, document, message))
        except (ValueError, KeyError, TypeError, AttributeError):
            others += 1
    rejects = [_reject(reject_id, found) for reject_id, found in parts.items()]
    return sorted(rejects, key=lambda reject: reject.at), others


def _reject(reject_id: str, found: list[tuple[int, dict[str, Any], LeasedMessage]]) -> Reject:
    parts = {number: document for number, document, _ in found}  # a part delivered twice is one part
    documents = tuple(parts[number] for number in sorted(parts))
    data = documents[0]["data"]
    return Reject(
        reject_id,
        data["reason"],
        data["detail"],
        read_utc(documents[0]["time"]),
        data.get("referralId"),
        documents,
        tuple(message for _, _, message in found),
    )


async def put_back(
    chosen: list[Reject], rejects: Queue, requests: Queue, told: Callable[[], None] = lambda: None
) -> list[tuple[Reject, str]]:
    """Put the requests of rejects back on the requests queue, and remove each reject once its request is there.

    Returns:
        Those that failed, and why. They are still on the rejects queue.
    """
    failed: list[tuple[Reject, str]] = []

    async def one(reject: Reject) -> None:
        try:
            request = reject.request()
            if request is None:
                failed.append((reject, "a part of the message it keeps is missing"))
                return
            await requests.put(request)
            for message in reject.held:
                await rejects.remove(message)
        except (RetryableError, InvalidRequestError) as error:
            failed.append((reject, str(error)))
        finally:
            told()

    await _each(one, chosen)
    return failed


async def _each(act: Callable[[Any], Any], items: Iterable[Any]) -> None:
    """Do something to each, a few at a time."""
    slots = asyncio.Semaphore(_AT_ONCE)

    async def one(item: Any) -> None:
        async with slots:
            await act(item)

    async with asyncio.TaskGroup() as group:
        for item in items:
            group.create_task(one(item))
