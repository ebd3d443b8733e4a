"""A host as a process, as tests and `make run` start it and look at it."""

import asyncio
import contextlib
import os
import signal
from collections import deque
from collections.abc import Callable
from pathlib import Path

_START_SECONDS = 60
_LINES = 50_000
"""Lines of its log that a host is remembered by."""


class HostError(RuntimeError):
    """The Functions host did not come up; the message ends with what it said."""


class Host:
    """A running Functions host, with its worker as a process of its own."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._lines: deque[str] = deque(maxlen=_LINES)
        self.on_log_line: Callable[[str], None] = lambda _: None
        """Called with each line of its log."""
        self._changed = asyncio.Condition()
        self._reading = [asyncio.create_task(self._read_log()), asyncio.create_task(self._read_status())]
        self.url = ""
        self.worker_pids: list[int] = []
        """The process IDs of the workers so far; the last one is at work, unless it has died since."""
        self.worker_library = ""
        """Name and version of the library that runs in the worker."""

    @property
    def log(self) -> str:
        """What it has logged so far."""
        return "".join(self._lines)

    def forget(self) -> None:
        """Drop what it has logged so far, before another test looks at its log."""
        self._lines.clear()

    @property
    def has_ended(self) -> bool:
        """Whether the process is gone."""
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
        """Wait until its log holds the text."""
        await self._until(lambda: text in self.log)

    async def has_started_workers(self, count: int) -> None:
        """Wait until so many workers have been started in all."""
        await self._until(lambda: len(self.worker_pids) >= count)

    async def stop(self) -> None:
        """Stop it in an orderly way."""
        await self._end(self._process.terminate)

    async def kill(self) -> None:
        """End it at once."""
        await self._end(self._process.kill)

    @property
    def peak_memory(self) -> int:
        """Bytes: the most its worker ever held at once; 0 where the system does not say."""
        with contextlib.suppress(OSError, StopIteration, IndexError):
            lines = Path(f"/proc/{self.worker_pids[-1]}/status").read_text().splitlines()
            return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) * 1024
        return 0

    def kill_now(self) -> None:
        """End host and worker at once, without waiting for their end."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()

    def kill_worker(self) -> None:
        """End the worker at once, and leave the host, which starts another."""
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
