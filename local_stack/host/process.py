"""A host process, as tests and `make run` use it."""

import asyncio
import contextlib
import os
import signal
from collections import deque
from collections.abc import Callable
from pathlib import Path

_START_SECONDS = 60
_LINES = 50_000
"""Log lines that are kept per host."""


class HostError(RuntimeError):
    """The Functions host did not start; the message ends with its last log lines."""


class Host:
    """A running Functions host, with its worker in a separate process."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._lines: deque[str] = deque(maxlen=_LINES)
        self.on_log_line: Callable[[str], None] = lambda _: None
        """Called with each line of its log."""
        self._changed = asyncio.Condition()
        self._reading = [asyncio.create_task(self._read_log()), asyncio.create_task(self._read_status())]
        self.url = ""
        self.worker_pids: list[int] = []
        """The process IDs of all workers so far; the last one is the current worker unless it has died."""
        self.worker_library = ""
        """Name and version of the library that runs in the worker."""

    @property
    def log(self) -> str:
        """The log so far."""
        return "".join(self._lines)

    def forget(self) -> None:
        """Clear the log, before another test reads it."""
        self._lines.clear()

    @property
    def has_ended(self) -> bool:
        """Whether the process has exited."""
        return self._process.returncode is not None

    async def ready(self) -> None:
        """Wait until it serves.

        Raises:
            HostError: it ended instead, or took too long.
        """
        try:
            async with asyncio.timeout(_START_SECONDS):
                await self._until(lambda: bool(self.url) or self._reading[1].done())
        except TimeoutError:
            pass
        if not self.url:
            await self.kill()
            raise HostError("The Functions host did not start:\n" + "".join(list(self._lines)[-15:]))

    async def says(self, text: str) -> None:
        """Wait until the log contains the text."""
        await self._until(lambda: text in self.log)

    async def has_started_workers(self, count: int) -> None:
        """Wait until this many workers have been started in total."""
        await self._until(lambda: len(self.worker_pids) >= count)

    async def stop(self) -> None:
        """Stop it gracefully."""
        await self._end(self._process.terminate)

    async def kill(self) -> None:
        """Kill it."""
        await self._end(self._process.kill)

    @property
    def peak_memory(self) -> int:
        """The worker's peak memory in bytes; 0 if the system does not report it."""
        with contextlib.suppress(OSError, StopIteration, IndexError):
            lines = Path(f"/proc/{self.worker_pids[-1]}/status").read_text().splitlines()
            return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) * 1024
        return 0

    def kill_now(self) -> None:
        """Kill host and worker without waiting for them to exit."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()

    def kill_worker(self) -> None:
        """Kill the worker only. The host starts another one."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.worker_pids[-1], signal.SIGKILL)

    async def ended(self) -> int:
        """Wait until it has ended. Returns its exit status, negative for a signal."""
        return await self._process.wait()

    async def _end(self, signal: Callable[[], None]) -> None:
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                signal()
        await self._process.wait()
        await asyncio.wait(self._reading)

    async def _until(self, condition: Callable[[], bool]) -> None:
        async with self._changed:
            await self._changed.wait_for(condition)

    async def _read_log(self) -> None:
        while line := await self._process.stderr.readline():  # type: ignore[union-attr]
            async with self._changed:
                self._lines.append(line.decode(errors="replace"))
                self.on_log_line(self._lines[-1])
                self._changed.notify_all()

    async def _read_status(self) -> None:
        while line := await self._process.stdout.readline():  # type: ignore[union-attr]
            what, _, rest = line.decode().strip().partition(" ")
            async with self._changed:
                if what == "ready":
                    self.url = rest
                else:
                    pid, _, self.worker_library = rest.partition(" ")
                    self.worker_pids.append(int(pid))
                self._changed.notify_all()
        async with self._changed:
            self._changed.notify_all()
