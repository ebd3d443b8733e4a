"""The worker process: Microsoft's Python worker library, and the loop that Azure's gRPC client is elsewhere.

Started by the host with one end of a socket. It ends when the host does: the kernel kills it where it can, and the end
of the socket's stream tells it everywhere else.
"""

import argparse
import asyncio
import base64
import contextlib
import ctypes
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Coroutine
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import azure_functions_runtime as library
from azure_functions_runtime.version import VERSION

from local_stack.host import protos, wire

LIBRARY = f"azure-functions-runtime {VERSION}"

_SYSTEM_LOGGERS = ("azure_functions_worker", "azure_functions_runtime", "azure.functions")
"""Loggers whose records are the platform's and not the app's, as in the real worker's `is_system_log_category`."""

_LEVELS = (
    (logging.CRITICAL, "Critical"),
    (logging.ERROR, "Error"),
    (logging.WARNING, "Warning"),
    (logging.INFO, "Information"),
    (logging.NOTSET, "Debug"),
)
_PR_SET_PDEATHSIG = 1


class InvocationTask(asyncio.Task[Any]):
    """A task that knows the invocation it belongs to, and so do the tasks that it starts."""

    invocation_id: str | None = None

    def __init__(self, coroutine: Coroutine[Any, Any, Any], **options: Any) -> None:
        super().__init__(coroutine, **options)
        self.invocation_id = getattr(asyncio.current_task(self.get_loop()), "invocation_id", None)


def current_invocation_id() -> str | None:
    """The invocation that a log record belongs to: that of the running task, or of a synchronous function's thread.

    A thread that an async function starts belongs to none, and what it logs is lost, as in Azure on Python 3.13.
    """
    with contextlib.suppress(RuntimeError):
        if invocation_id := getattr(asyncio.current_task(), "invocation_id", None):
            return str(invocation_id)
        return None
    found_by_thread: str | None = library.invocation_id_cv.get()
    return found_by_thread


class Worker:
    """One worker process."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._tasks: set[asyncio.Task[None]] = set()
        self._writer: asyncio.StreamWriter

    async def run(self) -> None:
        """Serve the host until it is gone."""
        reader, self._writer = await asyncio.open_unix_connection(sock=self._connection, limit=2**20)
        self._loop.set_task_factory(lambda loop, coroutine, **options: InvocationTask(coroutine, loop=loop, **options))
        root = logging.getLogger()
        root.setLevel(logging.INFO)
        root.addHandler(_Handler(self.send_record))
        while message := await wire.read(reader):
            task = self._loop.create_task(self._handle(message))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _handle(self, message: wire.Message) -> None:
        handlers = {"init": self._init, "invoke": self._invoke}
        self._send(await handlers[message["type"]](message))

    async def _init(self, message: wire.Message) -> wire.Message:
        """Index the app, which imports it."""
        library.start_threadpool_executor()
        asked = SimpleNamespace(capabilities={}, function_app_directory=message["directory"])
        properties = {"protos": protos, "host": "127.0.0.1"}
        response = await library.worker_init_request(_request(properties, worker_init_request=asked))
        if response.result.status != protos.StatusResult.Success:
            error = response.result.exception
            return {"type": "init", "error": error.message, "stack": error.stack_trace, "functions": []}
        indexed = await library.functions_metadata_request(_request())
        functions = [
            {"id": one.function_id, "name": one.name, "bindings": list(one.raw_bindings)}
            for one in indexed.function_metadata_results or []
        ]
        return {"type": "init", "library": LIBRARY, "functions": functions}

    async def _invoke(self, message: wire.Message) -> wire.Message:
        task = asyncio.current_task()
        assert isinstance(task, InvocationTask)  # noqa: S101 - this loop's factory makes no others
        task.invocation_id = message["id"]
        response = await library.invocation_request(_request(invocation_request=_invocation(message)))
        answer: wire.Message = {"type": "response", "id": message["id"]}
        if response.result.status != protos.StatusResult.Success:
            error = response.result.exception
            return answer | {"error": error.message, "stack": error.stack_trace}
        return answer | {"return": _outgoing(response.return_value)}

    def send_record(self, record: logging.LogRecord, text: str) -> None:
        """Pass a log record on to the host, with the invocation it belongs to."""
        message = {
            "type": "log",
            "level": next(name for number, name in _LEVELS if record.levelno >= number),
            "category": record.name,
            "system": record.name.startswith(_SYSTEM_LOGGERS),
            "message": text,
            "id": current_invocation_id(),
        }
        if threading.get_ident() == self._thread:
            self._send(message)
        else:
            self._loop.call_soon_threadsafe(self._send, message)

    def _send(self, message: wire.Message) -> None:
        self._writer.write(wire.encode(message))


class _Handler(logging.Handler):
    def __init__(self, send: Any) -> None:
        super().__init__()
        self._pass_on = send

    def emit(self, record: logging.LogRecord) -> None:
        self._pass_on(record, self.format(record))


def _request(properties: dict[str, Any] | None = None, **content: Any) -> Any:
    return SimpleNamespace(properties=properties or {}, request=SimpleNamespace(**content))


def _invocation(message: wire.Message) -> Any:
    """An invocation request as the library reads it."""
    return protos.Plain(
        invocation_id=message["id"],
        function_id=message["function_id"],
        input_data=[protos.ParameterBinding(name=name, data=_typed(data)) for name, data in message["inputs"].items()],
        trigger_metadata={name: _typed(data) for name, data in message["metadata"].items()},
        trace_context=protos.Plain(
            trace_parent=message["trace_parent"], trace_state=message["trace_state"], attributes={}
        ),
        retry_context=protos.Plain(retry_count=0, max_retry_count=0, exception=None),
    )


def _typed(data: wire.TypedData) -> protos.TypedData:
    for kind, value in data.items():
        if kind == "bytes":
            return protos.TypedData(bytes=base64.b64decode(value))
        if kind == "http":
            return protos.TypedData(http=protos.Plain(**value | {"body": _typed(value["body"])}))
        return protos.TypedData(**{kind: value})
    return protos.TypedData()


def _outgoing(data: protos.TypedData | None) -> wire.TypedData | None:
    """What a function returned."""
    if data is None:
        return None
    for kind, value in vars(data).items():
        if kind == "bytes":
            return wire.binary(value)
        if kind == "http":
            return {"http": {**vars(value), "cookies": None, "body": _outgoing(value.body)}}
        return {kind: value}
    return None


def _die_with_parent() -> None:
    """Let the kernel end this process with the host. Only Linux does; elsewhere the socket's end must do."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _keep_coverage() -> None:
    """Write what a test run measures: nothing else happens at the end, as when Azure kills a worker."""
    if coverage := sys.modules.get("coverage"):
        measured = coverage.Coverage.current()
        if measured:
            measured.stop()
            measured.save()


def main() -> None:
    """Serve the host at the other end of a socket."""
    parser = argparse.ArgumentParser(prog="python -m local_stack.host.worker", description=__doc__)
    parser.add_argument("--fd", type=int, required=True, help="the socket's file descriptor")
    parser.add_argument("--root", type=Path, required=True, help="the folder of function_app.py")
    options = parser.parse_args()
    _die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the host, which ends its workers itself
    os.chdir(options.root)
    sys.path.insert(0, str(options.root))

    async def serve() -> None:
        await Worker(socket.socket(fileno=options.fd)).run()
        _keep_coverage()
        os._exit(0)  # no clean-up runs, as none does in Azure

    asyncio.run(serve())


if __name__ == "__main__":
    main()
