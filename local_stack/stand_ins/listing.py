"""The list call: filters, order, pages, and a next link that clients should not follow."""

import base64
import functools
import heapq
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
        token = query.get("$skiptoken", _token("~" if descending else "", ""))
        after = position(token)
        matching = {one["id"]: one for one in referrals if self._meets(one, query)}
        positions = ((sortable(one.get(name)), referral_id) for referral_id, one in matching.items())
        left = [position for position in positions if (position < after if descending else position > after)]
        first = heapq.nlargest if descending else heapq.nsmallest
        self.pages += 1
        return self._page(first(self.page_size + 1, left), matching, token, query)

    def _page(
        self, rows: list[tuple[str, str]], referrals: Mapping[str, Any], token: str, query: Mapping[str, str]
    ) -> dict[str, Any]:
        """A page of these rows; the last one, if there are more than fit, starts the next page."""
        link = "http://api.partner.microsoft.com/v1.0/referrals?$skiptoken="
        if self._pauses.setdefault(token, self.empty_pages) and rows:
            self._pauses[token] -= 1
            padded = base64.b64encode(base64.b64decode(token) + b" ").decode()
            self._pauses[padded] = self._pauses[token]
            return {"value": [], "@odata.nextLink": link + quote(padded, safe="")}
        page, rest = rows[: self.page_size], rows[self.page_size :]
        names = query.get("$select", "").split(",")
        chosen = [referrals[referral_id] for _, referral_id in page]
        values = [{key: one.get(key) for key in names} if names != [""] else one for one in chosen]
        answer: dict[str, Any] = {"@odata.count": 7, "value": values}
        if rest:
            following = token if self.repeats_token else _token(*page[-1])
            answer["@odata.nextLink"] = link + quote(following, safe="")
        return answer

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
        return sortable(referral.get("updatedDateTime")) >= sortable(match[1])


@functools.lru_cache(maxsize=2**18)
def sortable(time: str | None) -> str:
    """A time as text that sorts in the order of time; empty without one."""
    return datetime.fromisoformat(time).astimezone(UTC).isoformat(timespec="microseconds") if time else ""


def position(token: str) -> tuple[str, ...]:
    """Where a page starts: time and ID of the last row before it."""
    return tuple(json.loads(base64.b64decode(token, validate=True)))


def _token(*position: str) -> str:
    return base64.b64encode(json.dumps(position).encode()).decode()
