"""One table of Azure Table Storage, over its REST interface.

Source: "Query Entities", "Insert Entity", "Update Entity", "Delete Entity" and "Query timeout and pagination" in the
Table Storage REST reference.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from http import HTTPStatus
from types import MappingProxyType
from typing import Any, Protocol
from urllib.parse import quote

import aiohttp

from referral_fn import log, strict_json
from referral_fn.credentials import authorized_call
from referral_fn.credentials.token_source import TokenSource
from referral_fn.errors import RetryableError
from referral_fn.http_call import NoResponseError, Response
from referral_fn.queues.storage import API_VERSION
from referral_fn.retry import retrying
from referral_fn.timestamps import read_utc

SCOPE = "https://storage.azure.com/.default"

TIME_LIMIT = 2
"""Seconds for one call about a row, its token included. A failing table delays an event, but not for long."""

QUERY_LIMIT = 12
"""Seconds for one page of a query. The service works on one for up to five, and an attempt has half of the limit."""

_MAX_RESPONSE = 16 * 1024 * 1024
"""Bytes. A query answers up to 1,000 rows."""

_JSON = "application/json;odata=minimalmetadata"
_ROLE = "its identity needs the role Storage Table Data Contributor"


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the table, as it was read."""

    partition: str
    key: str
    values: Mapping[str, Any]
    """The row's own columns: texts, whole numbers and truth values."""
    etag: str
    """Identifies this state of the row: a later `save` with it fails if the row has changed."""

    def text(self, column: str) -> str:
        """A column that holds text.

        Raises:
            ValueError: it is missing, or holds something else.
        """
        value = self.values.get(column)
        if not isinstance(value, str):
            raise ValueError(f"{column} must be text")  # noqa: TRY004 - one error for all that a row can have
        return value

    def time(self, column: str) -> datetime:
        """A column that holds a time.

        Raises:
            ValueError: as for `text`.
        """
        return read_utc(self.text(column))

    def log_malformed(self, error: ValueError, **fields: object) -> None:
        """Log that the row cannot be read. The app treats it as missing, and replaces it at the next write."""
        detail = f"row {self.key} counts as missing: {error}"
        log.warning("state.unavailable", **fields, operation="read", detail=detail)


class ConflictError(Exception):
    """The row was created, changed or deleted by somebody else since it was read."""


class Table(Protocol):
    """What the app needs from a table."""

    async def get(self, partition: str, key: str) -> Row | None:
        """Read a row; None if there is none.

        Raises:
            RetryableError: `state-unavailable`, `token-unavailable`.
        """

    async def save(self, partition: str, key: str, values: Mapping[str, Any], *, etag: str | None) -> None:
        """Write a row whole, if it is still as it was read.

        Args:
            partition: the row's partition key.
            key: its row key.
            values: its columns.
            etag: of the row as it was read; None if there was none.

        Raises:
            ConflictError: the row has changed.
            RetryableError: as for `get`.
        """

    async def delete(self, row: Row) -> None:
        """Delete a row, if it is still as it was read.

        Raises:
            ConflictError, RetryableError: as for `save`.
        """

    async def page(self, condition: str, continuation: str) -> tuple[list[Row], str | None]:
        """Read a page of the rows that meet an OData condition.

        Args:
            condition: the condition, the same for all pages of a query.
            continuation: where the page begins: empty for the first, then as returned by the page before.

        Returns:
            The rows, perhaps none, and where the next page begins; None after the last one.

        Raises:
            RetryableError: as for `get`.
        """


