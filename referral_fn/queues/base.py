"""What the app needs from a queue, whichever service it belongs to."""

import abc
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar, NamedTuple

import aiohttp

from referral_fn.credentials import authorized_call
from referral_fn.credentials.token_source import TokenSource
from referral_fn.errors import RetryableError
from referral_fn.http_call import NoResponseError, Response
from referral_fn.retry import read_retry_after, retrying
from referral_fn.setting_types import queue_name

BUDGET = 20
"""Seconds for all attempts at one call."""

_MAX_RESPONSE = 16 * 1024 * 1024
"""Bytes. Storage answers 32 messages of 64 KiB at once."""

LEASE_ENDED = "ended the lease on the message, which others may have read since"
"""Follows "queue {name}" in messages."""


class MessageTooLargeError(ValueError):
    """The message is longer than its queue accepts."""


class Message(NamedTuple):
    """A message to put on a queue. Storage queues have only a body; Service Bus has a place for the rest."""

    body: bytes
    id: str | None = None
    """Identifies the content, so that a broker can drop duplicates."""
    session: str | None = None
    """Groups messages that must be read in order."""
    correlation: str | None = None
    """The referral ID."""
    label: str | None = None
    """The event type."""
    content_type: str = "application/json"
    properties: Mapping[str, str] = MappingProxyType({})
    """For subscription filters."""
    verbatim: bool = False
    """Whether the body goes back exactly as it was received. Storage queues otherwise get it in base64."""


@dataclass(slots=True)
class LeasedMessage:
    """A message leased from a queue, hidden from other readers until the lease ends."""

    receipt: str
    """Proves the lease; invalid once it has ended."""
    body: bytes
    """The message, decoded if it was in base64."""
    id: str
    """The queue's ID of the message, the same at every delivery."""
    removed: bool = False
    """Whether it has been removed from the queue."""


class Queue(abc.ABC):
    """A queue, or a topic, over the REST interface of its service."""

    scope: ClassVar[str]
    """The token scope of the service."""
    system: ClassVar[str]
    """The service's name in OpenTelemetry's semantic conventions for messaging."""

    def __init__(self, url: str, session: aiohttp.ClientSession, tokens: TokenSource) -> None:
        self.name = queue_name(url)
        self._url = url.replace("sb://", "https://", 1)
        self._session = session
        self._tokens = tokens
        self.span_attributes = {
            "messaging.system": self.system,
            "messaging.destination.name": self.name,
            "messaging.operation.type": "send",
        }
        """OpenTelemetry's attributes of a span that sends to this queue."""

    @abc.abstractmethod
    async def put(self, message: Message, *, delay: float = 0) -> None:
        """Put a message on the queue, hidden for `delay` seconds (rounded up).

        When this returns, the message is stored. It may be stored twice, if an answer was lost on the way.

        Raises:
            MessageTooLargeError: the message is longer than the queue accepts.
            RetryableError: `queue-unavailable`, whose text names the queue and the missing entity or role;
                `token-unavailable`.
        """

    @abc.abstractmethod
    async def take(self, seconds: int) -> list[LeasedMessage]:
        """Lease up to 32 messages for so many seconds; an empty list if no message is visible.

        Raises:
            RetryableError: as for `put`.
        """

    @abc.abstractmethod
    async def release(self, message: LeasedMessage) -> None:
        """End a lease, so that others see the message again.

        Raises:
            RetryableError: as for `put`.
        """

    @abc.abstractmethod
    async def remove(self, message: LeasedMessage) -> None:
        """Remove a leased message.

        Raises:
            RetryableError: as for `put`.
        """

    @abc.abstractmethod
    async def probe(self) -> None:
        """Check that messages could be put, without putting one.

        Raises:
            RetryableError: as for `put`.
        """

    @abc.abstractmethod
    def _headers(self) -> dict[str, str]:
        """Headers of every call, beside the token."""

    @abc.abstractmethod
    def _explain(self, method: str, path: str, response: Response) -> tuple[str, bool]:
        """What an unexpected answer means, as a predicate of the queue's; and whether another attempt is useless."""

    async def _call(
        self, method: str, url: str, expected: tuple[int, ...], body: bytes | None = None, **headers: str
    ) -> Response:
        """Make a call, in up to three quick attempts."""

        async def attempt(seconds: float) -> Response:
            try:
                response = await authorized_call.send(
                    self._session,
                    self._tokens,
                    self.scope,
                    method,
                    url,
                    seconds=seconds,
                    max_bytes=_MAX_RESPONSE,
                    headers={**self._headers(), **headers},
                    data=body,
                )
            except NoResponseError as error:
                raise RetryableError("queue-unavailable", f"queue {self.name} cannot be reached: {error}") from None
            if response.status in expected:
                return response
            meaning, is_lasting = self._explain(method, url.removeprefix(self._url), response)
            raise RetryableError(
                "queue-unavailable",
                f"queue {self.name} {meaning}",
                retry_after=read_retry_after(response.headers.get("Retry-After")),
                quick=not is_lasting,
            )

        def on_timeout() -> RetryableError:
            return RetryableError("queue-unavailable", f"queue {self.name} did not answer in time")

        return await retrying(attempt, budget=BUDGET, on_timeout=on_timeout)
