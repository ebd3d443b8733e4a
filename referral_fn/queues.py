"""Where messages go: Azure Storage queues, by their REST interface."""

import base64
import binascii
import math
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from http import HTTPStatus
from typing import Protocol
from urllib.parse import quote, urlsplit

import aiohttp

from referral_fn.credentials import TokenSource
from referral_fn.outcome import TroubleError
from referral_fn.retry import LONGEST_WAIT, read_retry_after, retrying
from referral_fn.settings import queue_name

SCOPE = "https://storage.azure.com/.default"
API_VERSION = "2024-11-04"
BUDGET = 20
"""Seconds for all attempts at one write."""

MAX_MESSAGE = 48 * 1024
"""Bytes. A message may have 64 KiB (Put Message), and base64 makes four of three."""


class MessageTooLargeError(ValueError):
    """The message is longer than its queue takes."""


@dataclass(slots=True)
class Held:
    """A message taken from a queue for a while."""

    id: str
    receipt: str
    """What proves that it is held; void once the time is up."""
    body: bytes
    removed: bool = False


class Queue(Protocol):
    """What the app asks of a queue."""

    async def put(self, message: bytes, *, delay: float = 0) -> None:
        """Put a message on it."""

    async def take(self, seconds: int) -> list[Held]:
        """Take some messages for a while."""

    async def release(self, held: Held) -> None:
        """Let others see a message again."""

    async def remove(self, held: Held) -> None:
        """Remove a message for good."""

    async def probe(self) -> None:
        """Check that messages could be put."""


class StorageQueue:
    """A queue of Azure Storage. What is put on it never expires."""

    max_message = MAX_MESSAGE

    def __init__(self, url: str, session: aiohttp.ClientSession, tokens: TokenSource) -> None:
        self._url = url
        self._session = session
        self._tokens = tokens

    async def put(self, message: bytes, *, delay: float = 0) -> None:
        """Put a message on the queue, hidden for `delay` seconds (rounded up; 7 days at most).

        When this returns, the message is stored. It may be stored twice where an answer was lost on the way.

        Raises:
            MessageTooLargeError: over 48 KiB.
            TroubleError: `queue-unavailable`; its text names the queue, and what is missing where something is.
        """
        if len(message) > MAX_MESSAGE:
            raise MessageTooLargeError(f"{len(message)} bytes; a message of {self._name} has {MAX_MESSAGE} at most")
        body = b"<QueueMessage><MessageText>%b</MessageText></QueueMessage>" % base64.b64encode(message)
        hidden = min(math.ceil(delay), LONGEST_WAIT)
        url = f"{self._url}/messages?messagettl=-1&visibilitytimeout={hidden}"
        await self._call("POST", url, body, HTTPStatus.CREATED)

    async def take(self, seconds: int) -> list[Held]:
        """Take up to 32 messages, hidden from others for so many seconds; none once there are no more to be seen.

        Raises:
            TroubleError: `queue-unavailable`.
        """
        url = f"{self._url}/messages?numofmessages=32&visibilitytimeout={seconds}"
        from xml.etree import ElementTree as ET  # noqa: PLC0415 - only an operator's command reads

        found = ET.fromstring(await self._call("GET", url, None, HTTPStatus.OK))  # noqa: S314 - Azure's own
        return [
            Held(
                message.findtext("MessageId", ""),
                message.findtext("PopReceipt", ""),
                _decoded(message.findtext("MessageText", "")),
            )
            for message in found
        ]

    async def release(self, held: Held) -> None:
        """Let others see a message again that was taken.

        Raises:
            TroubleError: `queue-unavailable`.
        """
        await self._call("PUT", f"{self._message_url(held)}&visibilitytimeout=0", None, HTTPStatus.NO_CONTENT)

    async def remove(self, held: Held) -> None:
        """Remove a message that was taken.

        Raises:
            TroubleError: `queue-unavailable`.
        """
        await self._call("DELETE", self._message_url(held), None, HTTPStatus.NO_CONTENT)
        held.removed = True

    async def probe(self) -> None:
        """Check that messages could be put, without putting one.

        A peek tells whether the queue is there, if the app may look. A message without its parts tells whether the app
        may put one: it is refused for what it lacks only after the token has been accepted.

        Raises:
            TroubleError: as for `put`.
        """
        token = await self._tokens.token(SCOPE)
        peek, _ = await self._send("GET", f"{self._url}/messages?peekonly=true", None, token, BUDGET)
        if peek.status == HTTPStatus.NOT_FOUND:
            raise self._trouble(peek)
        put, _ = await self._send("POST", f"{self._url}/messages?messagettl=-1", b"", token, BUDGET)
        if put.status != HTTPStatus.BAD_REQUEST:
            raise self._trouble(put)

    @property
    def described(self) -> dict[str, str]:
        """It in the words of OpenTelemetry's semantic conventions for messaging, with `_` for `.`."""
        return {
            "messaging_system": "azure_queue_storage",
            "messaging_destination_name": queue_name(self._url),
            "messaging_operation_type": "send",
            "server_address": urlsplit(self._url).hostname or "",
        }

    @property
    def _name(self) -> str:
        return f"queue {queue_name(self._url)}"

    def _message_url(self, held: Held) -> str:
        return f"{self._url}/messages/{quote(held.id, safe='')}?popreceipt={quote(held.receipt, safe='')}"

    async def _call(self, method: str, url: str, body: bytes | None, expected: HTTPStatus) -> bytes:
        """Make a call, in up to three quick attempts. Returns the answer's body."""

        async def attempt(seconds: float) -> bytes:
            token = await self._tokens.token(SCOPE)
            answer, said = await self._send(method, url, body, token, seconds)
            if answer.status == HTTPStatus.UNAUTHORIZED:
                token = await self._tokens.token(SCOPE, refused=token)
                answer, said = await self._send(method, url, body, token, seconds)
            if answer.status != expected:
                raise self._trouble(answer)
            return said

        return await retrying(attempt, budget=BUDGET)

    async def _send(
        self, method: str, url: str, body: bytes | None, token: str, seconds: float
    ) -> tuple[aiohttp.ClientResponse, bytes]:
        headers = {
            "Authorization": f"Bearer {token}",
            "Content-Type": "application/xml",
            "x-ms-version": API_VERSION,
            "x-ms-date": format_datetime(datetime.now(UTC), usegmt=True),
        }
        timeout = aiohttp.ClientTimeout(total=max(seconds, 0.001))
        try:
            async with self._session.request(
                method, url, data=body, headers=headers, timeout=timeout, allow_redirects=False
            ) as answer:
                return answer, await answer.read()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise TroubleError("queue-unavailable", f"{self._name} cannot be reached: {type(error).__name__}") from None

    def _trouble(self, answer: aiohttp.ClientResponse) -> TroubleError:
        code = answer.headers.get("x-ms-error-code", "no code")
        role = "Sender" if answer.method == "POST" else "Processor"
        lasting: dict[int, str] = {
            HTTPStatus.NOT_FOUND: "does not exist",
            HTTPStatus.UNAUTHORIZED: "does not accept the app's token",
            HTTPStatus.FORBIDDEN: f"refuses the app: its identity needs the role Storage Queue Data Message {role}",
        }
        what = lasting.get(answer.status, "did not take the message")
        return TroubleError(
            "queue-unavailable",
            f"{self._name} {what} ({answer.status} {code})",
            retry_after=read_retry_after(answer.headers.get("Retry-After")),
            quick=answer.status not in lasting,
        )


def _decoded(text: str) -> bytes:
    """What a message says: ours are base64, others may be plain."""
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        return text.encode()
