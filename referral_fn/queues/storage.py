"""Azure Storage queues, by their REST interface."""

import base64
import binascii
import math
from datetime import UTC, datetime
from email.utils import format_datetime
from http import HTTPStatus
from urllib.parse import quote

import aiohttp

from referral_fn.queues.base import LeasedMessage, Message, MessageTooLargeError, Queue
from referral_fn.retry import LONGEST_WAIT

API_VERSION = "2024-11-04"

MAX_MESSAGE = 48 * 1024
"""Bytes. A message may have 64 KiB (Put Message), and base64 makes four of three."""


class StorageQueue(Queue):
    """A queue of Azure Storage. What is put on it never expires; the longest delay is 7 days."""

    scope = "https://storage.azure.com/.default"
    system = "azure_queue_storage"

    async def put(self, message: Message, *, delay: float = 0) -> None:
        """Put a message's body; there is no place for the rest of it."""
        if len(message.body) > MAX_MESSAGE:
            size = f"{len(message.body)} bytes"
            raise MessageTooLargeError(f"{size}; a message of queue {self.name} has {MAX_MESSAGE} at most")
        body = b"<QueueMessage><MessageText>%b</MessageText></QueueMessage>" % base64.b64encode(message.body)
        hidden = min(math.ceil(delay), LONGEST_WAIT)
        url = f"{self._url}/messages?messagettl=-1&visibilitytimeout={hidden}"
        await self._call("POST", url, (HTTPStatus.CREATED,), body)

    async def take(self, seconds: int) -> list[LeasedMessage]:
        """Take up to 32 messages."""
        from xml.etree import ElementTree as ET  # noqa: PLC0415 - only an operator's command reads

        url = f"{self._url}/messages?numofmessages=32&visibilitytimeout={seconds}"
        _, answer = await self._call("GET", url, (HTTPStatus.OK,))
        return [
            LeasedMessage(
                f"{quote(message.findtext('MessageId', ''), safe='')}"
                f"?popreceipt={quote(message.findtext('PopReceipt', ''), safe='')}",
                _decoded(message.findtext("MessageText", "")),
            )
            for message in ET.fromstring(answer)  # noqa: S314 - Azure's own
        ]

    async def release(self, held: LeasedMessage) -> None:
        """Let others see a message again that was taken."""
        url = f"{self._url}/messages/{held.receipt}&visibilitytimeout=0"
        await self._call("PUT", url, (HTTPStatus.NO_CONTENT,))

    async def remove(self, held: LeasedMessage) -> None:
        """Remove a message that was taken."""
        await self._call("DELETE", f"{self._url}/messages/{held.receipt}", (HTTPStatus.NO_CONTENT,))
        held.removed = True

    async def probe(self) -> None:
        """Check that messages could be put.

        A peek tells whether the queue is there, if the app may look. A message without its parts tells whether the app
        may put one: it is refused for what it lacks only after the token has been accepted.
        """
        looked = (HTTPStatus.OK, HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)
        await self._call("GET", f"{self._url}/messages?peekonly=true", looked)
        await self._call("POST", f"{self._url}/messages?messagettl=-1", (HTTPStatus.BAD_REQUEST,), b"")

    def _headers(self) -> dict[str, str]:
        return {
            "Content-Type": "application/xml",
            "x-ms-version": API_VERSION,
            "x-ms-date": format_datetime(datetime.now(UTC), usegmt=True),
        }

    def _trouble(self, answer: aiohttp.ClientResponse, body: bytes) -> tuple[str, bool]:  # noqa: ARG002 - see the base
        roles = {"POST": "Message Sender", "PUT": "Contributor"}  # Update Message is in no smaller one
        role = roles.get(answer.method, "Message Processor")
        lasting: dict[int, str] = {
            HTTPStatus.NOT_FOUND: "does not exist",
            HTTPStatus.UNAUTHORIZED: "does not accept the app's token",
            HTTPStatus.FORBIDDEN: f"refuses the app: its identity needs the role Storage Queue Data {role}",
        }
        what = lasting.get(answer.status, "did not do as asked")
        return f"{what} ({answer.status} {answer.headers.get('x-ms-error-code', 'no code')})", answer.status in lasting


def _decoded(text: str) -> bytes:
    """What a message says: ours are base64, others may be plain."""
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        return text.encode()
