"""The list call of Partner Center's referrals API.

Source: "Get a list of referrals" in the Partner Center referrals reference. Only some of it is documented: `$orderby`
and `$select` are; `updatedDateTime` as a filter is not on today's page, and no page size is.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from referral_fn.errors import PermanentError, RetryableError
from referral_fn.partner_center import Answer, Call, PartnerCenter
from referral_fn.referrals.request import InvalidRequestError, Trace, read_referral_id
from referral_fn.strict_json import InvalidJSONError, loads
from referral_fn.timestamps import read_utc

MAX_PAGE_SIZE = 16 * 1024 * 1024
"""Bytes of a page that are read: a thousand referrals, even if they come whole in spite of `$select`."""

MAX_PAGES = 10_000
"""Pages of one walk. There are a hundred referrals on a page, by the page of 2019."""

_SELECT = "id,updatedDateTime,status"


@dataclass(frozen=True, slots=True)
class Listed:
    """A referral as the list names it."""

    referral_id: str
    updated_at: datetime | None
    status: str | None


@dataclass(frozen=True, slots=True)
class Page:
    """One page of the list. An empty page is not the end."""

    referrals: tuple[Listed, ...]
    skip_token: str | None
    """Asks for the next page; None on the last one."""


@dataclass(frozen=True, slots=True)
class Query:
    """What to list, and in which order."""

    order_by: str
    condition: str | None = None
    """An OData filter."""


class ReferralList:
    """Reads the list page by page."""

    def __init__(self, partner_center: PartnerCenter, collection: str) -> None:
        self._partner_center = partner_center
        self._collection = collection

    async def page(self, query: Query, skip_token: str | None = None) -> Page:
        """Read one page.

        Raises:
            PermanentError: `upstream-refused`, which is also the answer to a filter that is not supported;
                `referral-not-found` if there is no such list; `invalid-list`.
            RetryableError: as for `PartnerCenter.fetch`.
        """
        call = Call(self._url(query, skip_token), MAX_PAGE_SIZE, {"list": query.order_by}, Trace())
        return await self._partner_center.get(call, _read)

    async def pages(self, query: Query) -> AsyncIterator[Page]:
        """Read all pages, one after the other.

        Raises:
            PermanentError: as for `page`; `invalid-list` also if a skip token comes twice, or after `MAX_PAGES`.
            RetryableError: as for `page`.
        """
        skip_token: str | None = None
        seen: set[str] = set()
        while len(seen) < MAX_PAGES:
            page = await self.page(query, skip_token)
            yield page
            skip_token = page.skip_token
            if skip_token is None:
                return
            if skip_token in seen:
                raise PermanentError("invalid-list", "Partner Center's list repeats a skip token")
            seen.add(skip_token)
        raise PermanentError("invalid-list", f"Partner Center's list has more than {MAX_PAGES} pages")

    def _url(self, query: Query, skip_token: str | None) -> str:
        """The page's URL, always on the host we know: `nextLink` is plain http, and elsewhere."""
        parameters = {"$filter": query.condition, "$orderby": query.order_by, "$select": _SELECT}
        parameters["$skiptoken"] = skip_token
        present = [f"{name}={quote(value, safe='')}" for name, value in parameters.items() if value is not None]
        return f"{self._collection}?{'&'.join(present)}"


def _read(answer: Answer) -> Page:
    if answer.response.truncated:
        raise PermanentError("invalid-list", f"a page is over {MAX_PAGE_SIZE} bytes", upstream=answer.upstream)
    try:
        document = loads(answer.response.body)
    except InvalidJSONError as error:
        detail = f"Partner Center's answer {error}"
        raise RetryableError("upstream-unavailable", detail, upstream=answer.upstream) from None
    match document:
        case {"value": [*items]}:
            referrals = tuple(listed for item in items if (listed := _listed(item)))
            return Page(referrals, _skip_token(document.get("@odata.nextLink")))
    raise RetryableError("upstream-unavailable", "Partner Center's answer is not a list", upstream=answer.upstream)


def _listed(item: Any) -> Listed | None:
    """A referral of the list; None for what has no ID, and so could not be asked for."""
    if not isinstance(item, dict):
        return None
    try:
        referral_id = read_referral_id(item.get("id"))
    except InvalidRequestError:
        return None
    status = item.get("status")
    return Listed(referral_id, _time(item.get("updatedDateTime")), status if isinstance(status, str) else None)


def _time(value: Any) -> datetime | None:
    try:
        return read_utc(value)
    except ValueError:
        return None


def _skip_token(next_link: Any) -> str | None:
    """The skip token of a `nextLink`. A plus sign in it is a plus sign: tokens are often base64."""
    if next_link is None:
        return None
    parameters = urlsplit(next_link).query.split("&") if isinstance(next_link, str) else []
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if unquote(name).lower() == "$skiptoken" and value:
            return unquote(value)
    raise PermanentError("invalid-list", "Partner Center's link to the next page has no skip token")
