"""Azure Service Bus queues and topics, over their REST interface.

Source: "Send Message", "Peek-Lock Message" and "Message headers and properties" in the Service Bus REST API reference.
"""

import asyncio
import hashlib
import json
import math
import uuid
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from referral_fn.credentials.token_source import TokenSource
from referral_fn.http_call import Response
from referral_fn.queues.base import LEASE_ENDED, LeasedMessage, Message, MessageTooLargeError, Queue

MAX_ID = 128
"""Characters of a MessageId, a SessionId, a CorrelationId."""

_TAKE = 32
_CONCURRENT_LOCKS = 8
_DIGEST = 32


class ServiceBusQueue(Queue):
    """A queue or topic of a Service Bus namespace. How long its messages live is up to the entity."""

    scope = "https://servicebus.azure.net/.default"
    system = "servicebus"

    def __init__(self, url: str, session: aiohttp.ClientSession, tokens: TokenSource, max_message: int) -> None:
        super().__init__(url, session, tokens)
        self._max_message = max_message

    async def put(self, message: Message, *, delay: float = 0) -> None:
        """Put a message with its ID, by which the broker drops duplicates. Without an ID it gets a new one."""
        broker: dict[str, Any] = {
            "MessageId": shortened(message.id or str(uuid.uuid4())),
            "SessionId": message.session and shortened(message.session),
            "CorrelationId": message.correlation and shortened(message.correlation),
            "Label": message.label,
        }
        if delay > 0:
            due = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=math.ceil(delay) + 1)
            broker["ScheduledEnqueueTimeUtc"] = format_datetime(due, usegmt=True)
        headers = {
            "BrokerProperties": json.dumps({name: value for name, value in broker.items() if value is not None}),
            **{name: json.dumps(value) for name, value in message.properties.items()},
        }
        size = len(message.body) + sum(len(name) + len(value) for name, value in headers.items())
        if size > self._max_message and not message.verbatim:  # it came from a queue: the service decides
            limit = f"queue {self.name} accepts {self._max_message} at most"
            raise MessageTooLargeError(f"{size} bytes, properties included; {limit}")
        headers["Content-Type"] = message.content_type
        await self._call("POST", f"{self._url}/messages", (HTTPStatus.CREATED,), message.body, **headers)

    async def take(self, seconds: int) -> list[LeasedMessage]:  # noqa: ARG002 - the queue sets the lock duration
        """Lease up to 32 messages for the queue's lock duration. Does not work on a queue with sessions.

        A call locks one message. Several calls run at the same time, because locks may last only seconds.
        """
        leased: list[LeasedMessage] = []
        for _ in range(_TAKE // _CONCURRENT_LOCKS):
            results = await asyncio.gather(*(self._lock() for _ in range(_CONCURRENT_LOCKS)), return_exceptions=True)
            locked = [result for result in results if isinstance(result, LeasedMessage)]
            leased += locked
            if len(locked) < _CONCURRENT_LOCKS:
                break
        for result in results:
            if isinstance(result, BaseException) and not leased:
                raise result
        return sorted(leased, key=lambda message: int(message.id))

    async def _lock(self) -> LeasedMessage | None:
        expected = HTTPStatus.CREATED, HTTPStatus.NO_CONTENT
        response = await self._call("POST", f"{self._url}/messages/head?timeout=0", expected, b"")
        if response.status == HTTPStatus.NO_CONTENT:
            return None
        number = json.loads(response.headers["BrokerProperties"])["SequenceNumber"]
        return LeasedMessage(urlsplit(response.headers["Location"]).path, response.body, str(number))

    async def release(self, message: LeasedMessage) -> None:
        """End a lease, so that others see the message again."""
        await self._call("PUT", self._lock_url(message), (HTTPStatus.OK,), b"")

    async def remove(self, message: LeasedMessage) -> None:
        """Remove a leased message."""
        await self._call("DELETE", self._lock_url(message), (HTTPStatus.OK,))
        message.removed = True

    async def probe(self) -> None:
        """Check that messages could be put: invalid properties are refused only after the token was accepted."""
        refused = (HTTPStatus.BAD_REQUEST,)
        await self._call("POST", f"{self._url}/messages", refused, b"", BrokerProperties="none")

    def _lock_url(self, message: LeasedMessage) -> str:
        """The lock's URL, on the host we know: an answer must not decide who gets our token."""
        parts = urlsplit(self._url)
        return f"{parts.scheme}://{parts.netloc}{message.receipt}"

    def _headers(self) -> dict[str, str]:
        return {}

    def _explain(self, method: str, path: str, response: Response) -> tuple[str, bool]:
        role = "Sender" if path == "/messages" else "Receiver"
        is_full = response.status == HTTPStatus.FORBIDDEN and b"quota" in response.body.lower()
        is_lease = method in ("PUT", "DELETE")
        denied = f"refuses the app: its identity needs the role Azure Service Bus Data {role}"
        lasting: dict[int, str] = {
            HTTPStatus.NOT_FOUND: LEASE_ENDED if is_lease else "does not exist",
            HTTPStatus.GONE: "does not exist",
            HTTPStatus.UNAUTHORIZED: denied,
            HTTPStatus.FORBIDDEN: "is full" if is_full else denied,
        }
        meaning = lasting.get(response.status, "did not accept the call")
        return f"{meaning} ({response.status})", response.status in lasting


def shortened(identifier: str) -> str:
    """An identifier within the broker's limit. A longer one ends in a hash of the whole, always the same."""
    if len(identifier) <= MAX_ID:
        return identifier
    digest = hashlib.sha256(identifier.encode()).hexdigest()[:_DIGEST]
    return f"{identifier[: MAX_ID - _DIGEST - 1]}~{digest}"
