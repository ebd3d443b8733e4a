"""The pause that Partner Center asked one instance for, shared with all of them by a row of the table."""

import time
from datetime import UTC, datetime, timedelta

from referral_fn import log
from referral_fn.errors import RetryableError
from referral_fn.gate import PROBE_AFTER, Gate
from referral_fn.single_flight import SingleFlight
from referral_fn.state.table import ConflictError, Row, Table
from referral_fn.timestamps import read_utc, utc

PARTITION, KEY = "app", "pause"

LOOK_EVERY = 2.0
"""Seconds between two looks at the row, while there are calls to make."""

LOOK_AGAIN_AFTER_FAILURE = 15.0
"""Seconds for which a table in trouble is left alone. The process then has its own gate only."""


class SharedPause:
    """Closes this process's gate for pauses that other instances were asked for, and tells them of its own."""

    def __init__(self, table: Table, gate: Gate) -> None:
        self._table = table
        self._gate = gate
        self._looks: SingleFlight[str, None] = SingleFlight()
        self._next_look = 0.0
        self._seen = ""

    async def obey(self) -> None:
        """Look at the row, if the last look was a while ago, and close the gate for a pause not seen before."""
        if time.monotonic() >= self._next_look:
            await self._looks.run(KEY, self._look)

    async def announce(self, seconds: float) -> None:
        """Write down a pause that starts now, unless a longer one is known.

        It ends when the first probe is due: an instance that starts after a good probe must not close its gate again.
        """
        until = utc(datetime.now(UTC) + timedelta(seconds=min(seconds, PROBE_AFTER)))
        self._seen = max(self._seen, until)
        try:
            row = await self._table.get(PARTITION, KEY)
            if self._until(row) < until:
                await self._table.save(PARTITION, KEY, {"Until": until}, etag=row.etag if row else None)
        except ConflictError:
            return  # another instance was asked for a pause at the same moment
        except RetryableError as error:
            self._on_failure("write", error)

    async def _look(self) -> None:
        self._next_look = time.monotonic() + LOOK_EVERY
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
            self._next_look = time.monotonic() + LOOK_AGAIN_AFTER_FAILURE
            row.log_malformed(error)
            return ""

    def _on_failure(self, operation: str, error: RetryableError) -> None:
        self._next_look = time.monotonic() + LOOK_AGAIN_AFTER_FAILURE
        log.warning("state.unavailable", operation=operation, detail=str(error))
