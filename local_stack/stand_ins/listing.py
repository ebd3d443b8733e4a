"""The list call: filters, order, pages, and a next link that clients should not follow."""

import base64
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

_ORDER = re.compile(r"(createdDateTime|updatedDateTime)( desc)?")
_STATUS = re.compile(r"status eq '(\w+)'")
_UPDATED = re.compile(r"updatedDateTime ge ([0-9T:.Z-]+)")


@dataclass
class Listing:
    """Responds like the documentation's samples, and refuses anything undocumented."""

    page_size: int = 100
    refuses_time_filter: bool = False
    """Whether filtering by `updatedDateTime` is refused: the current documentation does not list it."""
    empty_pages: int = 0
    """The number of empty pages before each page with items."""
    repeats_token: bool = False
    """Whether the next link points back to the same page."""
    pages: int = 0
    """The number of responses."""
    _pauses: dict[str, int] = field(default_factory=dict)

    def answer(self, referrals: Iterable[Any], query: Mapping[str, str]) -> dict[str, Any]:
        """The body of a response.

        Raises:
            ValueError: a parameter is not supported.
        """
        if query.keys() - {"$filter", "$orderby", "$select", "$skiptoken", "$top"}:
            raise ValueError
        order = _ORDER.fullmatch(query.get("$orderby", "createdDateTime"))
        if not order:
            raise ValueError
        name, descending = order[1], bool(order[2])
        rows = sorted((self._row(one, name) for one in referrals if self._meets(one, query)), reverse=descending)
        token = query.get("$skiptoken", _token("~" if descending else "", ""))
        after = tuple(json.loads(base64.b64decode(token, validate=True)))
        rows = [row for row in rows if (row[:2] < after if descending else row[:2] > after)]
        self.pages += 1
        return self._page(rows, token, query)

    def _page(self, rows: list[tuple[str, str, str]], token: str, query: Mapping[str, str]) -> dict[str, Any]:
        link = "http://api.partner.microsoft.com/v1.0/referrals?$skiptoken="
        if self._pauses.setdefault(token, self.empty_pages) and rows:
            self._pauses[token] -= 1
            padded = base64.b64encode(base64.b64decode(token) + b" ").decode()
            self._pauses[padded] = self._pauses[token]
            return {"value": [], "@odata.nextLink": link + quote(padded, safe="")}
        page, rest = rows[: self.page_size], rows[self.page_size :]
        names = query.get("$select", "").split(",")
        chosen = [json.loads(row[2]) for row in page]
        values = [{key: one.get(key) for key in names} if names != [""] else one for one in chosen]
        answer: dict[str, Any] = {"@odata.count": 7, "value": values}
        if rest:
            following = token if self.repeats_token else _token(*page[-1][:2])
            answer["@odata.nextLink"] = link + quote(following, safe="")
        return answer

    @staticmethod
    def _row(referral: dict[str, Any], name: str) -> tuple[str, str, str]:
        return _sortable(referral.get(name)), referral["id"], json.dumps(referral)

    def _meets(self, referral: Any, query: Mapping[str, str]) -> bool:
        if not isinstance(referral, dict):
            return False
        condition = query.get("$filter")
        if condition is None:
            return True
        if match := _STATUS.fullmatch(condition):
            return bool(referral.get("status") == match[1])
        match = _UPDATED.fullmatch(condition)
        if not match or self.refuses_time_filter:
            raise ValueError
        return _sortable(referral.get("updatedDateTime")) >= _sortable(match[1])


def _sortable(time: str | None) -> str:
    return datetime.fromisoformat(time).astimezone(UTC).isoformat(timespec="microseconds") if time else ""


def _token(*position: str) -> str:
    return base64.b64encode(json.dumps(position).encode()).decode()
