"""The gate: stops requests while Partner Center limits the request rate."""

import time
from types import TracebackType
from typing import Protocol

from referral_fn.errors import PermanentError, RetryableError

PROBE_AFTER = 900
"""Seconds. The longest time without a probe, even if a longer pause was asked for."""


class PauseExchange(Protocol):
    """Shares pauses among the instances of the app."""

    async def obey(self) -> None:
        """Close this process's gate for pauses that other instances were asked for."""

    async def announce(self, seconds: float) -> None:
        """Tell the others of a pause that this process was asked for."""


class Gate:
    """Closed during a pause, then half open: one request probes, and the others wait for its answer.

    There is one per process, so that a single throttled answer spares Partner Center all other requests.
    """

    def __init__(self) -> None:
        self._opens_at = 0.0
        self._half_open = False
        self._probing = False

    def close(self, seconds: float) -> None:
        """Close the gate for this long, or until the first probe is due after `PROBE_AFTER` seconds."""
        self._opens_at = max(self._opens_at, time.monotonic() + min(seconds, PROBE_AFTER))
        self._half_open = True

    def passage(self) -> "Passage":
        """A context manager that lets one request through; see `Passage`."""
        return Passage(self)

    def enter(self) -> bool:
        """Let one request through. Returns whether it is a probe.

        Raises:
            RetryableError: `upstream-throttled`: the gate is closed, or a probe is under way. It does not count as an
                attempt.
        """
        closed_for = max(self._opens_at - time.monotonic(), 0.0)
        if closed_for or self._probing:
            raise RetryableError(
                "upstream-throttled",
                "Partner Center asked for a pause",
                retry_after=closed_for,
                quick=False,
                attempt_consumed=False,
            )
        self._probing = self._half_open
        return self._probing

    def end_probe(self, *, answered: bool) -> None:
        """Open the gate after a probe that was answered; else wait for the next one."""
        self._probing = False
        self._half_open = not answered


class Passage:
    """One request's way through the gate. A class, because a generator costs more than what it does."""

    __slots__ = ("_gate", "_is_probe")

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    def __enter__(self) -> None:
        self._is_probe = self._gate.enter()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._is_probe:  # a refusal is an answer, too
            self._gate.end_probe(answered=error is None or isinstance(error, PermanentError))
