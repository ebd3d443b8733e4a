"""The rows of backfill runs: how far each has come."""

import contextlib
import dataclasses
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from referral_fn.state.table import ConflictError, Row, Table
from referral_fn.timestamps import utc

PARTITION = "backfill"

State = Literal["running", "finished", "failed"]


@dataclass(frozen=True, slots=True)
class Run:
    """One backfill."""

    id: str
    state: State
    page: int
    """The number of the page that is next, from 0; afterwards, how many there were."""
    listed: int
    requested: int
    """How many of the listed referrals had not been published and were put on the requests queue."""
    started_at: str
    updated_at: str
    detail: str = ""
    """Why it failed."""
    after: str = ""
    """The last referral of the next page that was taken already; empty if none was."""
    ticket: str = ""
    """Identifies the message for the next page, among several; empty for the first one."""
    etag: str | None = None

    def document(self) -> dict[str, Any]:
        """The run as the API shows it."""
        document: dict[str, Any] = {
            "id": self.id,
            "status": self.state,
            "pages": self.page,
            "listed": self.listed,
            "requested": self.requested,
            "startedAt": self.started_at,
            "updatedAt": self.updated_at,
        }
        return {**document, "detail": self.detail} if self.detail else document


class BackfillRuns:
    """Reads and writes the rows of runs, one for each."""

    def __init__(self, table: Table) -> None:
        self._table = table

    async def read(self, run_id: str) -> Run | None:
        """A run; None if there is none of this ID, or its row is malformed.

        Raises:
            RetryableError: `state-unavailable`, `token-unavailable`.
        """
        row = await self._table.get(PARTITION, run_id)
        if row is None:
            return None
        try:
            return _read(run_id, row)
        except ValueError as error:
            row.log_malformed(error)
            return None

    async def start(self, run_id: str) -> Run:
        """Create a run.

        Raises:
            RetryableError: as for `read`.
        """
        now = utc(datetime.now(UTC))
        run = Run(run_id, "running", 0, 0, 0, now, now)
        with contextlib.suppress(ConflictError):  # the ID is new: it was written by a call whose answer was lost
            await self.save(run)
        return run

    async def save(self, run: Run, **changes: Any) -> None:
        """Write a run with these changes.

        Raises:
            ConflictError: another worker has changed it since it was read.
            RetryableError: as for `read`.
        """
        run = dataclasses.replace(run, **changes, updated_at=utc(datetime.now(UTC)))
        values = {
            "State": run.state,
            "Page": run.page,
            "Listed": run.listed,
            "Requested": run.requested,
            "StartedAt": run.started_at,
            "UpdatedAt": run.updated_at,
            "Detail": run.detail,
            "After": run.after,
            "Ticket": run.ticket,
        }
        await self._table.save(PARTITION, run.id, values, etag=run.etag)


def _read(run_id: str, row: Row) -> Run:
    match {"After": "", "Ticket": "", **row.values}:
        case {
            "State": "running" | "finished" | "failed" as state,
            "Page": int(page),
            "Listed": int(listed),
            "Requested": int(requested),
            "After": str(after),
            "Ticket": str(ticket),
        }:
            started_at, updated_at, detail = map(row.text, ("StartedAt", "UpdatedAt", "Detail"))
            return Run(run_id, state, page, listed, requested, started_at, updated_at, detail, after, ticket, row.etag)
    raise ValueError("must have State, Page, Listed and Requested")
