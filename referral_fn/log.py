"""One JSON object an event, with a stable name. IDs only: no name, address, number, note or token.

The fields go out twice: as the message, which every way out of Azure Functions carries, and as attributes of the
record, which OpenTelemetry's and Azure Monitor's handlers make custom dimensions of.
"""

import logging
from datetime import UTC, datetime

from referral_fn import strict_json
from referral_fn.timestamps import utc

_logger = logging.getLogger("referral_fn")


class JsonLinesFormatter(logging.Formatter):
    """Events as lines of JSON with `time` and `level`, for wherever no Functions host adds these."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        context = {"time": utc(datetime.fromtimestamp(record.created, UTC)), "level": record.levelname}
        return strict_json.dumps(context).decode()[:-1] + "," + record.getMessage()[1:]


def info(event: str, **fields: object) -> None:
    """Log what went as it should."""
    _write(logging.INFO, event, fields)


def warning(event: str, **fields: object) -> None:
    """Log trouble that passes by itself."""
    _write(logging.WARNING, event, fields)


def error(event: str, **fields: object) -> None:
    """Log what somebody has to look at."""
    _write(logging.ERROR, event, fields)


def to_stderr(level: int) -> None:
    """Write events of this level and above to stderr, a line each, and nowhere else."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLinesFormatter())
    _logger.handlers[:] = [handler]
    _logger.setLevel(level)
    _logger.propagate = False


def _write(level: int, event: str, fields: dict[str, object]) -> None:
    if _logger.isEnabledFor(level):
        said = {"event": event, **{name: value for name, value in fields.items() if value is not None}}
        _logger.log(level, "%s", strict_json.dumps(said).decode(), extra=said)
