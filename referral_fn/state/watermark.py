"""The watermark: when the last complete reconciliation began."""

from datetime import datetime

from referral_fn.state.table import ConflictError, Row, Table
from referral_fn.timestamps import utc

PARTITION, KEY = "app", "watermark"


class Watermark:
    """One row of the table. It never moves back."""

    def __init__(self, table: Table) -> None:
        self._table = table

    async def read(self) -> datetime | None:
        """The watermark; None before the first run.

        Raises:
            RetryableError: `state-unavailable`, `token-unavailable`.
        """
        return _time(await self._table.get(PARTITION, KEY))

    async def move(self, to: datetime) -> None:
        """Move it forward, unless another run has moved it further.

        Raises:
            RetryableError: as for `read`.
        """
        while True:
            row = await self._table.get(PARTITION, KEY)
            if (current := _time(row)) and current >= to:
                return
            try:
                await self._table.save(PARTITION, KEY, {"At": utc(to)}, etag=row.etag if row else None)
            except ConflictError:
                continue
            return


def _time(row: Row | None) -> datetime | None:
    """The watermark in a row; None if there is no row, or a malformed one."""
    if row is None:
        return None
    try:
        return row.time("At")
    except ValueError as error:
        row.log_malformed(error)
        return None
