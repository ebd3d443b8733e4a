"""Azure Storage queues, over their REST interface."""

import base64
import binascii
import math
import time
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from urllib.parse import quote
from xml.sax.saxutils import escape

from referral_fn.http_call import Response
from referral_fn.queues.base import LEASE_ENDED, LeasedMessage, Message, MessageTooLargeError, Queue
from referral_fn.retry import LONGEST_WAIT

API_VERSION = "2024-11-04"

MAX_MESSAGE = 48 * 1024
"""Bytes of a body. A message has 64 KiB (Put Message), and base64 turns three bytes into four."""

_MAX_VERBATIM = 64 * 1024
_LEASE_ENDED = {"MessageNotFound", "PopReceiptMismatch"}
_CARRIAGE_RETURN = {"\r": "&#13;"}
"""An XML parser would read a plain carriage return as a line feed."""


class StorageQueue(Queue):
    """A queue of Azure Storage. Messages put here never expire; the longest delay is 7 days."""

    scope = "https://storage.azure.com/.default"
    system = "azure_queue_storage"

    async def put(self, message: Message, *, delay: float = 0) -> None:
        """Put the message's body; the rest of it has no place here."""
        if message.verbatim and (received := _text(message.body)) is not None:
            limit, text = _MAX_VERBATIM, escape(received, _CARRIAGE_RETURN).encode()
        else:
            limit, text = MAX_MESSAGE, base64.b64encode(message.body)
        if len(message.body) > limit:
            raise MessageTooLargeError(f"{len(message.body)} bytes; queue {self.name} accepts {limit} at most")
        hidden = min(math.ceil(delay), LONGEST_WAIT)
        url = f"{self._url}/messages?messagettl=-1&visibilitytimeout={hidden}"
        body = b"<QueueMessage><MessageText>%b</MessageText></QueueMessage>" % text
        await self._call("POST", url, (HTTPStatus.CREATED,), body)

    async def take(self, seconds: int) -> list[LeasedMessage]:
        """Lease up to 32 messages."""
        from xml.etree import ElementTree as ET  # noqa: PLC0415 - only the command line reads queues

        url = f"{self._url}/messages?numofmessages=32&visibilitytimeout={seconds}"
        response = await self._call("GET", url, (HTTPStatus.OK,))
        return [
            LeasedMessage(
                f"{quote(message.findtext('MessageId', ''), safe='')}"
                f"?popreceipt={quote(message.findtext('PopReceipt', ''), safe='')}",
                _decoded(message.findtext("MessageText", "")),
                message.findtext("MessageId", ""),
            )
            for message in ET.fromstring(response.body)  # noqa: S314 - from Azure
        ]

    async def release(self, message: LeasedMessage) -> None:
        """End a lease, so that others see the message again."""
        url = f"{self._url}/messages/{message.receipt}&visibilitytimeout=0"
        await self._call("PUT", url, (HTTPStatus.NO_CONTENT,))

    async def remove(self, message: LeasedMessage) -> None:
        """Remove a leased message."""
        await self._call("DELETE", f"{self._url}/messages/{message.receipt}", (HTTPStatus.NO_CONTENT,))
        message.removed = True

    async def probe(self) -> None:
        """Check that messages could be put.

        A peek shows whether the queue exists, if the app may read it. An incomplete message shows whether the app may
        write: Storage checks the token before the message, and answers 400.
        """
        readable_or_denied = (HTTPStatus.OK, HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)
        await self._call("GET", f"{self._url}/messages?peekonly=true", readable_or_denied)
        await self._call("POST", f"{self._url}/messages?messagettl=-1", (HTTPStatus.BAD_REQUEST,), b"")

    def _headers(self) -> dict[str, str]:
        return {
            "Content-Type": "application/xml",
            "x-ms-version": API_VERSION,
            "x-ms-date": _http_date(int(time.time())),
        }

    def _explain(self, method: str, path: str, response: Response) -> tuple[str, bool]:  # noqa: ARG002 - see the base
        roles = {"POST": "Message Sender", "PUT": "Contributor"}  # no smaller role includes Update Message
        role = roles.get(method, "Message Processor")
        lasting: dict[int, str] = {
            HTTPStatus.NOT_FOUND: "does not exist",
            HTTPStatus.UNAUTHORIZED: "does not accept the app's token",
            HTTPStatus.FORBIDDEN: f"refuses the app: its identity needs the role Storage Queue Data {role}",
        }
        meaning = lasting.get(response.status, "did not accept the call")
        code = response.headers.get("x-ms-error-code", "no code")
        if code in _LEASE_ENDED:
            return f"{LEASE_ENDED} ({response.status} {code})", True
        return f"{meaning} ({response.status} {code})", response.status in lasting


@lru_cache(maxsize=1)
def _http_date(seconds: int) -> str:
    """The time in HTTP's format, formatted once a second."""
    return formatdate(seconds, usegmt=True)


def _text(body: bytes) -> str | None:
    """The body as text; None if it is not UTF-8, which only a message in base64 can hold."""
    try:
        return body.decode()
    except UnicodeDecodeError:
        return None


def _decoded(text: str) -> bytes:
    """The message: the app writes base64, others may write plain text."""
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        return text.encode()
