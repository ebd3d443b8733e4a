"""A token bucket for rate limiting, shared by all instances of a tenant."""

import time
from dataclasses import dataclass, field


@dataclass
class Bucket:
    """Limits calls, and tells callers how long to wait once it is empty."""

    size: int
    """Its capacity in calls."""
    rate: float
    """The refill rate in calls per second."""
    pause: int
    """Seconds of the pause that starts when the bucket is empty. All calls are refused until it ends."""
    early: list[float] = field(default_factory=list)
    """For each call during a pause, the seconds since the pause began."""
    pauses: int = 0
    """The number of pauses."""
    _level: float = field(init=False)
    _at: float = field(default_factory=time.monotonic)
    _closed_until: float = 0.0

    def __post_init__(self) -> None:
        self._level = self.size

    def take(self) -> int:
        """Consume one call. Returns the seconds to wait, or 0 if the call is allowed."""
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
