"""The client of Partner Center's referrals API: one call, done with care."""

import contextlib
import re
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from http import HTTPStatus

import aiohttp

from referral_fn import log
from referral_fn.credentials.token_source import TokenSource
from referral_fn.errors import PermanentError, RetryableError, Upstream
from referral_fn.referrals.request import ReferralRequest
from referral_fn.referrals.wire import InvalidReferralError, Referral, read_referral
from referral_fn.retry import read_retry_after, retrying
from referral_fn.settings import Settings
from referral_fn.strict_json import InvalidJSONError, loads

MAX_ANSWER = 1024 * 1024
"""Bytes. A referral is a few kilobytes."""

CONNECT_TIMEOUT = 5
"""Seconds to reach the API, of those that an attempt may take."""

_NOT_FOUND = {404, 410}
_DENIED = {401, 403}
_REFUSED = {400, 405, 406, 409, 411, 412, 413, 415, 416, 422, 501}
_WORD = re.compile(r"[A-Za-z0-9._-]{1,64}")


class Gate:
    """Closed while the API asks to be left alone, and then half open: one request tries, and the others wait for that.

    One for the process, so that one answer spares all others.
    """

    def __init__(self) -> None:
        self._opens = 0.0
        self._half_open = False
        self._probing = False

    def close(self, seconds: float) -> None:
        """Close it for that long at least."""
        self._opens = max(self._opens, time.monotonic() + seconds)
        self._half_open = True

    @contextlib.contextmanager
    def passage(self) -> Iterator[None]:
        """Let one request through.

        Raises:
            RetryableError: `upstream-throttled`: it is closed, or half open with a request under way.
        """
        closed_for = max(self._opens - time.monotonic(), 0.0)
        if closed_for or self._probing:
            detail = "Partner Center asked for a pause"
            raise RetryableError(
                "upstream-throttled", detail, retry_after=closed_for, quick=False, attempt_consumed=False
            )
        self._probing = probe = self._half_open
        try:
            yield
        except RetryableError:
            raise
        except PermanentError:
            self._half_open &= not probe
            raise
        else:
            self._half_open &= not probe
        finally:
            if probe:
                self._probing = False


@dataclass(frozen=True, slots=True)
class Fetched:
    """A referral, and what to name to Partner Center's support when asking about it."""

    referral: Referral
    upstream: Upstream


