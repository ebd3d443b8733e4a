"""What the host logs, by host.json's levels, and what it makes of lines that a worker writes to its console.

Sources: `WorkerProcess.ParseErrorMessageAndLog` and `GrpcWorkerChannel.Log` of the Functions host, and the rule of
Microsoft.Extensions.Logging that the most specific category decides.
"""

import sys
from typing import Any, TextIO

LEVELS = ("Trace", "Debug", "Information", "Warning", "Error", "Critical", "None")
CONSOLE = "Host.Function.Console"
"""The category of lines that the app's own code prints."""

_SYSTEM_PREFIX = "languageworkerconsolelog"
"""What a line starts with that the worker prints about itself."""

_ERROR_WORDS = ("error", "fail", "severe", "unhandled exception")
_SHORT = {"Information": "INFO", "Warning": "WARNING"}


class HostLog:
    """Writes the records that host.json allows to stderr, one per line."""

    def __init__(self, host_json: dict[str, Any], stream: TextIO = sys.stderr) -> None:
        levels = host_json.get("logging", {}).get("logLevel", {})
        self._default = levels.get("default", "Information")
        self._levels = {category.lower(): level for category, level in levels.items() if category != "default"}
        self._stream = stream

    def level(self, category: str) -> str:
        """The lowest level that a category is logged at."""
        prefixes = [prefix for prefix in self._levels if category.lower().startswith(prefix)]
        return self._levels[max(prefixes, key=len)] if prefixes else str(self._default)

    def write(self, level: str, category: str, message: str) -> None:
        """Log a record, if its category's level lets it through."""
        if LEVELS.index(level) >= LEVELS.index(self.level(category)):
            print(f"{_SHORT.get(level, level.upper())} {category} {message}", file=self._stream, flush=True)

    def information(self, category: str, message: str) -> None:
        """Log what went as it should."""
        self.write("Information", category, message)

    def warning(self, category: str, message: str) -> None:
        """Log trouble that the host copes with."""
        self.write("Warning", category, message)

    def error(self, category: str, message: str) -> None:
        """Log a failure."""
        self.write("Error", category, message)

    def console(self, line: str, *, is_stderr: bool) -> None:
        """Log a line of a worker's console."""
        if line.lower().startswith(_SYSTEM_PREFIX):
            self.write(console_level(line, is_stderr=is_stderr), "Worker.rpcWorkerProcess", line[len(_SYSTEM_PREFIX) :])
        else:
            self.write(console_level(line, is_stderr=is_stderr), CONSOLE, line)


def console_level(line: str, *, is_stderr: bool) -> str:
    """The level of a console line: on stderr its words decide, and a warning's word comes first."""
    text = line.lower()
    if not is_stderr:
        return "Information"
    if "warn" in text:
        return "Warning"
    return "Error" if any(word in text for word in _ERROR_WORDS) else "Information"
