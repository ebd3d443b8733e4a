"""Where messages go: what the app asks of a queue, and the choice between the two kinds there are."""

import abc
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import aiohttp

from referral_fn.credentials.token_source import TokenSource
from referral_fn.errors import RetryableError
from referral_fn.retry import read_retry_after, retrying
from referral_fn.settings import queue_name

BUDGET = 20
"""Seconds for all attempts at one call."""


class MessageTooLargeError(ValueError):
    """The message is longer than its queue takes."""


@dataclass(frozen=True, slots=True)
class Message:
    """What is put on a queue. All but the body is for queues that have a place for it, which is Service Bus."""

    body: bytes
    id: str | None = None
    """The same for the same content, so that a broker can drop duplicates."""
    session: str | None = None
    """What it is about: messages of one session can be read in order."""
    correlation: str | None = None
    label: str | None = None
    content_type: str = "application/json"
    properties: Mapping[str, str] = field(default_factory=dict)
    """For filters."""


@dataclass(slots=True)
class LeasedMessage:
    """A message taken from a queue for a while."""

    receipt: str
    """What proves that it is held; void once the time is up."""
    body: bytes
    removed: bool = False


class Queue(abc.ABC):
    """A queue, or a topic, by the REST interface of its service."""

    scope: ClassVar[str]
    """Of the tokens that the service wants."""
    system: ClassVar[str]
    """The service's name in OpenTelemetry's semantic conventions for messaging."""

    def __init__(self, url: str, session: aiohttp.ClientSession, tokens: TokenSource) -> None:
        self.name = queue_name(url)
        self._url = url.replace("sb://", "https://", 1)
        self._session = session
        self._tokens = tokens

    @abc.abstractmethod
    async def put(self, message: Message, *, delay: float = 0) -> None:
        """Put a message on the queue, hidden for `delay` seconds (rounded up).

        When this returns, the message is stored. It may be stored twice where an answer was lost on the way.

        Raises:
            MessageTooLargeError: the queue takes no such message.
            RetryableError: `queue-unavailable`; its text names the queue, and what is missing where something is.
                `token-unavailable`.
        """

    @abc.abstractmethod
    async def take(self, seconds: int) -> list[LeasedMessage]:
        """Take some messages, hidden from others for so many seconds; none once there are no more to be seen.

        Raises:
            RetryableError: as for `put`.
        """

    @abc.abstractmethod
    async def release(self, held: LeasedMessage) -> None:
        """Let others see a message again that was taken.

        Raises:
            RetryableError: as for `put`.
        """

    @abc.abstractmethod
    async def remove(self, held: LeasedMessage) -> None:
        """Remove a message that was taken.

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
        """What every call to the service has, beside its token."""

    @abc.abstractmethod
    def _trouble(self, answer: aiohttp.ClientResponse, body: bytes) -> tuple[str, bool]:
        """What an answer means that was not expected, as a predicate of the queue's; and whether that lasts."""

    @property
    def described(self) -> dict[str, str]:
        """It in the words of OpenTelemetry's semantic conventions, with `_` for `.`."""
        return {
            "messaging_system": self.system,
            "messaging_destination_name": self.name,
            "messaging_operation_type": "send",
        }

    async def _call(
        self, method: str, url: str, expected: tuple[int, ...], body: bytes | None = None, **headers: str
    ) -> tuple[aiohttp.ClientResponse, bytes]:
        """Make a call, in up to three quick attempts."""

        async def attempt(seconds: float) -> tuple[aiohttp.ClientResponse, bytes]:
            token = await self._tokens.token(self.scope)
            answer, said = await self._send(method, url, body, token, seconds, headers)
            if answer.status == 401 and 401 not in expected:  # noqa: PLR2004
                token = await self._tokens.token(self.scope, refused=token)
                answer, said = await self._send(method, url, body, token, seconds, headers)
            if answer.status not in expected:
                what, lasts = self._trouble(answer, said)
                raise RetryableError(
                    "queue-unavailable",
                    f"queue {self.name} {what}",
                    retry_after=read_retry_after(answer.headers.get("Retry-After")),
                    quick=not lasts,
                )
            return answer, said

        def on_timeout() -> RetryableError:
            return RetryableError("queue-unavailable", f"queue {self.name} did not answer in time")

        return await retrying(attempt, budget=BUDGET, on_timeout=on_timeout)

    async def _send(
        self, method: str, url: str, body: bytes | None, token: str, seconds: float, headers: dict[str, str]
    ) -> tuple[aiohttp.ClientResponse, bytes]:
        sent: dict[str, Any] = {"Authorization": f"Bearer {token}", **self._headers(), **headers}
        timeout = aiohttp.ClientTimeout(total=max(seconds, 0.001))
        try:
            async with self._session.request(
                method, url, data=body, headers=sent, timeout=timeout, allow_redirects=False
            ) as answer:
                return answer, await answer.read()
        except (aiohttp.ClientError, TimeoutError) as error:
            why = f"queue {self.name} cannot be reached: {type(error).__name__}"
            raise RetryableError("queue-unavailable", why) from None


def open_queue(url: str, session: aiohttp.ClientSession, tokens: TokenSource, max_message: int) -> Queue:
    """The queue at a URL: one of Service Bus where it is `sb://…`, else one of Azure Storage.

    `max_message` is in bytes, and Service Bus's: there it depends on the namespace.
    """
    if url.startswith("sb://"):
        from referral_fn.queues.service_bus import ServiceBusQueue  # noqa: PLC0415 - only the kind that is used is loaded

        return ServiceBusQueue(url, session, tokens, max_message)
    from referral_fn.queues.storage import StorageQueue  # noqa: PLC0415

    return StorageQueue(url, session, tokens)
