"""A budget that refills over time: it bounds what strangers can make the app do."""

import time
from collections.abc import Callable


class Budget:
    """A token bucket: `burst` tokens at once, and one more each `interval` seconds."""

    def __init__(self, burst: int, interval: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._burst = burst
        self._interval = interval
        self._clock = clock
        self._tokens = float(burst)
        self._updated = clock()

    def spend(self) -> float | None:
        """Take a token.

        Returns:
            None if there was one; otherwise the seconds until there is one.
        """
        now = self._clock()
        self._tokens = min(self._tokens + (now - self._updated) / self._interval, self._burst)
        self._updated = now
        if self._tokens < 1:
            return (1 - self._tokens) * self._interval
        self._tokens -= 1
        return None
