"""A queue or subscription of the Service Bus stand-in, and the messages that it stores."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(eq=False)
class Stored:
    """A message as the broker keeps it."""

    sequence_number: int
    body: bytes
    broker: dict[str, Any]
    properties: dict[str, Any]
    content_type: str
    due: float
    """When it becomes visible, in seconds since the epoch."""
    delivery_count: int = 0
    lock: str | None = None
    locked_until: float = 0


@dataclass
class Entity:
    """A queue, or a topic's subscription."""

    name: str
    sessions: bool = False
    lock_seconds: float = 60
    max_delivery_count: int = 10
    dedup_seconds: float = 0
    """The duplicate detection window; 0 turns detection off."""
    max_message: int = 256 * 1024
    capacity: int = 1024**3
    """The maximum total size of its messages in bytes."""
    refuses: bool = False
    """Whether it refuses new messages, as when its namespace is unavailable."""
    messages: list[Stored] = field(default_factory=list)
    dead_letters: list[Stored] = field(default_factory=list)
    seen: dict[str, float] = field(default_factory=dict)
    dropped: int = 0
    """Duplicates."""

    def visible(self, now: float) -> list[Stored]:
        """The messages that can be received now."""
        locked = {message.broker.get("SessionId") for message in self.messages if message.locked_until > now}
        free: list[Stored] = []
        for message in self.messages:
            session = message.broker.get("SessionId")
            if message.due > now or message.locked_until > now or (self.sessions and session in locked):
                continue
            free.append(message)
            if self.sessions:
                locked.add(session)  # one message per session at a time, oldest first
        return free
