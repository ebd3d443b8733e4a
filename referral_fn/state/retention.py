"""Removes the rows of referrals that were closed long ago, and of backfills that ended long ago."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from referral_fn import log
from referral_fn.errors import RetryableError
from referral_fn.state.backfill_runs import PARTITION as BACKFILLS
from referral_fn.state.memory import ROW
from referral_fn.state.table import ConflictError, Row, Table
from referral_fn.timestamps import utc

PARTITION, KEY = "app", "retention"

EVERY = timedelta(days=1)
"""How often a search of the table begins, which reads all of it."""

SECONDS = 10
"""After how many seconds a run asks for no further page. The next run goes on there."""

CONCURRENCY = 16
"""How many rows are deleted at a time."""


class Retention:
    """Removes rows last written before the setting's days whose referral is closed, or whose backfill has ended."""

    def __init__(self, table: Table, days: int) -> None:
        self._table = table
        self._age = timedelta(days=days)

    async def run_if_due(self, deadline: float | None = None) -> None:
        """Remove what is old, once a day. A failure of the table is logged, and the next run goes on from there.

        Args:
            deadline: when to give up, by the event loop's clock.
        """
        try:
            async with asyncio.timeout_at(deadline):
                await self._run_if_due()
        except ConflictError:
            return  # another run has just begun
        except (RetryableError, TimeoutError) as error:
            log.warning("state.unavailable", operation="retention", detail=str(error) or "not done in time")

    async def _run_if_due(self) -> None:
        clock, now = asyncio.get_running_loop().time, datetime.now(UTC)
        end = clock() + SECONDS
        began, continuation = _read(await self._table.get(PARTITION, KEY))
        if continuation is None:
            if now - began < EVERY:
                return
            began, continuation = now, ""
        removed = 0
        while continuation is not None:
            await self._save(began, continuation)
            rows, continuation = await self._table.page(self._condition(began), continuation)
            removed += await self._remove(rows)
            if clock() >= end:
                break
        await self._save(began, continuation)
        log.info("state.cleaned", removed=removed)

    def _condition(self, began: datetime) -> str:
        before = began - self._age
        closed = f"RowKey eq '{ROW}' and Status eq 'Closed'"
        ended = f"PartitionKey eq '{BACKFILLS}' and (State eq 'finished' or State eq 'failed')"
        return f"(({closed}) or ({ended})) and Timestamp lt datetime'{before:%Y-%m-%dT%H:%M:%SZ}'"

    async def _save(self, began: datetime, continuation: str | None) -> None:
        """Write down where the search goes on, for the run after one that dies."""
        row = await self._table.get(PARTITION, KEY)
        values = {"At": utc(began)} | ({} if continuation is None else {"Next": continuation})
        await self._table.save(PARTITION, KEY, values, etag=row.etag if row else None)

    async def _remove(self, rows: Sequence[Row]) -> int:
        """Delete rows. Returns how many: a row whose referral has a new event just now stays."""
        removed = 0
        for start in range(0, len(rows), CONCURRENCY):
            removed += sum(await asyncio.gather(*map(self._delete, rows[start : start + CONCURRENCY])))
        return removed

    async def _delete(self, row: Row) -> bool:
        try:
            await self._table.delete(row)
        except ConflictError:
            return False
        return True


def _read(row: Row | None) -> tuple[datetime, str | None]:
    """When the last search of the whole table began, and where it goes on; None if it is over."""
    never = datetime.min.replace(tzinfo=UTC)
    if row is None:
        return never, None
    try:
        return row.time("At"), row.text("Next") if "Next" in row.values else None
    except ValueError as error:
        row.log_malformed(error)
        return never, None
