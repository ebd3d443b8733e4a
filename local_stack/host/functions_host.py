"""A small Functions host: runs function_app.py under Microsoft's Python worker library, for local use.

It does what the real host does with what this app uses of it: HTTP, Storage Queue, Service Bus and timer triggers.
docs/local-stack.md says what it imitates and by which sources.

On stdout it says `worker {process ID} {library}` for each worker that is up, and `ready {URL}` once it serves.
"""

import argparse
import asyncio
import contextlib
import logging
import os
import signal
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import aiohttp

from local_stack.host import storage
from local_stack.host.dispatcher import STOP_SECONDS, Dispatcher, Function, Limits
from local_stack.host.host_json import read_host_json, seconds
from local_stack.host.http_site import HttpSite
from local_stack.host.logs import HostLog
from local_stack.host.queue_listener import QueueListener, QueueOptions
from local_stack.host.service_bus_listener import ServiceBusListener
from local_stack.host.timer_listener import TimerListener
from local_stack.stand_ins.serving import serving

ENDED_BY_ITSELF = 1
"""The exit status after an unhandled error. The platform starts another host."""


class Listener(Protocol):
    """What feeds a function that is not triggered by HTTP."""

    async def run(self) -> None:
        """Feed the function until cancelled, then let running calls finish."""


@dataclass(frozen=True)
class Options:
    """The command line's."""

    root: Path
    port: int
    lease: float
    group: str
    restart_wait: float
    retry_delay: float


class Host:
    """One host process."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._host_json = read_host_json(options.root)
        self._log = HostLog(self._host_json)
        time_out = seconds(self._host_json.get("functionTimeout", "00:30:00"))
        limits = Limits(time_out, options.restart_wait)
        self._dispatcher = Dispatcher(options.root, self._log, limits, self.end)
        self._dispatcher.started = lambda pid, library: print(f"worker {pid} {library}", flush=True)
        self._site = HttpSite(self._dispatcher, self._section("http").get("routePrefix", "api"))
        self._resources = contextlib.AsyncExitStack()
        self._session: aiohttp.ClientSession
        self._stop = asyncio.Event()
        self._status = 0

    def end(self, reason: str) -> None:
        """Stop the host because of an error that nothing handles."""
        if not self._stop.is_set():
            self._log.error("Host.General", f"An unhandled exception has occurred. Host is shutting down. {reason}")
            self._status = ENDED_BY_ITSELF
            self._stop.set()

    async def run(self) -> int:
        """Serve until a signal or a fatal error stops the host. Returns the exit status."""
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self._stop.set)
        async with self._resources:
            connector = aiohttp.TCPConnector(limit=0)
            self._session = await self._resources.enter_async_context(aiohttp.ClientSession(connector=connector))
            listeners = await self._load()
            async with serving(self._site.application(), self._options.port, grace=STOP_SECONDS) as url:
                listening = [asyncio.create_task(listener.run()) for listener in listeners]
                print(f"ready {url}", flush=True)
                await self._stop.wait()
                await self._stop_listening(listening)
            await self._dispatcher.stop()
        return self._status

    async def _stop_listening(self, listening: list[asyncio.Task[None]]) -> None:
        """Accept nothing new, and let running calls finish within the worker's grace period."""
        self._dispatcher.cancel_waiting()
        for task in listening:
            task.cancel()
        if listening:
            await asyncio.wait(listening, timeout=STOP_SECONDS)

    async def _load(self) -> list[Listener]:
        """Start the worker, and make what feeds each function of this host's group."""
        functions = [function for function in await self._dispatcher.start() if self._is_ours(function)]
        self._site.add(function for function in functions if function.trigger["type"] == "httpTrigger")
        listeners: list[Listener] = []
        for function in functions:
            try:
                if function.trigger["type"] != "httpTrigger":
                    listeners.append(await self._listener(function))
            except LookupError as error:
                self._log.error("Host.Startup", f"The '{function.name}' function is in error: {error.args[0]}")
        return listeners

    def _is_ours(self, function: Function) -> bool:
        """Whether this host runs a function. On Flex Consumption a host runs the functions of one group only."""
        group = "http" if function.trigger["type"] == "httpTrigger" else f"function:{function.name}"
        return self._options.group in ("", group)

    async def _listener(self, function: Function) -> Listener:
        trigger = function.trigger
        if trigger["type"] == "timerTrigger":
            timer = TimerListener(function, self._dispatcher)
            self._site.timers[function.name.lower()] = timer.run_now
            return timer
        if trigger["type"] == "serviceBusTrigger":
            connection = storage.Connection(trigger["connection"], "fullyQualifiedNamespace")
            await self._resources.enter_async_context(connection)
            section = self._section("serviceBus")
            return ServiceBusListener(
                function, self._dispatcher, connection, self._session, section, self._log, self.end
            )
        if trigger["type"] != "queueTrigger":
            raise LookupError(f"this host knows no {trigger['type']}")
        return await self._queue_listener(function)

    async def _queue_listener(self, function: Function) -> QueueListener:
        connection = storage.Connection(function.trigger["connection"], "queueServiceUri")
        await self._resources.enter_async_context(connection)
        queues = storage.StorageQueues(
            connection.url, lambda: connection.token(storage.SCOPE), self._session, self._options.retry_delay
        )
        options = QueueOptions.read(self._section("queues"))
        return QueueListener(
            function, self._dispatcher, queues, options, self._log, lease=self._options.lease, end_host=self.end
        )

    def _section(self, name: str) -> dict[str, Any]:
        section: dict[str, Any] = self._host_json.get("extensions", {}).get(name, {})
        return section


def _end_with_stdin() -> None:
    """Wait for the end of standard input: the parent process is gone. The worker then exits by itself."""
    os.read(sys.stdin.fileno(), 1)
    os._exit(1)


def main() -> int:
    """Run the host from the command line. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m local_stack.host.functions_host", description=__doc__)
    parser.add_argument("--root", type=Path, default=Path(), help="the folder of function_app.py and host.json")
    parser.add_argument("--port", type=int, default=7071)
    parser.add_argument("--until-stdin-ends", action="store_true", help="end at once when standard input ends")
    parser.add_argument("--group", default="", help="run only `http`, or `function:{name}`; default: all functions")
    parser.add_argument("--lease", type=float, default=600, help="seconds that a message in work is hidden for")
    parser.add_argument("--restart-wait", type=float, default=10, help="least seconds between starts of a worker")
    parser.add_argument("--retry-delay", type=float, default=0.8, help="seconds before a storage call is tried again")
    options = parser.parse_args()
    until_stdin_ends = vars(options).pop("until_stdin_ends")
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s %(message)s", stream=sys.stderr)
    os.environ.setdefault("FUNCTIONS_WORKER_RUNTIME", "python")

    async def run() -> int:
        return await Host(Options(**vars(options) | {"root": options.root.resolve()})).run()

    if until_stdin_ends:
        threading.Thread(target=_end_with_stdin, daemon=True).start()
    return asyncio.run(run())


if __name__ == "__main__":
    sys.exit(main())
