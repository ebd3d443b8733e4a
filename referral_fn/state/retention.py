"""Removes the rows of referrals that were closed long ago."""

import asyncio
from datetime import UTC, datetime, timedelta

from referral_fn import log
from referral_fn.errors import RetryableError
from referral_fn.state.memory import ROW
from referral_fn.state.table import ConflictError, Row, Table
from referral_fn.timestamps import utc

PARTITION, KEY = "app", "retention"

EVERY = timedelta(days=1)
"""How often the table is searched, which reads all of it."""

SECONDS = 10
"""How long one run goes on. The next one, a day later, removes what is left."""


class Retention:
    """Removes rows whose referral is closed and whose last event is older than the setting says."""

    def __init__(self, table: Table, days: int) -> None:
        self._table = table
        self._age = timedelta(days=days)

    async def run_if_due(self, deadline: float | None = None) -> None:
        """Remove what is old, once a day. Trouble with the table is logged, and left to the next run.

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
        now = datetime.now(UTC)
        row = await self._table.get(PARTITION, KEY)
        if row and _is_recent(row, now):
            return
        await self._table.save(PARTITION, KEY, {"At": utc(now)}, etag=row.etag if row else None)
        removed = await self._remove(before=now - self._age)
        log.info("state.cleaned", removed=removed)

    async def _remove(self, before: datetime) -> int:
        clock = asyncio.get_running_loop().time
        deadline = clock() + SECONDS
        condition = f"RowKey eq '{ROW}' and Status eq 'Closed' and Timestamp lt datetime'{before:%Y-%m-%dT%H:%M:%SZ}'"
        removed = 0
        async for row in self._table.query(condition):
            if clock() > deadline:
                break
            try:
                await self._table.delete(row)
            except ConflictError:  # an event was published just now
                continue
            removed += 1
        return removed


def _is_recent(row: Row, now: datetime) -> bool:
    try:
        return now - row.time("At") < EVERY
    except ValueError as error:
        row.log_malformed(error)
        return False
