"""Reads referral events and stores each once. SQLite stands for your database."""

import json
import sqlite3
from typing import Any

EVENT_TYPE = "partnercenter.referral.v1"
SCHEMA = """
    CREATE TABLE IF NOT EXISTS seen (id TEXT PRIMARY KEY);
    CREATE TABLE IF NOT EXISTS referrals (id TEXT PRIMARY KEY, sequence TEXT NOT NULL, data TEXT NOT NULL);
"""


class UnreadableError(Exception):
    """A message that cannot be stored: it is no event, or of a type that this program does not know."""


def open_database(path: str) -> sqlite3.Connection:
    """Open the database, with its tables."""
    database = sqlite3.connect(path)
    database.executescript(SCHEMA)
    return database


def read(body: bytes) -> dict[str, Any]:
    """Return the event in a message.

    Raises:
        UnreadableError: there is none, or it is of another type.
    """
    try:
        event: dict[str, Any] = json.loads(body)
    except ValueError as error:
        raise UnreadableError(f"not JSON: {error}") from None
    match event:
        case {"type": type_, "id": str(), "subject": str(), "data": {}} if type_ == EVENT_TYPE:
            return event
    raise UnreadableError(f"not an event of type {EVENT_TYPE}")


def store(database: sqlite3.Connection, event: dict[str, Any]) -> bool:
    """Store an event's referral. Returns whether it is news: no duplicate, and nothing older than what is known."""
    with database:  # one transaction
        new = database.execute("INSERT OR IGNORE INTO seen VALUES (?)", (event["id"],))
        if not new.rowcount:
            return False
        latest = database.execute(
            """INSERT INTO referrals VALUES (?, ?, ?) ON CONFLICT (id) DO
               UPDATE SET sequence = excluded.sequence, data = excluded.data WHERE excluded.sequence >= sequence""",
            (event["subject"], event.get("sequence", ""), json.dumps(event["data"])),
        )
        return latest.rowcount > 0
