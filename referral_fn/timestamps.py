"""Timestamps: read in any ISO 8601 form, written in one."""

from datetime import UTC, datetime
from typing import Any, overload


def read_utc(value: Any) -> datetime:
    """Read an ISO 8601 timestamp. Digits beyond microseconds are cut off; without an offset it is taken as UTC.

    Raises:
        ValueError: not a timestamp, or outside the years 1 to 9999 when converted to UTC.
    """
    try:
        time = datetime.fromisoformat(value)
        return time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)
    except (TypeError, ValueError, OverflowError):
        raise ValueError("must be an ISO 8601 timestamp") from None


@overload
def utc(time: datetime) -> str: ...
@overload
def utc(time: None) -> None: ...
def utc(time: datetime | None) -> str | None:
    """Format a UTC time by RFC 3339, with six fractional digits, so that text order is time order. None stays None."""
    return None if time is None else time.isoformat(timespec="microseconds").replace("+00:00", "Z")
