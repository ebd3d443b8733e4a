"""Rejects on stdout: a table, or their CloudEvents."""

import shutil
import sys
from collections.abc import Iterable

from referral_fn.cli import output
from referral_fn.referrals.rejects import Reject
from referral_fn.timestamps import utc

_GUID_WIDTH = 36
_COLUMNS = {"rejected at": 20, "reject": _GUID_WIDTH, "referral": _GUID_WIDTH, "reason": 18, "detail": 0}
_MIN_TABLE_WIDTH = 140
"""Columns that a row needs with a short detail. On a narrower terminal every value gets a line of its own."""


class RejectPrinter:
    """Prints rejects as they come, so that none of them stays in memory. Values are never cut."""

    def __init__(self, *, as_json: bool, whole: bool) -> None:
        self._array = output.JsonArray(pretty=whole) if as_json or whole else None
        self._is_table = not sys.stdout.isatty() or shutil.get_terminal_size().columns >= _MIN_TABLE_WIDTH
        self._is_empty = True

    def show(self, rejects: Iterable[Reject]) -> None:
        """Print some rejects."""
        for reject in rejects:
            if self._array:
                for part in reject.parts:
                    self._array.add(part.document)
            elif self._is_table:
                if self._is_empty:
                    output.line(_row(_COLUMNS))
                output.line(_row(_values(reject)))
            else:
                for name, value in zip(_COLUMNS, _values(reject), strict=True):
                    output.line(f"{name:<11}  {value}")
                output.line()
            self._is_empty = False

    def close(self) -> None:
        """Print what ends the output."""
        if self._array:
            self._array.close()
        elif self._is_empty:
            output.line("There are no such rejects.")


def _values(reject: Reject) -> list[str]:
    at = f"{utc(reject.rejected_at)[:19]}Z"
    return [at, reject.id, reject.referral_id or "-", reject.reason, reject.detail]


def _row(values: Iterable[str]) -> str:
    cells = (f"{output.visible(value):<{width}}" for value, width in zip(values, _COLUMNS.values(), strict=True))
    return "  ".join(cells).rstrip()
