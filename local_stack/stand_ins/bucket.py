"""A bucket of calls that all instances of a tenant share, refilled at a rate."""

import time
from dataclasses import dataclass, field


@dataclass
class Bucket:
    """Answers how long to wait once it is empty."""

    size: int
    """How many calls it holds."""
    rate: float
    """Calls a second by which it is refilled."""
    pause: int
    """Seconds that an empty bucket asks a caller to wait. Nobody is served before they are over."""
    early: list[float] = field(default_factory=list)
    """For each call inside such a pause, how many seconds of it had passed."""
    pauses: int = 0
    """How often it asked for one."""
    _level: float = field(init=False)
    _at: float = field(default_factory=time.monotonic)
    _closed_until: float = 0.0

    def __post_init__(self) -> None:
        self._level = self.size

    def take(self) -> int:
        """Take a call out of it. Returns the seconds to wait; 0 if the call may pass."""
        now = time.monotonic()
        if now < self._closed_until:
            self.early.append(self.pause - (self._closed_until - now))
            return self.pause
        self._level = min(self.size, self._level + (now - self._at) * self.rate)
        self._at = now
        if self._level >= 1:
            self._level -= 1
            return 0
        self._closed_until = now + self.pause
        self.pauses += 1
        return self.pause
