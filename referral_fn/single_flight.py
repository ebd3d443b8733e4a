"""Many waiters, one request: callers who want the same thing at the same time share one task."""

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class SingleFlight(Generic[K, V]):
    """Runs at most one task per key at a time.

    The task belongs to nobody: it goes on when a waiter is cancelled or times out, and its result, or its exception,
    goes to all who still wait.
    """

    def __init__(self) -> None:
        self._pending: dict[K, asyncio.Task[V]] = {}

    def __len__(self) -> int:
        """How many tasks are running."""
        return len(self._pending)

    def __contains__(self, key: K) -> bool:
        """Whether a task is running for the key."""
        return key in self._pending

    async def run(self, key: K, start: Callable[[], Coroutine[Any, Any, V]]) -> V:
        """Wait for the key's task, and start it if there is none.

        Raises:
            Exception: whatever the task raises.
        """
        task = self._pending.get(key)
        if task is None:
            task = self._pending[key] = asyncio.create_task(start())
            task.add_done_callback(lambda done: self._on_done(key, done))
        return await asyncio.shield(task)

    def _on_done(self, key: K, task: asyncio.Task[V]) -> None:
        del self._pending[key]
        if not task.cancelled():
            task.exception()  # marks it as retrieved: asyncio would otherwise log an error when nobody waits any more
