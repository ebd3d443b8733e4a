"""The gate: stops requests while Partner Center limits the request rate."""

import contextlib
import time
from collections.abc import Iterator
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

    @contextlib.contextmanager
    def passage(self) -> Iterator[None]:
        """Let one request through.

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
        self._probing = is_probe = self._half_open
        answered = False
        try:
            yield
            answered = True
        except PermanentError:  # a refusal is an answer, too
            answered = True
            raise
        finally:
            if is_probe:
                self._probing = False
                self._half_open = not answered
