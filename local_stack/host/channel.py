"""One worker process as the host sees it: its socket, its console, and the calls it is working on."""

import asyncio
import contextlib
import socket
import sys
import uuid
from asyncio.subprocess import PIPE, Process
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from local_stack.host import wire
from local_stack.host.logs import HostLog

REPOSITORY = Path(__file__).parent.parent.parent
_LONGEST_LINE = 16 * 1024 * 1024


class InvocationError(Exception):
    """The function failed, or could not be called. The message is what the worker reports; `stack` the traceback."""

    def __init__(self, message: str, stack: str = "") -> None:
        super().__init__(message)
        self.stack = stack


class WorkerExitError(InvocationError):
    """The worker process exited during a call."""


class WorkerStartError(Exception):
    """A worker did not come up."""


@dataclass(frozen=True)
class Call:
    """What a worker is asked to do."""

    function_id: str
    function_name: str
    inputs: dict[str, wire.TypedData]
    metadata: dict[str, wire.TypedData]
    trace_parent: str
    trace_state: str = ""


@dataclass(frozen=True)
class _Pending:
    call: Call
    result: asyncio.Future[wire.TypedData | None]


class Channel:
    """One worker process. `start` makes it; it is used until `ended` or until it is disposed of."""

    def __init__(
        self, process: Process, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, log: HostLog
    ) -> None:
        self.process = process
        self._writer = writer
        self._log = log
        self._pending: dict[str, _Pending] = {}
        self._initialized: asyncio.Future[wire.Message] = asyncio.get_running_loop().create_future()
        self.disposed = False
        self.library = ""
        self._reading = asyncio.create_task(self._read(reader))
        self._consoles = [
            asyncio.create_task(self._follow(stream, is_stderr=stream is process.stderr))
            for stream in (process.stdout, process.stderr)
            if stream
        ]

    @classmethod
    async def start(cls, root: Path, log: HostLog) -> "Channel":
        """Start a worker process for the app in a folder."""
        ours, theirs = socket.socketpair()
        with theirs:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "local_stack.host.worker", "--fd", str(theirs.fileno()), "--root", str(root)),
                cwd=REPOSITORY,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=PIPE,
                stderr=PIPE,
                pass_fds=[theirs.fileno()],
                limit=_LONGEST_LINE,
            )
        reader, writer = await asyncio.open_unix_connection(sock=ours)
        return cls(process, reader, writer, log)

    async def initialize(self, root: Path) -> list[dict[str, Any]]:
        """Let the worker index the app. Returns its functions.

        Raises:
            WorkerStartError: it ended instead, or the app cannot be imported.
        """
        self._send({"type": "init", "directory": str(root)})
        answer = await self._initialized
        if "error" in answer:
            raise WorkerStartError(f"{answer['error']}\n{answer['stack']}")
        self.library = answer["library"]
        functions: list[dict[str, Any]] = answer["functions"]
        return functions

    async def invoke(self, invocation_id: str, call: Call) -> wire.TypedData | None:
        """Call a function. Never returns once the worker is disposed of; raises when the worker exits.

        Raises:
            InvocationError: the function or the worker failed.
        """
        pending = _Pending(call, asyncio.get_running_loop().create_future())
        self._pending[invocation_id] = pending
        fields = {"function_id": call.function_id, "inputs": call.inputs, "metadata": call.metadata}
        trace = {"trace_parent": call.trace_parent, "trace_state": call.trace_state}
        self._send({"type": "invoke", "id": invocation_id, **fields, **trace})
        try:
            return await pending.result
        finally:
            self._pending.pop(invocation_id, None)

    def fail_calls(self, reason: str) -> None:
        """Fail everything that the worker was working on."""
        for pending in self._pending.values():
            if not pending.result.done():
                pending.result.set_exception(WorkerExitError(reason))

    async def ended(self) -> int:
        """Wait for the process to end. Returns its exit code as .NET does: for a signal, 128 and its number."""
        await asyncio.wait([self._reading, *self._consoles])
        code = await self.process.wait()
        return 128 - code if code < 0 else code

    async def dispose(self, grace: float = 0) -> None:
        """End the process. Its calls get no answer any more.

        Args:
            grace: seconds that it may take to end by itself once the socket is closed.
        """
        self.disposed = True
        self._writer.close()
        if grace:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.process.wait(), grace)
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        await self.ended()

    def _send(self, message: wire.Message) -> None:
        self._writer.write(wire.encode(message))

    async def _read(self, reader: asyncio.StreamReader) -> None:
        while message := await wire.read(reader):
            match message["type"]:
                case "log":
                    self._pass_on(message)
                case "response":
                    self._respond(message)
                case "init":
                    self._initialized.set_result(message)
        if not self._initialized.done():
            self._initialized.set_result({"error": "The worker ended before it was initialized", "stack": ""})

    def _respond(self, message: wire.Message) -> None:
        pending = self._pending.get(message["id"])
        if not pending or pending.result.done():
            return
        if "error" in message:
            pending.result.set_exception(InvocationError(message["error"], message["stack"]))
        else:
            pending.result.set_result(message["return"])

    def _pass_on(self, message: wire.Message) -> None:
        """Log a worker's record. Records that belong to no running call are dropped, regardless of their level."""
        if message["system"]:
            self._log.write(message["level"], "Worker.LanguageWorkerChannel.python", message["message"])
        elif pending := self._pending.get(message["id"] or ""):
            self._log.write(message["level"], f"Function.{pending.call.function_name}.User", message["message"])

    async def _follow(self, stream: asyncio.StreamReader, *, is_stderr: bool) -> None:
        while line := await stream.readline():
            self._log.console(line.decode(errors="replace").rstrip("\r\n"), is_stderr=is_stderr)


def new_invocation_id() -> str:
    """An ID for a call."""
    return str(uuid.uuid4())
