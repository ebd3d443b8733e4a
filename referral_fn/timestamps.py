"""Timestamps: read as others write them, written in one way."""

from datetime import UTC, datetime
from typing import Any


def read_utc(value: Any) -> datetime:
    """Read an ISO 8601 timestamp. Digits beyond microseconds are cut off; one without an offset is taken as UTC.

    Raises:
        ValueError: it is none, or lies outside the years 1 to 9999 once in UTC.
    """
    try:
        time = datetime.fromisoformat(value)
        return time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)
    except (TypeError, ValueError, OverflowError):
        raise ValueError("must be an ISO 8601 timestamp") from None


def utc(time: datetime) -> str:
    """Write a UTC time in RFC 3339, with six fractional digits, so that text order is time order."""
    return time.isoformat(timespec="microseconds").replace("+00:00", "Z")
