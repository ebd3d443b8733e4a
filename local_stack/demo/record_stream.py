"""The records that the page shows, and their delivery to browsers as server-sent events."""

import asyncio
import contextlib
import json
from collections import deque
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

_HISTORY_LENGTH = 1000
"""Records that are replayed to a browser when it connects."""

_KEEPALIVE_SECONDS = 15

Record = dict[str, Any]


class RecordStream:
    """Keeps the latest records and sends each new one to every connected browser."""

    def __init__(self) -> None:
        self.history: deque[Record] = deque(maxlen=_HISTORY_LENGTH)
        self._subscribers: set[asyncio.Queue[Record | None]] = set()

    def add(self, kind: str, **fields: Any) -> None:
        """Store a record with the current time, and send it."""
        record = {"kind": kind, "at": datetime.now(UTC).isoformat(), **fields}
        self.history.append(record)
        self.send(record)

    def send(self, record: Record | None) -> None:
        """Send a record without storing it. None ends all streams."""
        for subscriber in self._subscribers:
            subscriber.put_nowait(record)

    async def serve(self, request: web.Request, snapshot: Callable[[], Iterable[Record]]) -> web.StreamResponse:
        """Send a snapshot, then each new record, until the browser disconnects or the streams are ended.

        Args:
            request: of the browser.
            snapshot: returns the first records; called once, when no later record can be missed any more.
        """
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        subscriber: asyncio.Queue[Record | None] = asyncio.Queue()
        for record in snapshot():
            subscriber.put_nowait(record)
        self._subscribers.add(subscriber)
        with contextlib.suppress(ConnectionError):  # the browser has disconnected
            try:
                while chunk := await _next_chunk(subscriber):
                    await response.write(chunk)
            finally:
                self._subscribers.discard(subscriber)
        return response


async def _next_chunk(subscriber: asyncio.Queue[Record | None]) -> bytes:
    """The next server-sent event, a keep-alive comment after a quiet period, or nothing at the end of the stream."""
    try:
        async with asyncio.timeout(_KEEPALIVE_SECONDS):
            record = await subscriber.get()
    except TimeoutError:
        return b": keep-alive\n\n"
    return f"data: {json.dumps(record)}\n\n".encode() if record else b""