@dataclass(slots=True)
class StorageTable:
    """A table of Azure Storage. Every call ends within `TIME_LIMIT` seconds, that for a page within `QUERY_LIMIT`."""

    url: str
    session: aiohttp.ClientSession
    tokens: TokenSource
    _name: str = field(init=False)

    def __post_init__(self) -> None:
        self._name = self.url.rpartition("/")[2]

    async def get(self, partition: str, key: str) -> Row | None:
        """Read a row; None if there is none."""
        response = await self._call("GET", self._row_url(partition, key), HTTPStatus.OK, HTTPStatus.NOT_FOUND)
        if response.status == HTTPStatus.NOT_FOUND:
            if _error_code(response) == "TableNotFound":
                raise self._error(response)
            return None
        return self._row(self._document(response))

    async def save(self, partition: str, key: str, values: Mapping[str, Any], *, etag: str | None) -> None:
        """Write a row whole, if it is still as it was read."""
        entity = {"PartitionKey": partition, "RowKey": key, **values}
        if etag is None:
            await self._write("POST", self.url, entity, {"Prefer": "return-no-content"})
        else:
            await self._write("PUT", self._row_url(partition, key), entity, {"If-Match": etag})

    async def delete(self, row: Row) -> None:
        """Delete a row, if it is still as it was read."""
        await self._write("DELETE", self._row_url(row.partition, row.key), None, {"If-Match": row.etag})

    async def page(self, condition: str, continuation: str) -> tuple[list[Row], str | None]:
        """Read a page of the rows that meet an OData condition."""
        url = f"{self.url}()?$filter={quote(condition)}{continuation}"
        response = await self._call("GET", url, HTTPStatus.OK, limit=QUERY_LIMIT)
        entities = self._document(response).get("value")
        if not isinstance(entities, list):
            raise self._unexpected("the answer is no list of rows")
        return [self._row(entity) for entity in entities], _continuation(response)

    async def _write(self, method: str, url: str, entity: Mapping[str, Any] | None, headers: Mapping[str, str]) -> None:
        conflicts = HTTPStatus.CONFLICT, HTTPStatus.PRECONDITION_FAILED, HTTPStatus.NOT_FOUND
        body = None if entity is None else strict_json.dumps(entity)
        response = await self._call(method, url, HTTPStatus.NO_CONTENT, *conflicts, body=body, headers=headers)
        if response.status in conflicts:
            if _error_code(response) == "TableNotFound":
                raise self._error(response)
            raise ConflictError

    async def _call(
        self,
        method: str,
        url: str,
        *expected: int,
        body: bytes | None = None,
        headers: Mapping[str, str] = MappingProxyType({}),
        limit: float = TIME_LIMIT,
    ) -> Response:
        """Make a call, in up to three quick attempts within `limit` seconds.

        A write whose answer was lost is refused as a conflict when it is tried again.
        """

        async def attempt(seconds: float) -> Response:
            try:
                response = await authorized_call.send(
                    self.session,
                    self.tokens,
                    SCOPE,
                    method,
                    url,
                    seconds=seconds,
                    max_bytes=_MAX_RESPONSE,
                    headers={**_headers(), **headers},
                    data=body,
                )
            except NoResponseError as error:
                raise RetryableError("state-unavailable", f"table {self._name} cannot be reached: {error}") from None
            if response.status not in expected:
                raise self._error(response)
            return response

        def on_timeout() -> RetryableError:
            return RetryableError("state-unavailable", f"table {self._name} did not answer within {limit} s")

        return await retrying(attempt, budget=limit, on_timeout=on_timeout)

    def _row_url(self, partition: str, key: str) -> str:
        """The row's URL. Keys are the app's own: GUIDs and words, which need no quoting."""
        return f"{self.url}(PartitionKey='{partition}',RowKey='{key}')"

    def _document(self, response: Response) -> dict[str, Any]:
        try:
            document = strict_json.loads(response.body)
        except strict_json.InvalidJSONError:
            document = None
        if not isinstance(document, dict):
            raise self._unexpected("the answer is no JSON object")
        return document

    def _row(self, entity: Any) -> Row:
        match entity:
            case {"PartitionKey": str(partition), "RowKey": str(key), "odata.etag": str(etag)}:
                known = {"PartitionKey", "RowKey"}
                own = {name: value for name, value in entity.items() if name not in known and "odata." not in name}
                return Row(partition, key, own, etag)
        raise self._unexpected("the answer is no row")

    def _unexpected(self, detail: str) -> RetryableError:
        return RetryableError("state-unavailable", f"table {self._name}: {detail}")

    def _error(self, response: Response) -> RetryableError:
        meanings: dict[int, str] = {
            HTTPStatus.NOT_FOUND: "does not exist",
            HTTPStatus.UNAUTHORIZED: "does not accept the app's token",
            HTTPStatus.FORBIDDEN: f"refuses the app: {_ROLE}",
        }
        meaning = meanings.get(response.status, "did not accept the call")
        code = _error_code(response) or "no code"
        detail = f"table {self._name} {meaning} ({response.status} {code})"
        return RetryableError("state-unavailable", detail, quick=response.status not in meanings)


def _headers() -> dict[str, str]:
    return {
        "Accept": _JSON,
        "Content-Type": "application/json",
        "DataServiceVersion": "3.0;NetFx",
        "x-ms-version": API_VERSION,
        "x-ms-date": format_datetime(datetime.now(UTC), usegmt=True),
    }


def _continuation(response: Response) -> str | None:
    """The parameters that ask for the next page; None after the last one."""
    parameters = [
        f"&{name}={quote(value, safe='')}"
        for name in ("NextPartitionKey", "NextRowKey")
        if (value := response.headers.get(f"x-ms-continuation-{name}"))
    ]
    return "".join(parameters) or None


def _error_code(response: Response) -> str | None:
    """The service's error code, from the header or from the body."""
    if code := response.headers.get("x-ms-error-code"):
        return code
    try:
        code = strict_json.loads(response.body)["odata.error"]["code"]
    except (strict_json.InvalidJSONError, KeyError, TypeError):
        return None
    return code if isinstance(code, str) and code.isalnum() else None
