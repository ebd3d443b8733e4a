"""Storage queues as the host uses them: the REST operations, and the retries of Azure's .NET client.

The client makes six tries, 0.8 s, 1.6 s, 3.2 s, 6.4 s and 12.8 s apart, each ± 20 %. A service that stays unreachable
ends in an error that nothing in the queue extension handles.
"""

import asyncio
import os
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Self
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape

import aiohttp
from azure.identity.aio import ManagedIdentityCredential

if TYPE_CHECKING:
    from azure.core.credentials import AccessToken

SCOPE = "https://storage.azure.com/.default"
TRIES = 6
_API_VERSION = "2021-12-02"
_RETRIED = {408, 429, 500, 502, 503, 504}
_NEVER = "Fri, 31 Dec 9999 23:59:59 GMT"
_TRY_SECONDS = 100
_TOKEN_MARGIN = 300
"""Seconds before a token's end at which the host asks for another."""


class StorageError(Exception):
    """The service refused an operation. `status` and `code` are the answer's."""

    def __init__(self, operation: str, status: int, code: str) -> None:
        super().__init__(f"{operation}: {status} {code}")
        self.status = status
        self.code = code

    @property
    def is_gone(self) -> bool:
        """Whether the message or its queue does not exist, or is being deleted."""
        return self.status == HTTPStatus.NOT_FOUND or self.code in ("QueueBeingDeleted", "QueueDisabled")

    @property
    def is_stale_receipt(self) -> bool:
        """Whether another client has received or changed the message since."""
        return self.code == "PopReceiptMismatch"

    @property
    def is_server_side(self) -> bool:
        """Whether the service, and not the request, is at fault."""
        return self.status >= HTTPStatus.INTERNAL_SERVER_ERROR


class UnreachableError(Exception):
    """The service did not answer any of the tries."""


@dataclass(frozen=True)
class QueueMessage:
    """A message that was taken. Its text is as it lies on the queue."""

    id: str
    pop_receipt: str
    dequeue_count: int
    text: str
    inserted: datetime
    expires: datetime
    next_visible: datetime


class StorageQueues:
    """The queue service of a connection."""

    def __init__(
        self, url: str, token: Callable[[], Awaitable[str]], session: aiohttp.ClientSession, retry_delay: float
    ) -> None:
        self._url = url.rstrip("/")
        self._token = token
        self._session = session
        self._retry_delay = retry_delay

    async def exists(self, queue: str) -> bool:
        """Whether there is such a queue."""
        try:
            await self._request("GET", f"{queue}?comp=metadata")
        except StorageError as error:
            if error.status == HTTPStatus.NOT_FOUND:
                return False
            raise
        return True

    async def receive(self, queue: str, count: int, lease: int) -> list[QueueMessage]:
        """Receive a number of messages at most, and hide them from other clients for some seconds."""
        body, _ = await self._request("GET", f"{queue}/messages?numofmessages={count}&visibilitytimeout={lease}")
        return [_message(element) for element in ET.fromstring(body)]  # noqa: S314 - the service's own answer

    async def delete(self, queue: str, message: QueueMessage) -> None:
        """Delete a message that was taken."""
        await self._request("DELETE", f"{queue}/messages/{message.id}?popreceipt={_quoted(message.pop_receipt)}")

    async def hide(self, queue: str, message: QueueMessage, seconds: int) -> QueueMessage:
        """Make a received message visible again after some seconds."""
        path = f"{queue}/messages/{message.id}?popreceipt={_quoted(message.pop_receipt)}&visibilitytimeout={seconds}"
        _, headers = await self._request("PUT", path)
        return replace(message, pop_receipt=headers["x-ms-popreceipt"])

    async def put(self, queue: str, text: str) -> None:
        """Put a message on a queue, for the service's usual seven days."""
        document = f"<QueueMessage><MessageText>{escape(text, {chr(13): '&#13;'})}</MessageText></QueueMessage>"
        await self._request("POST", f"{queue}/messages", document.encode())

    async def create(self, queue: str) -> None:
        """Make a queue. One that is there already is fine."""
        await self._request("PUT", queue)

    async def _request(self, method: str, path: str, body: bytes | None = None) -> tuple[bytes, dict[str, str]]:
        operation = f"{method} {path.partition('?')[0]}"
        for number in range(TRIES):
            if number:
                await asyncio.sleep(self._retry_delay * 2 ** (number - 1) * random.uniform(0.8, 1.2))
            try:
                status, headers, answer = await self._try(method, path, body)
            except (aiohttp.ClientError, TimeoutError) as error:
                reason = f"{operation}: {type(error).__name__}"
                continue
            if status < HTTPStatus.BAD_REQUEST:
                return answer, headers
            if status not in _RETRIED or number == TRIES - 1:
                raise StorageError(operation, status, headers.get("x-ms-error-code", ""))
        raise UnreachableError(f"Retry failed after {TRIES} tries. {reason}")

    async def _try(self, method: str, path: str, body: bytes | None) -> tuple[int, dict[str, str], bytes]:
        headers = {
            "Authorization": f"Bearer {await self._token()}",
            "x-ms-version": _API_VERSION,
            "x-ms-date": format_datetime(datetime.now(UTC), usegmt=True),
            "Content-Type": "application/xml",
        }
        time_out = aiohttp.ClientTimeout(total=_TRY_SECONDS)
        async with self._session.request(
            method, f"{self._url}/{path}", data=body, headers=headers, timeout=time_out
        ) as answer:
            headers_by_name = {name.lower(): value for name, value in answer.headers.items()}
            return answer.status, headers_by_name, await answer.read()


class Connection:
    """A connection by name, as app settings describe it: identity-based, the way this app is deployed."""

    def __init__(self, name: str, suffix: str) -> None:
        self.url = os.environ.get(f"{name}__{suffix}", "")
        if not self.url:
            raise LookupError(f"connection '{name}' does not exist: set '{name}__{suffix}'.")
        self._credential = ManagedIdentityCredential(client_id=os.environ.get(f"{name}__clientId"))
        self._cached: AccessToken | None = None

    async def token(self, scope: str) -> str:
        """A token of the host's own identity. A connection has one scope."""
        if not self._cached or self._cached.expires_on - time.time() < _TOKEN_MARGIN:
            self._cached = await self._credential.get_token(scope)
        return self._cached.token

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._credential.close()


def _message(element: ET.Element) -> QueueMessage:
    def text(name: str) -> str:
        return element.findtext(name) or ""

    return QueueMessage(
        text("MessageId"),
        text("PopReceipt"),
        int(text("DequeueCount")),
        text("MessageText"),
        parsedate_to_datetime(text("InsertionTime")),
        parsedate_to_datetime(text("ExpirationTime") or _NEVER),
        parsedate_to_datetime(text("TimeNextVisible")),
    )


def _quoted(receipt: str) -> str:
    return receipt.replace("+", "%2B").replace("/", "%2F").replace("=", "%3D")
