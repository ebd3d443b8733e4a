"""The worker: Microsoft's library in a process of its own, how it ends, and what becomes of its calls."""

import asyncio
import contextlib
import io
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from local_stack.host import wire
from local_stack.host.channel import Call, InvocationError, WorkerExitError
from local_stack.host.dispatcher import CancelledInvocationError, Dispatcher, Function, Limits, TimedOutError
from local_stack.host.host_json import read_host_json
from local_stack.host.logs import HostLog

pytestmark = pytest.mark.e2e

PROBE = Path(__file__).parent / "probe_app"


class Probe:
    """A dispatcher for the probe app, and what it did."""

    def __init__(self, *, time_out: float = 20, restart_wait: float = 0) -> None:
        self.output = io.StringIO()
        self.pids: list[int] = []
        self.libraries: list[str] = []
        self.ended: list[str] = []
        log = HostLog(read_host_json(PROBE), self.output)
        self.dispatcher = Dispatcher(PROBE, log, Limits(time_out, restart_wait), self.ended.append)
        self.dispatcher.started = self._started
        self.functions: dict[str, Function] = {}

    def _started(self, pid: int, library: str) -> None:
        self.pids.append(pid)
        self.libraries.append(library)

    async def call(self, path: str) -> str:
        """Call an HTTP function by the path after `/api/`, with its one parameter."""
        name, _, value = path.partition("/")
        function = self.functions[name]
        params = {"seconds": value, "code": value}
        request = {"method": "GET", "url": "", "headers": {}, "query": {}, "params": params, "body": {}}
        call = Call(function.id, name, {"req": {"http": request}}, {}, "")
        returned = await self.dispatcher.invoke(call, "a test")
        return wire.to_bytes(returned["http"]["body"]).decode() if returned else ""

    async def worker(self, number: int) -> int:
        """Wait for the worker of this number to be up. Returns its process ID."""
        while len(self.pids) < number:
            await asyncio.sleep(0.01)
        return self.pids[number - 1]

    async def lose_workers(self, count: int) -> None:
        """Kill so many workers, one after the other, until the host has seen it."""
        for number in range(1, count + 1):
            os.kill(await self.worker(number), signal.SIGKILL)
            while self.output.getvalue().count("exited with code 137") < number:
                await asyncio.sleep(0.01)

    async def has_logged(self, text: str) -> None:
        while text not in self.output.getvalue():
            await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def probe(*, time_out: float = 20, restart_wait: float = 0) -> AsyncIterator[Probe]:
    started = Probe(time_out=time_out, restart_wait=restart_wait)
    started.functions = {one.name: one for one in await started.dispatcher.start()}
    try:
        yield started
    finally:
        await started.dispatcher.stop()


async def under_way(host: Probe, *names: str) -> None:
    for name in names:
        await host.has_logged(f"Executing 'Functions.{name}'")
    await host.call("process")  # the worker takes calls in order, so it has the others, too


async def test_the_worker_runs_microsofts_library_and_reports_its_version() -> None:
    async with probe() as host:
        assert host.libraries == ["azure-functions-runtime 1.3.0"]
        assert {"echo", "sleep", "process"} <= set(host.functions)
        assert host.functions["echo"].trigger["type"] == "httpTrigger"
        assert int(await host.call("process")) == host.pids[0] != os.getpid()


async def test_an_app_that_cannot_be_imported_has_no_functions_and_the_host_logs_why(tmp_path: Path) -> None:
    (tmp_path / "function_app.py").write_text("import nothing_of_that_name")
    output = io.StringIO()
    dispatcher = Dispatcher(tmp_path, HostLog({}, output), Limits(1), list[str]().append)
    assert await dispatcher.start() == []
    await dispatcher.stop()
    assert "Worker was unable to load function app" in output.getvalue()
    assert "nothing_of_that_name" in output.getvalue()


async def test_a_function_that_raises_fails_its_call_alone() -> None:
    async with probe() as host:
        with pytest.raises(InvocationError, match="LookupError: nothing there") as raised:
            await host.call("fail")
        assert "function_app.py" in raised.value.stack
        assert "Executed 'Functions.fail' (Failed" in host.output.getvalue()
        assert await host.call("sleep/0") == "slept"
        assert len(host.pids) == 1


