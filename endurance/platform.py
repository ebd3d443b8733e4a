"""Azure's part in a run: restarts the app's host whenever it has exited, and kills hosts and workers on request."""

import asyncio
import re
from collections import Counter
from typing import TYPE_CHECKING, Self

from local_stack.stack import Stack

if TYPE_CHECKING:
    from local_stack.host.process import Host

LEASE = 10
"""Seconds, for the ten minutes of a message's lease. Each renewal, at half of it, costs the queue service a call."""

_HOST_OPTIONS = ("--lease", str(LEASE), "--restart-wait", "1")
_EVENT = re.compile(r'"event":"([a-z.-]+)"(?:,"reason":"([a-z-]+)")?')


class Platform:
    """One instance of the app."""

    def __init__(self, stack: Stack, environment: dict[str, str]) -> None:
        self._stack = stack
        self._environment = environment
        self._overrides: dict[str, str] = {}
        self.host: Host | None = None
        self.up = asyncio.Event()
        self.kills: Counter[str] = Counter()
        """Of hosts and workers."""
        self.ended_by_themselves = 0
        self.peak_memory = 0
        """The highest peak memory of a worker in bytes."""
        self.logged: Counter[str] = Counter()
        """By name, how many log events."""
        self.reasons: dict[str, Counter[str]] = {}
        """By name, the reasons of those that begin with one."""

    async def __aenter__(self) -> Self:
        self._running = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        self.look()
        self._running.cancel()
        await asyncio.gather(self._running, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            environment, self._overrides = self._environment | self._overrides, {}
            async with self._stack.host(environment, 0, *_HOST_OPTIONS) as self.host:
                self.host.on_log_line = self._hear
                self.up.set()
                status = await self.host.ended()
                self.up.clear()
                self.ended_by_themselves += status > 0

    def check(self) -> None:
        """Whether it is still started again.

        Raises:
            HostError: it did not come up.
        """
        if self._running.done():
            self._running.result()

    def kill_host(self) -> None:
        """SIGKILL, at once. Its worker goes with it."""
        if self.host and self.up.is_set():
            self.up.clear()
            self.kills["host"] += 1
            self.look()
            self.host.kill_now()

    def kill_worker(self) -> None:
        """SIGKILL, at once. Its host goes on."""
        if self.host and self.up.is_set():
            self.kills["worker"] += 1
            self.look()
            self.host.kill_worker()

    def replace_host(self, overrides: dict[str, str]) -> None:
        """Kill the host, and start the next one with other settings, once."""
        self._overrides = overrides
        self.kill_host()

    def look(self) -> None:
        """Note how much memory the worker has needed."""
        if self.host:
            self.peak_memory = max(self.peak_memory, self.host.peak_memory)

    def _hear(self, line: str) -> None:
        for event, reason in _EVENT.findall(line):
            self.logged[event] += 1
            if reason:
                self.reasons.setdefault(event, Counter())[reason] += 1
        if "Executed 'Functions." in line and "(Failed" in line:
            self.logged["failed invocations"] += 1


def with_queues_at(environment: dict[str, str], origin: str, url: str) -> dict[str, str]:
    """The app settings with another address for the queue service."""
    here, there = (address.partition("://")[2] for address in (origin, url))
    names = ("EVENTS_URL", "REJECTS_URL", "REQUESTS_URL")
    queues = {name: value for name, value in environment.items() if name in names or name.startswith("ReferralReq")}
    return environment | {name: value.replace(here, there) for name, value in queues.items()}
