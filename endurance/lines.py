"""Which lines of the package run for the first time: what guides the fuzzers to inputs that are new."""

import sys
from collections.abc import Callable
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, TypeVar

_PACKAGE = str(Path(__file__).parent.parent / "referral_fn")
_TOOL_ID = 4
_MAX_FRUITLESS = 200
"""Calls of a function without a new line after which only some of its calls are traced. Python 3.11 only."""

_ALL_TRACED = 2000
"""Runs after which only one in four is traced: tracing takes twice as long as what is traced. Python 3.11 only."""

R = TypeVar("R")


class Lines:
    """Counts the lines of the package that have run. One instance at a time."""

    def __init__(self) -> None:
        self.count = 0
        self._runs = 0
        self._unseen: dict[CodeType, set[int]] = {}
        self._fruitless: dict[CodeType, int] = {}
        if sys.version_info >= (3, 12):
            events = sys.monitoring.events
            sys.monitoring.use_tool_id(_TOOL_ID, "fuzzing")
            sys.monitoring.register_callback(_TOOL_ID, events.LINE, self._on_monitored_line)
            sys.monitoring.set_events(_TOOL_ID, events.LINE)
            sys.monitoring.restart_events()  # lines that an earlier instance counted count again

    def close(self) -> None:
        """Stop counting."""
        if sys.version_info >= (3, 12):
            sys.monitoring.free_tool_id(_TOOL_ID)

    def run(self, function: Callable[[bytes], R], data: bytes) -> R:
        """Call a function and count the new lines that it runs."""
        if sys.version_info >= (3, 12):
            return function(data)
        self._runs += 1
        if self._runs > _ALL_TRACED and self._runs % 4:
            return function(data)
        outer = sys.gettrace()
        sys.settrace(self._on_call)
        try:
            return function(data)
        finally:
            sys.settrace(outer)

    def _on_monitored_line(self, code: CodeType, _: int) -> Any:
        """Count a line. It is never reported again, so that what has run before costs nothing."""
        self.count += code.co_filename.startswith(_PACKAGE)
        if sys.version_info >= (3, 12):
            return sys.monitoring.DISABLE
        return None

    def _on_call(self, frame: FrameType, _: str, __: Any) -> Any:
        code = frame.f_code
        unseen = self._unseen.get(code)
        if unseen is None:
            in_package = code.co_filename.startswith(_PACKAGE)
            unseen = {line for _, _, line in code.co_lines() if line} if in_package else set()
            self._unseen[code] = unseen
            self._fruitless[code] = 0
        if not unseen:
            return None
        fruitless = self._fruitless[code] = self._fruitless[code] + 1
        return self._on_line if fruitless < _MAX_FRUITLESS or fruitless % 16 == 0 else None

    def _on_line(self, frame: FrameType, event: str, _: Any) -> Any:
        unseen = self._unseen[frame.f_code]
        if event == "line" and frame.f_lineno in unseen:
            unseen.remove(frame.f_lineno)
            self._fruitless[frame.f_code] = 0
            self.count += 1
        return self._on_line
