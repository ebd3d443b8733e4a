"""Calls functions in a worker, and replaces a worker that died, hangs or must restart.

Sources: `RpcFunctionInvocationDispatcher`, `GrpcWorkerChannel` and `WebScriptHostExceptionHandler` of the Functions
host. Its habits, kept here:
- A worker that dies fails its calls at once.
- A function that times out has its worker killed. The other calls of that worker are not notified: each waits for its
  own time-out.
- A third death with less than 30 minutes between each ends the host. Time-outs do not count.
- A worker that ends with exit code 0 is not replaced before a call has timed out.
"""

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from local_stack.host import wire
from local_stack.host.channel import Call, Channel, InvocationError, WorkerStartError, new_invocation_id
from local_stack.host.logs import HostLog

MAX_DEATHS = 3
BETWEEN_DEATHS = 30 * 60
"""Seconds after which earlier deaths of workers are forgotten."""

STOP_SECONDS = 10
"""How long a worker may take to end when the host stops."""

_INTENTIONAL_RESTART = 200
"""The exit code of a worker that requests a restart."""


class TimedOutError(InvocationError):
    """The function took longer than host.json's functionTimeout."""


class CancelledInvocationError(InvocationError):
    """The host stops, and the call had not been passed to a worker."""


@dataclass(frozen=True)
class Function:
    """A function as the worker has indexed it."""

    id: str
    name: str
    bindings: list[dict[str, Any]]

    @property
    def trigger(self) -> dict[str, Any]:
        """Its trigger's binding."""
        return next(binding for binding in self.bindings if binding["type"].lower().endswith("trigger"))


class Invoker(Protocol):
    """What triggers call functions by."""

    async def invoke(self, call: Call, reason: str) -> wire.TypedData | None:
        """Call a function. Returns what it returned; raises `InvocationError`."""


@dataclass(frozen=True)
class Limits:
    """What the dispatcher counts and waits for, in seconds."""

    function_timeout: float
    restart_wait: float = 10
    """At least so long lies between two starts of a worker."""


class Dispatcher:
    """The workers of a host: one at a time."""

    def __init__(self, root: Path, log: HostLog, limits: Limits, end_host: Callable[[str], None]) -> None:
        self._root = root
        self._log = log
        self._limits = limits
        self._end_host = end_host
        self._deaths: list[float] = []
        self._channel: Channel | None = None
        self._ready = asyncio.Event()
        self._starting = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopping = asyncio.Event()
        self.started: Callable[[int, str], None] = lambda _pid, _library: None
        """Called with the process ID and the library of each worker that is up."""

    async def start(self) -> list[Function]:
        """Start the first worker. Returns the app's functions: none if the app cannot be imported."""
        channel = await Channel.start(self._root, self._log)
        try:
            indexed = await channel.initialize(self._root)
        except WorkerStartError as error:
            self._log.error("Host.Startup", f"Worker was unable to load function app: {error}")
            await channel.dispose()
            return []
        self._use(channel)
        return [Function(one["id"], one["name"], [json.loads(text) for text in one["bindings"]]) for one in indexed]

    async def invoke(self, call: Call, reason: str) -> wire.TypedData | None:
        """Call a function. Returns what it returned.

        Raises:
            InvocationError: it failed, timed out, or was not called because the host stops.
        """
        name, invocation_id = f"Functions.{call.function_name}", new_invocation_id()
        category = f"Function.{call.function_name}"
        self._log.information(category, f"Executing '{name}' (Reason='{reason}', Id={invocation_id})")
        started = time.monotonic()
        try:
            result = await self._within_time(invocation_id, call)
        except InvocationError as error:
            taken = round((time.monotonic() - started) * 1000)
            head = f"Executed '{name}' (Failed, Id={invocation_id}, Duration={taken}ms)"
            self._log.error(category, f"{head} Result: Failure Exception: {error} Stack: {error.stack}".rstrip())
            raise
        taken = round((time.monotonic() - started) * 1000)
        self._log.information(category, f"Executed '{name}' (Succeeded, Id={invocation_id}, Duration={taken}ms)")
        return result

    async def _within_time(self, invocation_id: str, call: Call) -> wire.TypedData | None:
        channel: Channel | None = None
        try:
            async with asyncio.timeout(self._limits.function_timeout):
                channel = await self._ready_channel()
                return await channel.invoke(invocation_id, call)
        except TimeoutError:
            limit = self._limits.function_timeout
            message = f"Timeout value of {limit:g} s exceeded by function 'Functions.{call.function_name}'"
            self._log.error("Host.Executor", f"{message} (Id: '{invocation_id}'). Initiating cancellation.")
            if channel and channel is self._channel:
                self._log.warning("Host.WebHost", "A function timeout has occurred. Restarting worker process.")
                await self._dispose(channel)
                self._begin(self._restart())
            raise TimedOutError(message) from None

    async def _ready_channel(self) -> Channel:
        """The worker, once there is one."""
        while not (self._channel and self._ready.is_set()):
            waits = [asyncio.create_task(event.wait()) for event in (self._ready, self._stopping)]
            try:
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for wait in waits:
                    wait.cancel()
            if self._stopping.is_set():
                raise CancelledInvocationError("The invocation was cancelled and not sent to the worker")
        return self._channel

    def cancel_waiting(self) -> None:
        """Cancel the calls that wait for a worker, because the host is stopping. Running calls continue."""
        self._stopping.set()

    async def stop(self) -> None:
        """End the worker."""
        self.cancel_waiting()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._channel:
            await self._channel.dispose(STOP_SECONDS)

    def _use(self, channel: Channel) -> None:
        self._channel = channel
        self._ready.set()
        self._begin(self._watch(channel))
        self.started(channel.process.pid, channel.library)

    async def _dispose(self, channel: Channel) -> None:
        self._ready.clear()
        self._channel = None
        await channel.dispose()

    async def _watch(self, channel: Channel) -> None:
        """Wait for a worker's end, and see to the next one."""
        code = await channel.ended()
        if channel.disposed or self._stopping.is_set() or not code:
            return
        if code == _INTENTIONAL_RESTART:
            await self._dispose(channel)
            self._begin(self._restart())
            return
        message = f"python exited with code {code} (0x{code:X})"
        self._log.error("Host.Worker", f"Language Worker Process exited. {message}")
        await self._bury(channel, message)

    async def _bury(self, channel: Channel, message: str) -> None:
        now = time.monotonic()
        if self._deaths and now - self._deaths[-1] > BETWEEN_DEATHS:
            self._deaths.clear()
        self._deaths.append(now)
        channel.fail_calls(message)
        await self._dispose(channel)
        if len(self._deaths) < MAX_DEATHS:
            self._begin(self._restart())
        else:
            self._end_host("Exceeded language worker restart retry count for runtime: python. Shutting down the host.")

    async def _restart(self) -> None:
        async with self._starting:
            channel = await Channel.start(self._root, self._log)
            try:
                await channel.initialize(self._root)
            except WorkerStartError as error:
                self._log.error("Host.Worker", f"Initializing worker process failed: {error}")
                self._begin(self._bury(channel, str(error)))
            except asyncio.CancelledError:
                await channel.dispose()
                raise
            else:
                self._use(channel)
            await asyncio.sleep(self._limits.restart_wait)

    def _begin(self, coroutine: Any) -> None:
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
