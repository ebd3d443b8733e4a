"""What the table costs and risks on the way of one referral: calls, and trouble in the middle. On real sockets."""

import asyncio
import sys
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from types import FrameType
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from local_stack.stack import Queues, Stack
from local_stack.stand_ins.serving import serving
from referral_fn import state
from referral_fn.app import App
from referral_fn.queue_worker import Delivery
from referral_fn.settings import read_settings
from referral_fn.state import memory, table
from tests.documents import seed

STORAGE = "https://storage.azure.com"
NAME = "referrals"


class FaultyTable:
    """A table that is empty, and misbehaves as a test asks."""

    def __init__(self) -> None:
        self.misbehave: Callable[[web.Request], Awaitable[web.Response | None]] = _behave
        self.app = web.Application()
        self.app.router.add_route("*", "/{path:.*}", self._answer)

    async def _answer(self, request: web.Request) -> web.Response:
        if answer := await self.misbehave(request):
            return answer
        return web.Response(status=404 if request.method == "GET" else 204)


async def _behave(_: web.Request) -> None:
    return None


async def refuse(_: web.Request) -> web.Response:
    return web.Response(status=500)


async def reset(request: web.Request) -> web.Response:
    assert request.transport
    request.transport.abort()
    return web.Response()


async def hang(_: web.Request) -> web.Response:
    await asyncio.Event().wait()
    raise AssertionError


@pytest.fixture
async def faulty_table(stand_ins: Stack) -> AsyncIterator[tuple[FaultyTable, str]]:
    faulty = FaultyTable()
    async with serving(faulty.app, tls=stand_ins.authority.server_context()) as url:
        yield faulty, f"{url}/account/{NAME}"


class Worker:
    """The app of one worker process, whose calls are noted."""

    def __init__(self, stack: Stack, queues: Queues, **settings: str) -> None:
        self.calls: list[str] = []
        self._referrals = stack.partner_center.referrals
        trace = aiohttp.TraceConfig()
        trace.on_request_start.append(self._note)
        connector = aiohttp.TCPConnector(ssl=stack.authority.client_context())
        session = aiohttp.ClientSession(connector=connector, trace_configs=[trace])
        self.app = App(read_settings(stack.environment(queues, **settings)), session)

    async def _note(self, _session: Any, _context: Any, started: aiohttp.TraceRequestStartParams) -> None:
        path = started.url.path
        known = {"/referrals/": "referral", "/messages": "event", "'app'": "pause", NAME: "row"}
        self.calls.append(f"{started.method} {next(name for part, name in known.items() if part in path)}")

    async def forward(self) -> list[str]:
        """Take a message to its outcome. Returns the calls that this took."""
        referral_id = str(uuid.uuid4())
        self._referrals[referral_id] = seed(id=referral_id)
        self.calls.clear()
        await self.app.queue_worker.process(Delivery(referral_id.encode()))
        return self.calls.copy()


@pytest.fixture
async def open_counting(
    stand_ins: Stack, bus_queues: Queues, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Callable[..., Worker]]:
    monkeypatch.setenv("IDENTITY_ENDPOINT", f"{stand_ins.identity_url}/msi/token")
    monkeypatch.setenv("IDENTITY_HEADER", stand_ins.identity.secret)
    opened: list[Worker] = []

    def open_one(**settings: str) -> Worker:
        opened.append(Worker(stand_ins, bus_queues, **settings))
        return opened[-1]

    yield open_one
    for worker in opened:
        await worker.app.close()


async def test_without_a_table_a_referral_takes_two_calls_and_none_of_its_code_runs(
    open_counting: Callable[..., Worker], stand_ins: Stack
) -> None:
    folder, ran = str(Path(state.__file__).parent), set()

    def note(frame: FrameType, *_: object) -> None:
        if frame.f_code.co_filename.startswith(folder):
            ran.add(frame.f_code.co_qualname)

    worker, tokens = open_counting(), stand_ins.identity.requests.copy()
    sys.setprofile(note)
    try:
        for _ in range(2):
            assert await worker.forward() == ["GET referral", "POST event"]
    finally:
        sys.setprofile(None)
    assert ran == set()
    assert STORAGE not in stand_ins.identity.requests - tokens
    assert (stand_ins.identity.requests - tokens).total() == 2


async def test_with_a_table_a_referral_takes_two_calls_more_and_now_and_then_a_look_at_the_pause(
    open_counting: Callable[..., Worker], faulty_table: tuple[FaultyTable, str], stand_ins: Stack
) -> None:
    worker, tokens = open_counting(STATE_URL=faulty_table[1]), stand_ins.identity.requests.copy()
    calls = ["GET referral", "GET row", "POST event", "POST row"]
    assert await worker.forward() == ["GET pause", *calls]
    assert await worker.forward() == calls
    assert (stand_ins.identity.requests - tokens)[STORAGE] == 1
    assert (stand_ins.identity.requests - tokens).total() == 3


@pytest.mark.parametrize(("method", "operation"), [("GET", "read"), ("POST", "write")])
@pytest.mark.parametrize("trouble", [refuse, reset, hang])
async def test_trouble_before_or_after_the_event_is_logged_and_there_is_exactly_one_event(
    open_counting: Callable[..., Worker],
    faulty_table: tuple[FaultyTable, str],
    bus_queues: Queues,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    trouble: Callable[[web.Request], Awaitable[web.Response]],
    method: str,
    operation: str,
) -> None:
    monkeypatch.setattr(table, "TIME_LIMIT", 0.2)
    monkeypatch.setattr(memory, "WRITE_LIMIT", 0.2)

    async def misbehave(request: web.Request) -> web.Response | None:
        return await trouble(request) if request.method == method else None

    faulty_table[0].misbehave = misbehave
    worker = open_counting(STATE_URL=faulty_table[1])
    assert "POST event" in await worker.forward()
    events = await bus_queues.events.documents()
    assert len(events) == 1
    assert await bus_queues.requests.count() == await bus_queues.rejects.count() == 0
    logged: list[Any] = [record for record in caplog.records if getattr(record, "event", "") == "state.unavailable"]
    assert {f'"operation":"{operation}"' in record.getMessage() for record in logged} == {True}
