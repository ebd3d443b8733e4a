"""The pause that instances share."""

import asyncio
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import pytest

from local_stack.stack import SERVICE_BUS, Stack
from local_stack.stand_ins.bucket import Bucket
from local_stack.stand_ins.identity import CLIENT_ID
from local_stack.stand_ins.partner_center import AUDIENCE
from referral_fn.credentials.token_source import TokenSource
from referral_fn.errors import RetryableError
from referral_fn.gate import PROBE_AFTER, Gate
from referral_fn.partner_center import PartnerCenter
from referral_fn.referrals.request import ReferralRequest
from referral_fn.settings import read_settings
from referral_fn.state import pause as pause_module
from referral_fn.state.pause import KEY, PARTITION, SharedPause
from referral_fn.timestamps import read_utc
from tests.documents import SEED_ID
from tests.state.memory_table import MemoryTable
from tests.tokens import FixedCredential

INSTANCES = 3


def is_closed(gate: Gate) -> bool:
    try:
        with gate.passage():
            return False
    except RetryableError:
        return True


@pytest.fixture
def always_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pause_module, "READ_INTERVAL", 0)


@pytest.mark.usefixtures("always_looks")
async def test_a_pause_closes_the_gates_of_all_instances_once() -> None:
    table, gates = MemoryTable(), (Gate(), Gate())
    asked, other = (SharedPause(table, gate) for gate in gates)
    await asked.announce(30)
    await other.obey()
    assert is_closed(gates[1])
    assert not is_closed(gates[0])  # the instance that was asked closes its own gate by itself
    await asked.obey()
    assert not is_closed(gates[0])


@pytest.mark.usefixtures("always_looks")
async def test_a_shorter_pause_does_not_shorten_a_longer_one() -> None:
    table, gate = MemoryTable(), Gate()
    await SharedPause(table, Gate()).announce(60)
    await SharedPause(table, Gate()).announce(1)
    await SharedPause(table, gate).obey()
    with pytest.raises(RetryableError) as raised, gate.passage():
        pass
    assert raised.value.retry_after is not None
    assert raised.value.retry_after > 50


async def test_the_row_ends_with_the_first_probe_so_that_later_instances_do_not_wait_for_more() -> None:
    table = MemoryTable()
    await SharedPause(table, Gate()).announce(3600)
    until = read_utc(table.rows[PARTITION, KEY].values["Until"])
    assert until - datetime.now(UTC) <= timedelta(seconds=PROBE_AFTER)
    assert until - datetime.now(UTC) > timedelta(seconds=PROBE_AFTER - 5)


@pytest.mark.usefixtures("always_looks")
@pytest.mark.parametrize("values", [{}, {"Until": 5}, {"Until": "tomorrow"}, {"Until": None}])
async def test_a_malformed_row_is_no_pause_is_logged_and_is_written_anew(
    values: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    table, gate = MemoryTable(), Gate()
    table.put(PARTITION, KEY, values)
    await SharedPause(table, gate).obey()
    assert not is_closed(gate)
    assert "state.unavailable" in caplog.text
    await SharedPause(table, Gate()).announce(30)
    await SharedPause(table, gate).obey()
    assert is_closed(gate)


async def test_the_row_is_looked_at_now_and_then_and_a_table_in_trouble_left_alone() -> None:
    table = MemoryTable()
    shared = SharedPause(table, Gate())
    await asyncio.gather(*[shared.obey() for _ in range(50)])
    assert table.calls == 1
    table.is_down = True
    shared = SharedPause(table, Gate())
    await shared.obey()
    await shared.obey()
    await shared.announce(1)
    assert table.calls == 3


@pytest.mark.parametrize(("own", "longest"), [(600, 600), (10, 60)])
async def test_of_two_pauses_written_at_the_same_moment_the_longer_one_stays(own: float, longest: float) -> None:
    table, elsewhere = MemoryTable(), MemoryTable()
    await SharedPause(elsewhere, Gate()).announce(60)
    table.before_save = lambda: table.put(PARTITION, KEY, elsewhere.rows[PARTITION, KEY].values)
    await SharedPause(table, Gate()).announce(own)
    left = table.rows[PARTITION, KEY].time("Until") - datetime.now(UTC)
    assert left.total_seconds() == pytest.approx(longest, abs=5)


@pytest.fixture
async def instances(stand_ins: Stack) -> AsyncIterator[list[PartnerCenter]]:
    queues = await stand_ins.fresh_queues(inbound=SERVICE_BUS, outbound=SERVICE_BUS)
    settings = read_settings(stand_ins.environment(queues))
    token = stand_ins.issuer.mint(AUDIENCE, CLIENT_ID, 600)
    tls = ssl.create_default_context(cafile=stand_ins.authority.root)
    table = MemoryTable()
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=tls)) as session:
        clients = []
        for _ in range(INSTANCES):
            client = PartnerCenter(settings, session, TokenSource(lambda: FixedCredential(token)))
            client.shared_pause = SharedPause(table, client.gate)
            clients.append(client)
        yield clients


@pytest.mark.e2e  # seven seconds long
@pytest.mark.usefixtures("always_looks")
async def test_calls_inside_a_pause_are_one_probe_per_instance_at_most(
    instances: list[PartnerCenter], stand_ins: Stack
) -> None:
    bucket = stand_ins.partner_center.bucket = Bucket(size=20, rate=10, pause=2)
    ends_at = time.monotonic() + 7
    served = 0

    async def work(client: PartnerCenter) -> None:
        nonlocal served
        while time.monotonic() < ends_at:
            with suppress(RetryableError):
                await client.fetch(ReferralRequest(SEED_ID))
                served += 1
            await asyncio.sleep(0.01)

    await asyncio.gather(*[work(client) for client in instances])
    assert bucket.pauses >= 2
    assert len(bucket.early) <= INSTANCES * bucket.pauses
    assert served >= 20 * bucket.pauses / 2
