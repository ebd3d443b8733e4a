"""One JSON object a line, with a stable event name. IDs only: no name, address, number, note or token."""

import logging

from referral_fn import strict_json

_logger = logging.getLogger("referral_fn")


def info(event: str, **fields: object) -> None:
    """Log what went as it should."""
    _write(logging.INFO, event, fields)


def warning(event: str, **fields: object) -> None:
    """Log trouble that passes by itself."""
    _write(logging.WARNING, event, fields)


def error(event: str, **fields: object) -> None:
    """Log what somebody has to look at."""
    _write(logging.ERROR, event, fields)


def _write(level: int, event: str, fields: dict[str, object]) -> None:
    if _logger.isEnabledFor(level):
        said = {name: value for name, value in fields.items() if value is not None}
        _logger.log(level, "%s", strict_json.dumps({"event": event, **said}).decode())