async def test_a_killed_worker_fails_its_calls_at_once_and_is_replaced() -> None:
    async with probe() as host:
        calls = [asyncio.create_task(host.call("sleep/60")) for _ in range(3)]
        await under_way(host, "sleep")
        os.kill(host.pids[0], signal.SIGKILL)
        for call in calls:
            with pytest.raises(WorkerExitError, match=r"exited with code 137 \(0x89\)"):
                await call
        await host.worker(2)
        assert int(await host.call("process")) == host.pids[1]


async def test_calls_wait_for_the_next_worker_while_there_is_none() -> None:
    async with probe(restart_wait=0.5) as host:
        await host.lose_workers(2)
        assert int(await host.call("process")) == await host.worker(3)


async def test_a_time_out_kills_the_worker_and_the_other_calls_wait_for_their_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with probe(time_out=2) as host:
        first = asyncio.create_task(host.call("sleep/60"))
        await under_way(host, "sleep")
        monkeypatch.setattr(host.dispatcher, "_limits", Limits(3, 0))
        second = asyncio.create_task(host.call("sleep/60"))
        with pytest.raises(TimedOutError):
            await first
        assert not second.done(), "the worker is gone, and nobody tells its other calls"
        await host.worker(2)
        assert int(await host.call("process")) == host.pids[1]
        with pytest.raises(TimedOutError):
            await second
        assert len(host.pids) == 2, "the second time-out finds its worker gone already"


async def test_a_blocked_worker_is_killed_too() -> None:
    async with probe(time_out=2) as host:
        with pytest.raises(TimedOutError):
            await host.call("block/60")
        await host.worker(2)
        assert await host.call("sleep/0") == "slept"


async def test_a_third_death_ends_the_host_and_time_outs_do_not_count() -> None:
    async with probe(time_out=0.5) as host:
        with pytest.raises(TimedOutError):
            await host.call("sleep/60")
        for number in (2, 3, 4):
            assert host.ended == []
            os.kill(await host.worker(number), signal.SIGKILL)
        while not host.ended:
            await asyncio.sleep(0.01)
        assert "Exceeded language worker restart retry count" in host.ended[0]
        assert len(host.pids) == 4


async def test_a_worker_that_ends_with_code_0_is_replaced_only_after_a_time_out() -> None:
    async with probe(time_out=2) as host:
        with pytest.raises(TimedOutError):
            await host.call("leave/0")
        assert int(await host.call("process")) == await host.worker(2)


async def test_a_worker_that_asks_for_a_restart_is_not_counted_as_a_death() -> None:
    async with probe(time_out=0.4) as host:
        for number in range(1, 5):
            await host.worker(number)
            with pytest.raises(TimedOutError):
                await host.call("leave/200")
        await host.worker(5)
        assert host.ended == []


async def test_when_the_host_stops_calls_without_a_worker_are_cancelled_and_the_others_finish() -> None:
    async with probe(restart_wait=60) as host:
        await host.lose_workers(2)
        waiting = asyncio.create_task(host.call("process"))
        await host.has_logged("Executing 'Functions.process'")
        host.dispatcher.cancel_waiting()
        with pytest.raises(CancelledInvocationError):
            await waiting
    async with probe() as host:
        running = asyncio.create_task(host.call("sleep/0.3"))
        await under_way(host, "sleep")
        host.dispatcher.cancel_waiting()
        assert await running == "slept"


async def test_only_what_is_logged_inside_an_invocation_is_kept_and_only_at_its_categorys_level() -> None:
    async with probe() as host:
        await host.call("chatty")
        await host.call("process")
        await host.has_logged("error: later")  # printed after what is logged outside of the invocation
        lines = host.output.getvalue()
        assert "ERROR Function.chatty.User an error\n" in lines
        assert "ERROR Function.chatty.User in a task\n" in lines
        assert "WARNING Function.process.User in a synchronous function\n" in lines
        dropped = ("a warning\n", "logged at import", "in a thread", "from a callback", "after the invocation")
        assert [text for text in dropped if f".User {text}" in lines or f"root {text}" in lines] == []


async def test_lines_on_the_console_are_levelled_by_stream_and_words() -> None:
    async with probe() as host:
        await host.call("chatty")
        await host.has_logged("ERROR Host.Function.Console unhandled exception\n")
        assert "WARNING Host.Function.Console a warning of an error\n" in host.output.getvalue()
        assert "printed" not in host.output.getvalue(), "host.json's default keeps it out"
