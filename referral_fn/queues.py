"""Where messages go: Azure Storage queues, by their REST interface."""

import base64
import math
from datetime import UTC, datetime
from email.utils import format_datetime
from http import HTTPStatus

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
        await retrying(lambda seconds: self._attempt(url, body, seconds), budget=BUDGET)

    async def probe(self) -> None:
        """Check that messages could be put, without putting one.

        A peek tells whether the queue is there, if the app may look. A message without its parts tells whether the app
        may put one: it is refused for what it lacks only after the token has been accepted.

        Raises:
            TroubleError: as for `put`.
        """
        token = await self._tokens.token(SCOPE)
        peek = await self._send("GET", f"{self._url}/messages?peekonly=true", None, token, BUDGET)
        if peek.status == HTTPStatus.NOT_FOUND:
            raise self._trouble(peek)
        put = await self._send("POST", f"{self._url}/messages?messagettl=-1", b"", token, BUDGET)
        if put.status != HTTPStatus.BAD_REQUEST:
            raise self._trouble(put)

    @property
    def _name(self) -> str:
        return f"queue {queue_name(self._url)}"

    async def _attempt(self, url: str, body: bytes, seconds: float) -> None:
        token = await self._tokens.token(SCOPE)
        answer = await self._send("POST", url, body, token, seconds)
        if answer.status == HTTPStatus.UNAUTHORIZED:
            token = await self._tokens.token(SCOPE, refused=token)
            answer = await self._send("POST", url, body, token, seconds)
        if answer.status != HTTPStatus.CREATED:
            raise self._trouble(answer)

    async def _send(
        self, method: str, url: str, body: bytes | None, token: str, seconds: float
    ) -> aiohttp.ClientResponse:
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
                await answer.read()
                return answer
        except (aiohttp.ClientError, TimeoutError) as error:
            raise TroubleError("queue-unavailable", f"{self._name} cannot be reached: {type(error).__name__}") from None

    def _trouble(self, answer: aiohttp.ClientResponse) -> TroubleError:
        code = answer.headers.get("x-ms-error-code", "no code")
        lasting: dict[int, str] = {
            HTTPStatus.NOT_FOUND: "does not exist",
            HTTPStatus.UNAUTHORIZED: "does not accept the app's token",
            HTTPStatus.FORBIDDEN: "refuses the app: its identity needs the role Storage Queue Data Message Sender",
        }
        what = lasting.get(answer.status, "did not take the message")
        return TroubleError(
            "queue-unavailable",
            f"{self._name} {what} ({answer.status} {code})",
            retry_after=read_retry_after(answer.headers.get("Retry-After")),
            quick=answer.status not in lasting,
        )
