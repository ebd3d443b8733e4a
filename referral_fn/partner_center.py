"""The client of Partner Center's referrals API.

Source: "Get a referral by ID" in the Partner Center referrals reference. The list call is in referral_list.py.
"""

import re
import time
import uuid
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any, NamedTuple, TypeVar

import aiohttp

from referral_fn import http_call, log
from referral_fn.credentials.consent_check import RecentReason
from referral_fn.credentials.token_source import TokenSource
from referral_fn.errors import PermanentError, RetryableError, Upstream
from referral_fn.gate import Gate, PauseExchange
from referral_fn.http_call import NoResponseError
from referral_fn.referrals.request import ReferralRequest, Trace
from referral_fn.referrals.wire import InvalidReferralError, Referral, read_referral
from referral_fn.retry import read_retry_after, retrying
from referral_fn.settings import Settings
from referral_fn.strict_json import InvalidJSONError, loads

MAX_ANSWER = 1024 * 1024
"""Bytes of a response that are read. A referral has a few kilobytes."""

CONNECT_TIMEOUT = 5
"""Seconds of an attempt that connecting may take."""

T = TypeVar("T")

_NOT_FOUND = {404, 410}
_DENIED = {401, 403}
_PAUSING = {429, 503}
_REFUSED = {400, 405, 406, 409, 411, 412, 413, 415, 416, 422, 501}
_WORD = re.compile(r"[A-Za-z0-9._-]{1,64}")
_MFA_CODE = "900421"
_MFA_MESSAGE = b"mfa required"
_MAX_INNER_ERRORS = 8
MFA_ADVICE = (
    "Partner Center requires multi-factor authentication, and the user who consented signed in without it: run"
    " `referral-fn consent`"
)


class Fetched(NamedTuple):
    """A referral, and how Partner Center answered."""

    referral: Referral
    upstream: Upstream
    log_fields: dict[str, Any]


class Answer(NamedTuple):
    """A response, and the ID of the request that it answers."""

    response: http_call.Response
    client_request_id: str
    seconds: float
    """How long it took."""

    @property
    def status(self) -> int:
        """The HTTP status."""
        return self.response.status

    @property
    def content_type(self) -> str:
        """The content type in lower case, without parameters."""
        return self.response.headers.get("Content-Type", "").partition(";")[0].strip().lower()

    @property
    def error_codes(self) -> list[str]:
        """The error's code, and those of its inner errors."""
        return [] if self.status == HTTPStatus.OK else _error_codes(self.response.body)

    @property
    def requires_mfa(self) -> bool:
        """Whether a 401 means that the user signed in without multi-factor authentication.

        Either by code 900421, or, as it used to be, by `invalid_token` and the words "MFA required": the only case in
        which a message means anything. Source: "Mandating multifactor authentication (MFA) for your partner tenant".
        """
        if self.status != HTTPStatus.UNAUTHORIZED:
            return False
        challenge = self.response.headers.get("WWW-Authenticate", "").lower()
        message = self.response.body.lower() + challenge.encode(errors="replace")
        return _MFA_CODE in self.error_codes or ("invalid_token" in challenge and _MFA_MESSAGE in message)

    @property
    def upstream(self) -> Upstream:
        """What Partner Center's support asks for. Protocol words only: messages may repeat what was sent."""
        upstream = Upstream(status=self.status)
        if codes := self.error_codes:
            upstream["code"] = codes[0]
        if request_id := self.response.headers.get("request-id", ""):
            upstream["requestId"] = request_id
        upstream["clientRequestId"] = self.client_request_id
        return upstream

    @property
    def log_fields(self) -> dict[str, Any]:
        """The answer as log fields."""
        return {
            "clientRequestId": self.client_request_id,
            "status": self.status,
            "requestId": self.response.headers.get("request-id"),
            "diagnostic": self.response.headers.get("x-ms-ags-diagnostic"),
            "seconds": self.seconds,
        }


class Call(NamedTuple):
    """A GET of the API."""

    url: str
    max_bytes: int
    """Bytes of the response that are read."""
    log_fields: Mapping[str, Any]
    trace: Trace


