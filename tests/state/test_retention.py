"""The clean-up of the table."""

import uuid
from typing import Any

import pytest

from referral_fn.state import retention
from referral_fn.state.memory import ROW
from referral_fn.state.retention import KEY, PARTITION, Retention
from referral_fn.state.table import ConflictError, Row
from tests.state.memory_table import MemoryTable


class PagedTable(MemoryTable):
    """Finds all rows of referrals, in pages of two."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[tuple[str, str]] = []
        """The condition and the continuation of each query."""

    async def page(self, condition: str, continuation: str) -> tuple[list[Row], str | None]:
        self.asked.append((condition, continuation))
        found = sorted((row for row in self.rows.values() if row.key == ROW), key=lambda row: row.partition)
        later = [row for row in found if row.partition > continuation]
        return later[:2], later[1].partition if len(later) > 2 else None


@pytest.fixture
def table() -> PagedTable:
    table = PagedTable()
    for _ in range(5):
        table.put(str(uuid.uuid4()), ROW, {"Status": "Closed"})
    return table


async def test_a_search_that_takes_long_goes_on_at_the_next_run(
    table: PagedTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "SECONDS", 0)  # each run has time for one page
    left = []
    for _ in range(5):
        await Retention(table, days=1).run_if_due()
        left.append(sum(key == ROW for _, key in table.rows))
    assert left == [3, 1, 0, 0, 0]
    assert len({condition for condition, _ in table.asked}) == 1
    assert table.asked[0][1] == ""
    assert len({continuation for _, continuation in table.asked}) == 3


async def test_a_row_that_was_just_written_is_kept(table: PagedTable) -> None:
    (partition, _), *_ = [key for key in table.rows if key[1] == ROW]

    async def delete(row: Row) -> None:
        if row.partition == partition:
            raise ConflictError
        await MemoryTable.delete(table, row)

    table.delete = delete  # type: ignore[method-assign]
    await Retention(table, days=1).run_if_due()
    assert [key for key in table.rows if key[1] == ROW] == [(partition, ROW)]


@pytest.mark.parametrize("values", [{}, {"At": 5}, {"At": "yesterday"}])
async def test_a_malformed_row_counts_as_missing_is_logged_and_is_replaced(
    values: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    table = PagedTable()
    table.put(PARTITION, KEY, values)
    await Retention(table, days=1).run_if_due()
    assert "state.unavailable" in caplog.text
    caplog.clear()
    await Retention(table, days=1).run_if_due()
    assert caplog.text == ""
    assert table.rows[PARTITION, KEY].values.keys() == {"At"}
