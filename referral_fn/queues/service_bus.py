"""Azure Service Bus queues and topics, by their REST interface.

Source: "Send Message", "Peek-Lock Message" and "Message headers and properties" in the Service Bus REST API reference.
"""

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
from referral_fn.queues.base import LeasedMessage, Message, MessageTooLargeError, Queue

MAX_ID = 128
"""Characters of a MessageId, a SessionId, a CorrelationId."""

_TAKE = 32
_DIGEST = 32


class ServiceBusQueue(Queue):
    """A queue or topic of a Service Bus namespace. How long its messages live is up to the entity."""

    scope = "https://servicebus.azure.net/.default"
    system = "servicebus"

    def __init__(self, url: str, session: aiohttp.ClientSession, tokens: TokenSource, max_message: int) -> None:
        super().__init__(url, session, tokens)
        self._max_message = max_message

    async def put(self, message: Message, *, delay: float = 0) -> None:
        """Put a message with its ID, by which the broker drops duplicates; one without gets an ID for this call."""
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
        if size > self._max_message:
            limit = f"a message of queue {self.name} has {self._max_message} at most"
            raise MessageTooLargeError(f"{size} bytes, properties included; {limit}")
        headers["Content-Type"] = message.content_type
        await self._call("POST", f"{self._url}/messages", (HTTPStatus.CREATED,), message.body, **headers)

    async def take(self, seconds: int) -> list[LeasedMessage]:  # noqa: ARG002 - how long a lock holds is up to the queue
        """Take up to 32 messages, for as long as the queue's locks hold. Not from a queue with sessions."""
        taken: list[LeasedMessage] = []
        for _ in range(_TAKE):
            locked = HTTPStatus.CREATED, HTTPStatus.NO_CONTENT
            answer, body = await self._call("POST", f"{self._url}/messages/head?timeout=0", locked, b"")
            if answer.status == HTTPStatus.NO_CONTENT:
                break
            taken.append(LeasedMessage(urlsplit(answer.headers["Location"]).path, body))
        return taken

    async def release(self, held: LeasedMessage) -> None:
        """Let others see a message again that was taken."""
        await self._call("PUT", self._held_url(held), (HTTPStatus.OK,), b"")

    async def remove(self, held: LeasedMessage) -> None:
        """Remove a message that was taken."""
        await self._call("DELETE", self._held_url(held), (HTTPStatus.OK,))
        held.removed = True

    async def probe(self) -> None:
        """Check that messages could be put: properties that are none are refused once the token has been accepted."""
        refused = (HTTPStatus.BAD_REQUEST,)
        await self._call("POST", f"{self._url}/messages", refused, b"", BrokerProperties="none")

    def _held_url(self, held: LeasedMessage) -> str:
        """The lock's address, on the host that we know: what an answer says must not decide who gets our token."""
        parts = urlsplit(self._url)
        return f"{parts.scheme}://{parts.netloc}{held.receipt}"

    def _headers(self) -> dict[str, str]:
        return {}

    def _trouble(self, answer: aiohttp.ClientResponse, body: bytes) -> tuple[str, bool]:
        role = "Sender" if answer.url.path.endswith("/messages") else "Receiver"
        full = answer.status == HTTPStatus.FORBIDDEN and b"quota" in body.lower()
        refusal = f"refuses the app: its identity needs the role Azure Service Bus Data {role}"
        lasting: dict[int, str] = {
            HTTPStatus.NOT_FOUND: "does not exist",
            HTTPStatus.GONE: "does not exist",
            HTTPStatus.UNAUTHORIZED: refusal,
            HTTPStatus.FORBIDDEN: "is full" if full else refusal,
        }
        what = lasting.get(answer.status, "did not do as asked")
        return f"{what} ({answer.status})", answer.status in lasting


def shortened(identifier: str) -> str:
    """An identifier that a broker takes: one that is too long ends in a hash of all of it, always the same."""
    if len(identifier) <= MAX_ID:
        return identifier
    digest = hashlib.sha256(identifier.encode()).hexdigest()[:_DIGEST]
    return f"{identifier[: MAX_ID - _DIGEST - 1]}~{digest}"