class PartnerCenter:
    """Fetches referrals."""

    def __init__(self, settings: Settings, session: aiohttp.ClientSession, tokens: TokenSource) -> None:
        self._settings = settings
        self._session = session
        self._tokens = tokens
        self.gate = Gate()
        self.shared_pause: PauseExchange | None = None
        """The pauses that other instances were asked for, where there is a table to share them by."""
        self.mfa_required = RecentReason()
        """What to do while Partner Center requires multi-factor authentication that the user did not do."""

    async def fetch(self, request: ReferralRequest, trace: Trace | None = None) -> Fetched:
        """Fetch a referral, in up to three quick attempts within `REFERRALS_RETRY_BUDGET` seconds.

        Args:
            request: the referral to fetch.
            trace: the trace context to send; None for the request's own.

        Raises:
            PermanentError: `referral-not-found`, `upstream-refused`, `invalid-referral`, `event-too-large`.
            RetryableError: `upstream-throttled`, `upstream-unavailable`, `upstream-timeout`, `upstream-denied`,
                `mfa-required`, `token-unavailable`.
        """
        url = self._settings.referrals_url.replace("{referralId}", request.referral_id)
        call = Call(url, MAX_ANSWER, request.log_fields(), trace or request.trace)
        return await self.get(
            call, lambda answer: Fetched(_read(answer, request.referral_id), answer.upstream, answer.log_fields)
        )

    async def get(self, call: Call, read: Callable[[Answer], T]) -> T:
        """Make a call in up to three quick attempts, each through the gate.

        Args:
            call: what to ask for.
            read: reads a 200, as a part of the attempt.

        Raises:
            PermanentError: `referral-not-found`, `upstream-refused`, or what `read` raises.
            RetryableError: as for `fetch`, or what `read` raises.
        """

        async def attempt(seconds: float) -> T:
            if self.shared_pause:
                await self.shared_pause.obey()
            with self.gate.passage():
                return read(await self._get_once(call, seconds))

        return await retrying(attempt, budget=self._settings.retry_budget, on_timeout=_timeout)

    async def _get_once(self, call: Call, seconds: float) -> Answer:
        started = time.monotonic()
        scope = self._settings.referrals_scope
        token = await self._tokens.token(scope, seconds=seconds)
        answer = await self._send(call, token, seconds - (time.monotonic() - started))
        if answer.status == HTTPStatus.UNAUTHORIZED:
            refused, left = token, seconds - (time.monotonic() - started)
            token = await self._tokens.token(scope, refused=refused, seconds=left)
            if token != refused:
                answer = await self._send(call, token, seconds - (time.monotonic() - started))
        if answer.status not in _DENIED:
            self.mfa_required.set(None)
        if answer.status == HTTPStatus.OK:
            return answer
        pause = read_retry_after(answer.response.headers.get("Retry-After"))
        if pause is not None and answer.status in _PAUSING:
            self.gate.close(pause)
            if self.shared_pause:
                await self.shared_pause.announce(pause)
        raise self._error(call, answer)

    async def _send(self, call: Call, token: str, seconds: float) -> Answer:
        log_fields = dict(call.log_fields)

        async def correlate(sent: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
            """Give each request a new ID: aiohttp sends one again by itself when a pooled connection is dead."""
            log_fields["clientRequestId"] = sent.headers["client-request-id"] = str(uuid.uuid4())
            return await send(sent)

        started = time.monotonic()
        try:
            response = await http_call.send(
                self._session,
                "GET",
                call.url,
                seconds=seconds,
                max_bytes=call.max_bytes,
                connect_seconds=CONNECT_TIMEOUT,
                headers={
                    "Accept": "application/json",
                    "Authorization": f"Bearer {token}",
                    **call.trace.attributes(),
                },
                middlewares=(correlate,),
            )
        except NoResponseError as error:
            log_fields["seconds"] = round(time.monotonic() - started, 3)
            log.warning("upstream.failed", **log_fields, error=str(error))
            if error.timed_out:
                raise _timeout() from None
            raise RetryableError("upstream-unavailable", f"no answer from Partner Center: {error}") from None
        answer = Answer(response, log_fields["clientRequestId"], round(time.monotonic() - started, 3))
        if answer.status == HTTPStatus.OK:  # the event about its referral has the same fields
            log.debug("upstream.answered", **{**log_fields, **answer.log_fields})
        else:
            log.info("upstream.answered", **{**log_fields, **answer.log_fields})
        return answer

    def _error(self, call: Call, answer: Answer) -> PermanentError | RetryableError:
        """The error for a status other than 200. Undocumented ones are retried, which loses nothing."""
        status, upstream = answer.status, answer.upstream
        detail = f"Partner Center answered {status}"
        if status in _NOT_FOUND:
            return PermanentError("referral-not-found", detail, upstream=upstream)
        if status in _REFUSED:
            return PermanentError("upstream-refused", detail, upstream=upstream)
        if answer.requires_mfa:
            self.mfa_required.set(MFA_ADVICE)
            log.error("upstream.mfa-required", **call.log_fields, **upstream)
            return RetryableError("mfa-required", MFA_ADVICE, upstream=upstream, quick=False)
        if status in _DENIED:
            log.error("upstream.denied", **call.log_fields, **upstream)
            return RetryableError("upstream-denied", detail, upstream=upstream, quick=False)
        retry_after = read_retry_after(answer.response.headers.get("Retry-After"))
        reason = "upstream-throttled" if status == HTTPStatus.TOO_MANY_REQUESTS else "upstream-unavailable"
        return RetryableError(reason, detail, retry_after=retry_after, upstream=upstream)


def _timeout() -> RetryableError:
    return RetryableError("upstream-timeout", "Partner Center did not answer in time")


def _read(answer: Answer, referral_id: str) -> Referral:
    """Read the referral from a 200. What is not JSON comes from a proxy, or was cut off, and may be whole next time."""
    upstream = answer.upstream
    if answer.content_type != "application/json" and not answer.content_type.endswith("+json"):
        raise RetryableError("upstream-unavailable", "Partner Center's answer is not JSON", upstream=upstream)
    if answer.response.truncated:
        raise PermanentError("event-too-large", f"the referral is over {MAX_ANSWER} bytes", upstream=upstream)
    try:
        return read_referral(answer.response.body, referral_id)
    except InvalidJSONError as error:
        raise RetryableError("upstream-unavailable", f"Partner Center's answer {error}", upstream=upstream) from None
    except InvalidReferralError as error:
        raise PermanentError(
            "invalid-referral",
            "Partner Center's answer is not the referral that was asked for",
            errors=error.findings,
            upstream=upstream,
        ) from None


def _error_codes(body: bytes) -> list[str]:
    """The codes in an error body, outermost first: of the documented envelope, or of a flat one."""
    try:
        document = loads(body)
    except InvalidJSONError:
        return []
    error = document.get("error", document) if isinstance(document, dict) else None
    codes = []
    for _ in range(_MAX_INNER_ERRORS):
        if not isinstance(error, dict):
            break
        code = error.get("code")
        code = str(code) if type(code) is int and abs(code) < 10**18 else code
        if isinstance(code, str) and _WORD.fullmatch(code):
            codes.append(code)
        error = error.get("innerError", error.get("innererror"))
    return codes
