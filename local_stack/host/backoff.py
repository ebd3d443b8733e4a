"""How long a queue listener waits when it finds nothing.

Source: `RandomizedExponentialBackoffStrategy` of the Storage extension. Measured: 0.1, 0.2, 0.3, 0.5, 0.9, 1.7 s, each
increment ± 20 %, up to host.json's maxPollingInterval.
"""

import random

SHORTEST = 0.1
_JITTER = 0.2


class Backoff:
    """The waits between polls of one listener."""

    def __init__(self, longest: float) -> None:
        self._longest = longest
        self._current = 0.0
        self._exponent = 0

    def next(self, *, found: bool) -> float:
        """Seconds to wait now.

        Args:
            found: whether any message was found since the last wait.
        """
        if found:
            self._current, self._exponent = SHORTEST, 1
        elif self._current != self._longest:
            wait = SHORTEST
            if self._exponent:
                wait += random.uniform(1 - _JITTER, 1 + _JITTER) * 2 ** (self._exponent - 1) * SHORTEST
            self._current = min(wait, self._longest)
            self._exponent += wait < self._longest
        return self._current