class PartnerCenter:
    """Fetches referrals."""

    def __init__(self, settings: Settings, session: aiohttp.ClientSession, tokens: TokenSource) -> None:
        self._settings = settings
        self._session = session
        self._tokens = tokens
        self.gate = Gate()

    async def fetch(self, request: ReferralRequest) -> Fetched:
        """Fetch a referral, in up to three quick attempts.

        Raises:
            PermanentError: `referral-not-found`, `upstream-refused`, `invalid-referral`, `event-too-large`.
            RetryableError: `upstream-throttled`, `upstream-unavailable`, `upstream-timeout`, `upstream-denied`,
                `token-unavailable`.
        """
        return await retrying(lambda seconds: self._attempt(request, seconds), budget=self._settings.retry_budget)

    async def _attempt(self, request: ReferralRequest, seconds: float) -> Fetched:
        with self.gate.passage():
            return await self._ask(request, seconds)

    async def _ask(self, request: ReferralRequest, seconds: float) -> Fetched:
        started = time.monotonic()
        token = await self._tokens.token(self._settings.referrals_scope)
        answer, body = await self._get(request, token, seconds)
        if answer.status == HTTPStatus.UNAUTHORIZED:
            token = await self._tokens.token(self._settings.referrals_scope, refused=token)
            answer, body = await self._get(request, token, seconds - (time.monotonic() - started))
        if answer.status == HTTPStatus.OK:
            return Fetched(_read(answer, body, request.referral_id), _upstream(answer))
        raise self._error(request, answer, body)

    async def _get(
        self, request: ReferralRequest, token: str, seconds: float
    ) -> tuple[aiohttp.ClientResponse, bytearray]:
        """One GET. The answer comes with its body, whole, or as far as it is more than `MAX_ANSWER`."""
        url = self._settings.referrals_url.replace("{referralId}", request.referral_id)
        correlation = {"referralId": request.referral_id}

        async def correlate(sent: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
            """A new ID for each request sent: aiohttp itself sends one again when a pooled connection proves dead."""
            correlation["clientRequestId"] = sent.headers["client-request-id"] = str(uuid.uuid4())
            return await send(sent)

        headers = {"Accept": "application/json", "Authorization": f"Bearer {token}", **request.trace.attributes()}
        timeout = aiohttp.ClientTimeout(total=max(seconds, 0.001), sock_connect=CONNECT_TIMEOUT)
        started = time.monotonic()
        body = bytearray()
        try:
            async with self._session.get(
                url, headers=headers, timeout=timeout, allow_redirects=False, middlewares=(correlate,)
            ) as answer:
                async for chunk in answer.content.iter_any():
                    body += chunk
                    if len(body) > MAX_ANSWER:
                        break
        except TimeoutError:
            log.warning("upstream.failed", **correlation, error="timeout", seconds=round(time.monotonic() - started, 3))
            raise RetryableError("upstream-timeout", "Partner Center did not answer in time") from None
        except aiohttp.ClientError as error:
            log.warning("upstream.failed", **correlation, error=type(error).__name__)
            raise RetryableError(
                "upstream-unavailable", f"no answer from Partner Center: {type(error).__name__}"
            ) from None
        log.info(
            "upstream.answered",
            **correlation,
            status=answer.status,
            requestId=answer.headers.get("request-id"),
            diagnostic=answer.headers.get("x-ms-ags-diagnostic"),
            seconds=round(time.monotonic() - started, 3),
        )
        return answer, body

    def _error(
        self, request: ReferralRequest, answer: aiohttp.ClientResponse, body: bytearray
    ) -> PermanentError | RetryableError:
        """What an answer other than 200 means. Statuses nobody documents count as trouble: that loses nothing."""
        status, upstream = answer.status, _upstream(answer, body)
        said = f"Partner Center answered {status}"
        if status in _NOT_FOUND:
            return PermanentError("referral-not-found", said, upstream=upstream)
        if status in _REFUSED:
            return PermanentError("upstream-refused", said, upstream=upstream)
        if status in _DENIED:
            log.error("upstream.denied", **request.log_fields(), **upstream)
            return RetryableError("upstream-denied", said, upstream=upstream, quick=False)
        retry_after = read_retry_after(answer.headers.get("Retry-After"))
        throttled = status == HTTPStatus.TOO_MANY_REQUESTS
        if retry_after is not None and (throttled or status == HTTPStatus.SERVICE_UNAVAILABLE):
            self.gate.close(retry_after)
        reason = "upstream-throttled" if throttled else "upstream-unavailable"
        return RetryableError(reason, said, retry_after=retry_after, upstream=upstream)


def _read(answer: aiohttp.ClientResponse, body: bytearray, referral_id: str) -> Referral:
    """The referral in a 200. What is no JSON comes from a proxy or was cut short, and may be whole the next time."""
    kind = answer.content_type
    if kind != "application/json" and not kind.endswith("+json"):
        raise RetryableError("upstream-unavailable", "Partner Center's answer is not JSON", upstream=_upstream(answer))
    if len(body) > MAX_ANSWER:
        raise PermanentError("event-too-large", f"the referral is over {MAX_ANSWER} bytes", upstream=_upstream(answer))
    try:
        return read_referral(bytes(body), referral_id)
    except InvalidJSONError as error:
        raise RetryableError(
            "upstream-unavailable", f"Partner Center's answer {error}", upstream=_upstream(answer)
        ) from None
    except InvalidReferralError as error:
        raise PermanentError(
            "invalid-referral",
            "Partner Center's answer is not the referral that was asked for",
            errors=error.findings,
            upstream=_upstream(answer),
        ) from None


def _upstream(answer: aiohttp.ClientResponse, body: bytearray | None = None) -> Upstream:
    """What to tell Partner Center's support. Only words of its protocol: its messages may repeat what was sent."""
    upstream = Upstream(status=answer.status)
    if code := _error_code(body):
        upstream["code"] = code
    if request_id := answer.headers.get("request-id", ""):
        upstream["requestId"] = request_id
    upstream["clientRequestId"] = answer.request_info.headers["client-request-id"]
    return upstream


def _error_code(body: bytearray | None) -> str | None:
    try:
        code = loads(bytes(body or b""))["error"]["code"]
    except (InvalidJSONError, KeyError, TypeError, IndexError):
        return None
    return code if isinstance(code, str) and _WORD.fullmatch(code) else None
