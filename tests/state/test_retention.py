"""The clean-up of the table."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from referral_fn.state.retention import KEY, PARTITION, Retention
from referral_fn.state.table import Row
from tests.state.memory_table import MemoryTable


class EmptyTable(MemoryTable):
    """No referral's row is old."""

    async def query(self, condition: str) -> AsyncIterator[Row]:
        rows: list[Row] = []
        for row in rows:
            assert condition
            yield row


@pytest.mark.parametrize("values", [{}, {"At": 5}, {"At": "yesterday"}])
async def test_a_malformed_row_counts_as_missing_is_logged_and_is_replaced(
    values: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    table = EmptyTable()
    table.put(PARTITION, KEY, values)
    await Retention(table, days=1).run_if_due()
    assert "state.unavailable" in caplog.text
    caplog.clear()
    await Retention(table, days=1).run_if_due()
    assert caplog.text == ""
    assert table.rows[PARTITION, KEY].values.keys() == {"At"}
