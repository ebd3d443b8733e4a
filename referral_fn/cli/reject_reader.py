"""A walk over the rejects queue, page by page, that ends, and disturbs other readers as little as possible."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Self, TypeVar

from referral_fn.cli.reject_ledger import RejectLedger
from referral_fn.errors import RetryableError
from referral_fn.queues.base import LeasedMessage, Queue
from referral_fn.referrals.rejects import Reject, RejectPart, read_part

VISIBILITY_TIMEOUT = 600
"""Seconds for which a page is leased; on Service Bus the queue's lock duration applies instead. What a killed command
had leased is visible again after this time."""

_CONCURRENCY = 16
_PAGES_WITHOUT_NEWS = 4
"""So many pages in a row without a new reject end the walk."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class LeasedReject:
    """A reject, and the leases on its messages."""

    reject: Reject
    messages: tuple[LeasedMessage, ...]


class RejectReader:
    """Leases one page after another, and releases what the caller has not removed before it leases the next.

    Storage queues put a released message behind all others: the walk is through when only messages come that it has
    seen. Service Bus puts it back in its old place, in front of the others. The walk notices that new rejects come
    after seen ones, and keeps its leases from then on, until it ends.

    Use it as a context manager: on leaving, all leases are given back.
    """

    def __init__(self, queue: Queue, *, started: datetime) -> None:
        """Prepare a walk.

        Args:
            queue: the rejects queue.
            started: rejects of this time or later are left out. Requests that the walk puts back may be rejected again
                while it lasts, and would otherwise never let it end.
        """
        self._queue = queue
        self._started = started
        self._ledger = RejectLedger()
        self._open: list[LeasedMessage] = []
        self._has_repeated = False
        self._keeps_leases = False
        self.foreign = 0
        """Messages seen that are no rejects."""
        self.newer = 0
        """Messages seen of rejects that are not older than the walk."""
        self.is_incomplete = False
        """Whether leases ended before the walk did, so that there may be rejects that it has not seen."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._release(self._open)
        while (leases := self._ledger.pop_leases()) and await self._release(leases):
            pass
        self._ledger.close()

    async def pages(self) -> AsyncIterator[list[LeasedReject]]:
        """The rejects, page by page. Those of several parts come with the page that completes them.

        Raises:
            RetryableError: the queue cannot be read.
        """
        pages_without_news = 0
        while pages_without_news < _PAGES_WITHOUT_NEWS:
            page = await self._queue.take(VISIBILITY_TIMEOUT)
            self.is_incomplete = any(self._ledger.keeps_lease(message) for message in page)
            fresh = [message for message in page if not self._is_repeated(message)]
            newer = self.newer
            rejects = self._read(fresh)
            has_news = len(fresh) > self.newer - newer
            pages_without_news = 0 if has_news else pages_without_news + 1
            self._keeps_leases |= has_news and self._has_repeated
            if rejects:
                yield rejects
            await self._end_page()
            if not page:
                return

    def leftovers(self) -> Iterator[LeasedReject]:
        """Rejects of which parts are missing, once the walk is through."""
        for key in self._ledger.incomplete():
            yield self._join(key)

    def _is_repeated(self, message: LeasedMessage) -> bool:
        """Whether the message was seen before. Its lease is then kept, so that it does not come again."""
        if not self._ledger.has_seen(message):
            return False
        self._has_repeated = True
        self._ledger.record(message, keep_lease=True)
        return True

    def _read(self, messages: Iterable[LeasedMessage]) -> list[LeasedReject]:
        """The rejects that are complete with these messages."""
        rejects = []
        for message in messages:
            self._ledger.record(message, keep_lease=False)
            part = read_part(message.body)
            is_newer = part is not None and part.rejected_at >= self._started
            self.foreign += part is None
            self.newer += is_newer
            if part is None or is_newer:
                self._open.append(message)
            elif part.total == 1:
                self._open.append(message)
                rejects.append(LeasedReject(Reject((part,)), (message,)))
            else:
                key = f"{part.total} {part.reject_id}"
                if self._ledger.keep_part(message, key, part.number) == part.total:
                    rejects.append(self._join(key))
        return rejects

    def _join(self, key: str) -> LeasedReject:
        messages = self._ledger.pop_parts(key)
        self._open += messages
        parts: dict[int, RejectPart] = {}
        for message in messages:
            if part := read_part(message.body):
                parts[part.number] = part
        return LeasedReject(Reject(tuple(parts.values())), tuple(messages))

    async def _end_page(self) -> None:
        staying, self._open = [message for message in self._open if not message.removed], []
        if not self._keeps_leases:
            await self._release(staying)
            return
        for message in staying:
            self._ledger.record(message, keep_lease=True)

    async def _release(self, messages: Iterable[LeasedMessage]) -> bool:
        """Release the messages that are not removed. Returns False if that failed for all of them."""
        released = []

        async def release(message: LeasedMessage) -> None:
            try:
                await self._queue.release(message)
            except RetryableError:
                return  # the lease has ended, or will end by itself
            released.append(message)

        leased = [message for message in messages if not message.removed]
        await for_each(release, leased)
        return bool(released) or not leased


async def for_each(act: Callable[[T], Awaitable[None]], items: Iterable[T]) -> None:
    """Do something to all items, a few at a time."""
    slots = asyncio.Semaphore(_CONCURRENCY)

    async def limited(item: T) -> None:
        async with slots:
            await act(item)

    async with asyncio.TaskGroup() as group:
        for item in items:
            group.create_task(limited(item))
