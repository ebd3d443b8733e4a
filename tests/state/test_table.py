"""The table's REST client against Azurite's table service."""

import ssl
import uuid
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import aiohttp
import pytest
from multidict import CIMultiDict, CIMultiDictProxy

from local_stack.stack import Stack
from local_stack.stand_ins.identity import CLIENT_ID
from referral_fn import http_call
from referral_fn.credentials.token_source import TokenSource
from referral_fn.errors import RetryableError
from referral_fn.http_call import Response
from referral_fn.state.backfill_runs import PARTITION, BackfillRuns
from referral_fn.state.memory import ROW
from referral_fn.state.retention import Retention
from referral_fn.state.table import ConflictError, Row, StorageTable
from tests.tokens import FixedCredential

ID = "8b9dbf1c-1c5c-4b1a-9e37-3a6f7c2f2a11"


def open_table(stack: Stack, session: aiohttp.ClientSession, url: str, audience: str) -> StorageTable:
    token = stack.issuer.mint(audience, CLIENT_ID, 600)
    return StorageTable(url, session, TokenSource(lambda: FixedCredential(token)))


@pytest.fixture
async def session(stack: Stack) -> AsyncIterator[aiohttp.ClientSession]:
    tls = ssl.create_default_context(cafile=stack.authority.root)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=tls)) as session:
        yield session


@pytest.fixture
async def table(stack: Stack, session: aiohttp.ClientSession) -> StorageTable:
    return open_table(stack, session, await stack.fresh_table(), "https://storage.azure.com")


async def test_a_row_is_read_as_it_was_written(table: StorageTable) -> None:
    values = {"Text": "a 'quoted' \u6771", "Number": 3, "Flag": True}
    await table.save(ID, "referral", values, etag=None)
    row = await table.get(ID, "referral")
    assert row is not None
    assert (row.partition, row.key) == (ID, "referral")
    assert {name: row.values[name] for name in values} == values


async def test_a_row_that_is_not_there_is_none(table: StorageTable) -> None:
    assert await table.get(ID, "referral") is None


async def test_a_row_is_written_only_if_it_is_as_it_was_read(table: StorageTable) -> None:
    await table.save(ID, "referral", {"N": 1}, etag=None)
    with pytest.raises(ConflictError):
        await table.save(ID, "referral", {"N": 2}, etag=None)
    row = await table.get(ID, "referral")
    assert row is not None
    await table.save(ID, "referral", {"N": 3}, etag=row.etag)
    with pytest.raises(ConflictError):
        await table.save(ID, "referral", {"N": 4}, etag=row.etag)
    with pytest.raises(ConflictError):
        await table.delete(row)
    row = await table.get(ID, "referral")
    assert row is not None
    assert row.values["N"] == 3
    await table.delete(row)
    with pytest.raises(ConflictError):
        await table.save(ID, "referral", {"N": 5}, etag=row.etag)


async def every_row(table: StorageTable, condition: str) -> list[Row]:
    rows: list[Row] = []
    continuation: str | None = ""
    while continuation is not None:
        found, continuation = await table.page(condition, continuation)
        rows += found
    return rows


async def test_a_query_may_take_as_long_as_the_service_works_on_one(
    table: StorageTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits, body = [], b'{"value": [], "PartitionKey": "", "RowKey": "", "odata.etag": ""}'

    async def send(*_arguments: Any, seconds: float, **_options: Any) -> Response:
        limits.append(seconds)
        return Response(200, CIMultiDictProxy(CIMultiDict()), body)

    monkeypatch.setattr(http_call, "send", send)
    assert await table.page("Even eq true", "") == ([], None)
    assert await table.get(ID, "referral") is not None
    query, read = limits
    assert query > 5
    assert read < 2


@pytest.mark.parametrize("body", [b"{}", b"[]", b'{"value": {}}', b'{"value": [1]}', b'{"PartitionKey": "a"}'])
async def test_a_200_that_is_no_row_is_trouble_with_the_table(
    table: StorageTable, monkeypatch: pytest.MonkeyPatch, body: bytes
) -> None:
    """Any other error would hold up the event."""

    async def send(*_arguments: Any, **_options: Any) -> Response:
        return Response(200, CIMultiDictProxy(CIMultiDict()), body)

    monkeypatch.setattr(http_call, "send", send)
    for call in (table.get(ID, "referral"), table.page("", "")):
        with pytest.raises(RetryableError, match="the answer is no") as raised:
            await call
        assert raised.value.reason == "state-unavailable"


async def test_a_query_reads_every_page(table: StorageTable) -> None:
    for number in range(1005):
        await table.save(f"p{number % 3}", f"{number}", {"Even": number % 2 == 0}, etag=None)
    rows = await every_row(table, "Even eq true")
    assert sorted(int(row.key) for row in rows) == list(range(0, 1005, 2))
    assert len(await every_row(table, "PartitionKey ne ''")) == 1005


async def test_rows_of_referrals_closed_long_ago_are_removed_once_a_day(
    table: StorageTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    for status in ("Closed", "Active"):
        await table.save(str(uuid.uuid4()), ROW, {"Status": status}, etag=None)
    await Retention(table, days=1).run_if_due()
    assert len(await every_row(table, f"RowKey eq '{ROW}'")) == 2
    await Retention(table, days=-1).run_if_due()
    assert len(await every_row(table, f"RowKey eq '{ROW}'")) == 2
    monkeypatch.setattr("referral_fn.state.retention.EVERY", timedelta(0))
    await Retention(table, days=-1).run_if_due()
    (left,) = await every_row(table, f"RowKey eq '{ROW}'")
    assert left.values["Status"] == "Active"


async def test_rows_of_backfills_that_ended_long_ago_are_removed(
    table: StorageTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = BackfillRuns(table)
    for state in ("running", "finished", "failed"):
        run = await runs.start(str(uuid.uuid4()))
        read = await runs.read(run.id)
        assert read is not None
        await runs.save(read, state=state)
    await table.save("other", "row", {"State": "failed"}, etag=None)
    await Retention(table, days=1).run_if_due()
    assert len(await every_row(table, f"PartitionKey eq '{PARTITION}'")) == 3
    monkeypatch.setattr("referral_fn.state.retention.EVERY", timedelta(0))
    await Retention(table, days=-1).run_if_due()
    (left,) = await every_row(table, f"PartitionKey eq '{PARTITION}'")
    assert left.values["State"] == "running"
    assert await table.get("other", "row") is not None


async def test_a_table_that_does_not_exist_is_named(table: StorageTable, stack: Stack) -> None:
    table = StorageTable(f"{table.url}x", table.session, table.tokens)
    with pytest.raises(RetryableError, match=r"table t\w+ does not exist \(404 TableNotFound\)"):
        await table.save(ID, "referral", {}, etag=None)


async def test_a_token_for_something_else_is_refused(stack: Stack, session: aiohttp.ClientSession) -> None:
    table = open_table(stack, session, await stack.fresh_table(), "https://vault.azure.net")
    with pytest.raises(RetryableError, match="Data Contributor") as raised:
        await table.get(ID, "referral")
    assert raised.value.reason == "state-unavailable"
