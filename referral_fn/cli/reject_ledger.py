"""What one walk over the rejects queue has to remember, kept in a temporary file so that memory stays bounded."""

import sqlite3

from referral_fn.queues.base import LeasedMessage

_BATCH = 512


class RejectLedger:
    """The messages seen so far, the leases that are kept, and parts of rejects that wait for the other parts."""

    def __init__(self) -> None:
        self._database = sqlite3.connect("")  # a private temporary file, which SQLite deletes by itself
        self._database.executescript(
            "CREATE TABLE seen (id TEXT PRIMARY KEY, receipt TEXT) WITHOUT ROWID;"
            "CREATE INDEX kept ON seen (id) WHERE receipt IS NOT NULL;"
            "CREATE TABLE part (id TEXT PRIMARY KEY, reject TEXT, number INTEGER, body BLOB) WITHOUT ROWID;"
            "CREATE INDEX of_reject ON part (reject, number);"
        )

    def close(self) -> None:
        """Delete everything."""
        self._database.close()

    def has_seen(self, message: LeasedMessage) -> bool:
        """Whether the message was recorded before."""
        return self._database.execute("SELECT 1 FROM seen WHERE id = ?", (message.id,)).fetchone() is not None

    def keeps_lease(self, message: LeasedMessage) -> bool:
        """Whether an earlier lease on the message is kept."""
        query = "SELECT 1 FROM seen WHERE id = ? AND receipt IS NOT NULL"
        return self._database.execute(query, (message.id,)).fetchone() is not None

    def record(self, message: LeasedMessage, *, keep_lease: bool) -> None:
        """Record a message as seen, and its lease if it is kept."""
        receipt = message.receipt if keep_lease else None
        self._database.execute("INSERT OR REPLACE INTO seen VALUES (?, ?)", (message.id, receipt))

    def pop_leases(self) -> list[LeasedMessage]:
        """Take over some of the kept leases; an empty list when there are none left."""
        query = "SELECT receipt, id FROM seen WHERE receipt IS NOT NULL LIMIT ?"
        leases = [LeasedMessage(receipt, b"", id_) for receipt, id_ in self._database.execute(query, (_BATCH,))]
        self._forget_leases(leases)
        return leases

    def keep_part(self, message: LeasedMessage, reject: str, number: int) -> int:
        """Keep a part of a reject, and its lease. Returns how many different parts of the reject are now there."""
        self.record(message, keep_lease=True)
        row = (message.id, reject, number, message.body)
        self._database.execute("INSERT OR REPLACE INTO part VALUES (?, ?, ?, ?)", row)
        query = "SELECT COUNT(DISTINCT number) FROM part WHERE reject = ?"
        return int(self._database.execute(query, (reject,)).fetchone()[0])

    def pop_parts(self, reject: str) -> list[LeasedMessage]:
        """Take over the parts of a reject in their order, with their leases. A part may be there twice."""
        query = (
            "SELECT receipt, body, part.id FROM part JOIN seen ON seen.id = part.id WHERE reject = ? ORDER BY number"
        )
        parts = [LeasedMessage(*row) for row in self._database.execute(query, (reject,))]
        self._forget_leases(parts)
        self._database.execute("DELETE FROM part WHERE reject = ?", (reject,))
        return parts

    def incomplete(self) -> list[str]:
        """The rejects of which parts are kept."""
        return [reject for (reject,) in self._database.execute("SELECT DISTINCT reject FROM part")]

    def _forget_leases(self, messages: list[LeasedMessage]) -> None:
        self._database.executemany("UPDATE seen SET receipt = NULL WHERE id = ?", [(one.id,) for one in messages])
