"""The pause that Partner Center asked one instance for, shared with all of them by a row of the table."""

import contextlib
import time
from datetime import UTC, datetime, timedelta

from referral_fn import log
from referral_fn.errors import RetryableError
from referral_fn.gate import PROBE_AFTER, Gate
from referral_fn.single_flight import SingleFlight
from referral_fn.state.table import ConflictError, Row, Table
from referral_fn.timestamps import read_utc, utc

PARTITION, KEY = "app", "pause"

READ_INTERVAL = 2.0
"""Seconds between two reads of the row, while there are calls to make."""

FAILURE_BACKOFF = 15.0
"""Seconds between a failed read or write and the next read. Until then the process knows its own pauses only."""


class SharedPause:
    """Closes this process's gate for pauses that other instances were asked for, and shares its own with them."""

    def __init__(self, table: Table, gate: Gate) -> None:
        self._table = table
        self._gate = gate
        self._reads: SingleFlight[str, None] = SingleFlight()
        self._next_read = 0.0
        self._seen = ""

    async def obey(self) -> None:
        """Read the row, if a read is due, and close the gate for a pause not seen before."""
        if time.monotonic() >= self._next_read:
            await self._reads.run(KEY, self._read)

    async def announce(self, seconds: float) -> None:
        """Write a pause that starts now to the row, unless the row has a longer one.

        It ends when the first probe is due: an instance that starts after a successful probe must not close its gate.
        """
        until = utc(datetime.now(UTC) + timedelta(seconds=min(seconds, PROBE_AFTER)))
        self._seen = max(self._seen, until)
        try:
            await self._write(until)
        except RetryableError as error:
            self._on_failure("write", error)

    async def _write(self, until: str) -> None:
        """Write the end of a pause, once more after another instance's write, whose pause may be shorter."""
        for _ in range(2):
            row = await self._table.get(PARTITION, KEY)
            if self._until(row) >= until:
                return
            with contextlib.suppress(ConflictError):
                await self._table.save(PARTITION, KEY, {"Until": until}, etag=row.etag if row else None)
                return

    async def _read(self) -> None:
        self._next_read = time.monotonic() + READ_INTERVAL
        try:
            row = await self._table.get(PARTITION, KEY)
        except RetryableError as error:
            self._on_failure("read", error)
            return
        until = self._until(row)
        if until <= self._seen:
            return
        self._seen = until
        seconds = (read_utc(until) - datetime.now(UTC)).total_seconds()
        if seconds > 0:
            self._gate.close(seconds)
            log.info("gate.closed", seconds=round(seconds, 1))

    def _until(self, row: Row | None) -> str:
        """When the pause ends; empty if there is no row, or a malformed one."""
        if row is None:
            return ""
        try:
            return utc(row.time("Until"))
        except ValueError as error:
            self._next_read = time.monotonic() + FAILURE_BACKOFF
            row.log_malformed(error)
            return ""

    def _on_failure(self, operation: str, error: RetryableError) -> None:
        self._next_read = time.monotonic() + FAILURE_BACKOFF
        log.warning("state.unavailable", operation=operation, detail=str(error))
