"""A table in memory, and one that dies between two steps."""

from collections.abc import Callable, Mapping
from typing import Any

from referral_fn.errors import RetryableError
from referral_fn.state.table import ConflictError, Row


class MemoryTable:
    """Behaves as Azure Table Storage does, as far as the app goes."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, str], Row] = {}
        self.calls = 0
        self.is_down = False
        self.before_save: Callable[[], None] = lambda: None
        """Called before each write, for somebody else to write first."""
        self._version = 0

    async def get(self, partition: str, key: str) -> Row | None:
        self._count()
        return self.rows.get((partition, key))

    async def save(self, partition: str, key: str, values: Mapping[str, Any], *, etag: str | None) -> None:
        self._count()
        hook, self.before_save = self.before_save, lambda: None
        hook()
        current = self.rows.get((partition, key))
        if (current.etag if current else None) != etag:
            raise ConflictError
        self.put(partition, key, values)

    async def delete(self, row: Row) -> None:
        self._count()
        current = self.rows.get((row.partition, row.key))
        if current is None or current.etag != row.etag:
            raise ConflictError
        del self.rows[row.partition, row.key]

    async def page(self, condition: str, continuation: str) -> tuple[list[Row], str | None]:
        raise NotImplementedError(condition, continuation)

    def put(self, partition: str, key: str, values: Mapping[str, Any]) -> None:
        """Write a row as somebody else would."""
        self._version += 1
        self.rows[partition, key] = Row(partition, key, dict(values), f"v{self._version}")

    def _count(self) -> None:
        self.calls += 1
        if self.is_down:
            raise RetryableError("state-unavailable", "the table is down")
