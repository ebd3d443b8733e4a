"""The watermark: when the last complete reconciliation began."""

from datetime import datetime

from referral_fn.state.table import ConflictError, Table
from referral_fn.timestamps import read_utc, utc

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
        row = await self._table.get(PARTITION, KEY)
        return read_utc(row.values["At"]) if row else None

    async def move(self, to: datetime) -> None:
        """Move it forward, unless another run has moved it further.

        Raises:
            RetryableError: as for `read`.
        """
        while True:
            row = await self._table.get(PARTITION, KEY)
            if row and read_utc(row.values["At"]) >= to:
                return
            try:
                await self._table.save(PARTITION, KEY, {"At": utc(to)}, etag=row.etag if row else None)
            except ConflictError:
                continue
            return
