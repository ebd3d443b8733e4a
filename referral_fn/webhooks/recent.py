"""Repeated notifications: one that arrives again within minutes needs no second request."""

import hashlib
import time
from collections.abc import Callable, Coroutine
from typing import Any

from referral_fn.referrals.request import ReferralRequest
from referral_fn.single_flight import SingleFlight

WINDOW = 600
"""Seconds for which a notification that was queued is remembered."""

MAX_REMEMBERED = 4096
"""Notifications. Beyond that the oldest are forgotten, which costs a second request at most."""


class RecentNotifications:
    """Remembers which notifications this process has queued.

    Folding a repeated notification loses nothing: it announces the same change of the same referral, and the request
    that is already queued fetches the referral as it is after that change. A notification that does not state when the
    referral changed is never folded, because the same bytes may announce another change.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._queued: dict[bytes, float] = {}
        self._pending: SingleFlight[bytes, None] = SingleFlight()

    async def once(
        self, request: ReferralRequest, body: bytes, enqueue: Callable[[], Coroutine[Any, Any, None]]
    ) -> bool:
        """Queue the request of a notification, unless that was done within the last `WINDOW` seconds.

        Concurrent calls with the same body share one attempt. A failed attempt is not remembered.

        Args:
            request: what the notification asks for.
            body: its exact bytes. They must be authentic.
            enqueue: puts the request on its queue.

        Returns:
            Whether this call queued it.

        Raises:
            Exception: whatever `enqueue` raises.
        """
        if request.changed_at is None:
            await enqueue()
            return True
        key = hashlib.sha256(body).digest()
        if self._is_recent(key):
            return False
        is_first = key not in self._pending
        await self._pending.run(key, lambda: self._enqueue(key, enqueue))
        return is_first

    def _is_recent(self, key: bytes) -> bool:
        queued = self._queued.get(key)
        return queued is not None and self._clock() - queued < WINDOW

    async def _enqueue(self, key: bytes, enqueue: Callable[[], Coroutine[Any, Any, None]]) -> None:
        await enqueue()
        self._queued.pop(key, None)  # so that the order is that of time
        self._queued[key] = self._clock()
        if len(self._queued) > MAX_REMEMBERED:
            del self._queued[next(iter(self._queued))]
