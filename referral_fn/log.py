"""The log: one JSON object per event, with a stable name. IDs only, never names, addresses, numbers, notes or tokens.

The fields are written twice: as JSON in the message, which every log sink carries, and as attributes of the log record,
which the handlers of OpenTelemetry and Azure Monitor turn into custom dimensions.
"""

import logging
import sys
from collections.abc import Mapping
from datetime import UTC, datetime

from referral_fn import strict_json
from referral_fn.timestamps import utc

_logger = logging.getLogger("referral_fn")


class JsonLinesFormatter(logging.Formatter):
    """Formats events as JSON lines with `time` and `level`, for use outside a Functions host."""

    def format(self, record: logging.LogRecord) -> str:
        """Format one event."""
        context = {"time": utc(datetime.fromtimestamp(record.created, UTC)), "level": record.levelname}
        return strict_json.dumps(context).decode()[:-1] + "," + record.getMessage()[1:]


def debug(event: str, **fields: object) -> None:
    """Log a detail that only a closer look needs."""
    _write(logging.DEBUG, event, fields)


def info(event: str, **fields: object) -> None:
    """Log an event of normal operation."""
    _write(logging.INFO, event, fields)


def warning(event: str, **fields: object) -> None:
    """Log a failure that will be retried, or a request that was refused."""
    _write(logging.WARNING, event, fields)


def error(event: str, **fields: object) -> None:
    """Log a failure that needs an operator."""
    _write(logging.ERROR, event, fields)


def at_startup(event: str, **fields: object) -> None:
    """Write an error to stderr while the app is being loaded: the host drops log records outside invocations.

    The host logs a worker's stderr line as an error if it contains the word "error".
    """
    record = {"level": "ERROR", "event": event, **fields}
    print(strict_json.dumps(record).decode(), file=sys.stderr, flush=True)  # noqa: T201 - not a log record, see above


def to_stderr(level: int) -> None:
    """Write events of this level and above to stderr as JSON lines, and nowhere else."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLinesFormatter())
    _logger.handlers[:] = [handler]
    _logger.setLevel(level)
    _logger.propagate = False


def _write(level: int, event: str, fields: dict[str, object]) -> None:
    if _logger.isEnabledFor(level):
        record = {"event": event, **{name: value for name, value in fields.items() if value is not None}}
        message = strict_json.dumps(record).decode()
        # `Logger.log` would search the stack for the line that logs, which is always this one
        _logger.handle(_logger.makeRecord(_logger.name, level, __file__, 0, message, (), None, extra=record))


def upstream_fields(upstream: Mapping[str, object] | None) -> dict[str, object]:
    """Partner Center's answer as log fields."""
    answer = upstream or {}
    return {
        "status": answer.get("status"),
        "code": answer.get("code"),
        "requestId": answer.get("requestId"),
        "clientRequestId": answer.get("clientRequestId"),
    }
