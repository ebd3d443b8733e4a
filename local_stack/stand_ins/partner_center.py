"""The part of Partner Center's referrals API that this app calls, with configurable faults."""

import asyncio
import contextlib
import dataclasses
import hashlib
import json
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import jwt
from aiohttp import web

from local_stack.stand_ins.listing import Listing
from local_stack.stand_ins.referrals import REFERRALS
from local_stack.stand_ins.tokens import Issuer

if TYPE_CHECKING:
    from local_stack.stand_ins.bucket import Bucket

AUDIENCE = "https://api.partner.microsoft.com"
ANY = "*"
LIST = "list"
"""Stands for the list call in place of a referral ID."""

KINDS = {"status", "reset", "reset-mid-body", "truncated", "garbage", "html", "long-html", "oversize", "redirect"}
KINDS |= {"stall", "replace", "latency", "kill"}
_CODES = {
    400: "invalidRequest",
    401: "unauthenticated",
    403: "accessDenied",
    404: "itemNotFound",
    412: "preconditionFailed",
    503: "serviceNotAvailable",
}


@dataclass(frozen=True, slots=True)
class Fault:
    """What to do instead of answering with the referral.

    `kind` is one of `KINDS`; `replace` answers `document`, and `latency` answers after `seconds`.
    """

    kind: str
    status: int = 500
    retry_after: str | None = None
    seconds: float = 0
    document: Any = None
    times: int | None = None
    """The number of requests that it affects; None: all until it is cleared."""


@dataclass(frozen=True, slots=True)
class ReceivedCall:
    """A request that the API received. The token is stored as a hash only."""

    referral_id: str
    client_request_id: str
    traceparent: str | None
    token_hash: str
    at: float
    """Time of the call on the monotonic clock."""


class PartnerCenterServer:
    """The API. Like the real one, it refuses invalid tokens, missing Accept headers and reused request IDs."""

    def __init__(self, issuer: Issuer) -> None:
        self._issuer = issuer
        self.referrals: dict[str, Any] = {}
        self.faults: dict[str, Fault] = {}
        """By referral ID, or `ANY`."""
        self.calls: list[ReceivedCall] = []
        self.refused_tokens: set[str] = set()
        """Hashes of refused tokens; `ANY` refuses all."""
        self.wants_user = False
        """Whether a token must belong to an app with a user, as the current API requires."""
        self.wants_multi_factor = False
        """Whether the user of such a token must have signed in with multi-factor authentication."""
        self.killing: Callable[[], None] = lambda: None
        """The action of a `kill` fault: it kills the worker that sent the request."""
        self.on_call: Callable[[ReceivedCall], None] = lambda _: None
        """Called with each request."""
        self.followed = 0
        """The number of redirects that were followed."""
        self.listing = Listing()
        """How the list call behaves."""
        self.bucket: Bucket | None = None
        """The tenant's rate limit; None: unlimited."""
        self.app = web.Application(middlewares=[_enveloped])
        self.app.router.add_get("/v1/referrals/{id}", self._referral)
        self.app.router.add_get("/v1.0/engagements/referrals/{id}", self._referral)
        self.app.router.add_get("/v1/referrals", self._list)
        self.app.router.add_get("/v1.0/engagements/referrals", self._list)
        self.app.router.add_get("/elsewhere", self._elsewhere)
        self.app.router.add_put("/_faults", self._set_fault)
        self.app.router.add_delete("/_faults", self._lift_faults)
        self._seen: set[str] = set()
        self.reset()

    def reset(self) -> None:
        """Return to the initial state: the usual referrals, no faults, no recorded calls."""
        self.referrals.clear()
        self.referrals.update({referral["id"]: referral for referral in REFERRALS})
        self.faults.clear()
        self.refused_tokens.clear()
        self.calls.clear()
        self.listing = Listing()
        self.bucket = None
        self.followed, self.wants_user, self.wants_multi_factor = 0, False, False

    async def _referral(self, request: web.Request) -> web.StreamResponse:
        self._admit(request)
        referral_id = request.match_info["id"].lower()
        if fault := self._fault(referral_id):
            return await self._misbehave(request, fault, referral_id)
        return self._answer(referral_id)

    async def _list(self, request: web.Request) -> web.StreamResponse:
        self._admit(request)
        fault = self._fault(LIST)
        if fault and fault.kind == "status":
            raise _Refused(fault.status, fault.retry_after)
        if fault and fault.kind == "reset":
            await self._reset(request, LIST, mid_body=False)
        try:
            return web.json_response(self.listing.answer(self.referrals.values(), request.query))
        except ValueError:
            raise _Refused(HTTPStatus.BAD_REQUEST) from None

    def _admit(self, request: web.Request) -> None:
        """Validate the headers that every call needs, and record the call."""
        correlation = request.headers.get("client-request-id", "")
        try:
            uuid.UUID(correlation)
        except ValueError:
            raise _Refused(HTTPStatus.BAD_REQUEST) from None
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        token_hash = hashlib.sha256(token.encode()).hexdigest()
        call = ReceivedCall(
            request.match_info.get("id", LIST).lower(),
            correlation,
            request.headers.get("traceparent"),
            token_hash,
            time.monotonic(),
        )
        self.calls.append(call)
        self.on_call(call)
        if self.bucket and (pause := self.bucket.take()):
            raise _Refused(HTTPStatus.TOO_MANY_REQUESTS, str(pause))
        if correlation in self._seen:
            raise _Refused(HTTPStatus.BAD_REQUEST)
        self._seen.add(correlation)
        try:
            claims = self._issuer.check(token if scheme == "Bearer" else "", AUDIENCE)
        except jwt.InvalidTokenError:
            raise _Refused(HTTPStatus.UNAUTHORIZED) from None
        if self.wants_user and "scp" not in claims:
            raise _Refused(HTTPStatus.FORBIDDEN)
        if self.wants_multi_factor and "scp" in claims and "mfa" not in claims.get("amr", ()):
            flat = {"code": 900421, "description": "Do not match on this.", "data": [], "source": "PartnerFD"}
            raise _Refused(HTTPStatus.UNAUTHORIZED, body=flat)
        if {token_hash, ANY} & self.refused_tokens:
            raise _Refused(HTTPStatus.UNAUTHORIZED)
        if request.headers.get("Accept") != "application/json":
            raise _Refused(HTTPStatus.NOT_ACCEPTABLE)

    def _answer(self, referral_id: str) -> web.Response:
        if referral_id not in self.referrals:
            raise _Refused(HTTPStatus.NOT_FOUND)
        referral = self.referrals[referral_id]
        headers = {"ETag": referral["eTag"]} if isinstance(referral, dict) and referral.get("eTag") else {}
        return web.json_response(referral, headers=headers)

    def _fault(self, referral_id: str) -> Fault | None:
        key = referral_id if referral_id in self.faults else ANY
        fault = self.faults.get(key)
        if fault and fault.times is not None:
            if fault.times > 1:
                self.faults[key] = dataclasses.replace(fault, times=fault.times - 1)
            else:
                del self.faults[key]
        return fault

    async def _misbehave(self, request: web.Request, fault: Fault, referral_id: str) -> web.StreamResponse:
        match fault.kind:
            case "status":
                raise _Refused(fault.status, fault.retry_after)
            case "reset" | "reset-mid-body":
                await self._reset(request, referral_id, mid_body=fault.kind == "reset-mid-body")
            case "stall" | "kill":
                if fault.kind == "kill":
                    self.killing()
                await asyncio.Event().wait()
            case "latency":
                await asyncio.sleep(fault.seconds)
            case _:
                return self._wrong_answer(fault, referral_id)
        return self._answer(referral_id)

    async def _reset(self, request: web.Request, referral_id: str, *, mid_body: bool) -> None:
        """Drop the connection before or during the response."""
        if mid_body:
            whole = json.dumps(self.referrals.get(referral_id)).encode()
            partial = web.StreamResponse(headers={"Content-Length": str(len(whole))})
            partial.content_type = "application/json"
            with contextlib.suppress(ConnectionError):  # the client is gone already
                await partial.prepare(request)
                await partial.write(whole[: len(whole) // 2])
        if request.transport:
            request.transport.abort()

    def _wrong_answer(self, fault: Fault, referral_id: str) -> web.Response:
        """A complete HTTP response that is not the referral."""
        if fault.kind == "redirect":
            return web.Response(status=HTTPStatus.FOUND, headers={"Location": "/elsewhere"})
        bodies = {
            "truncated": json.dumps(self.referrals.get(referral_id)).encode()[:-5],
            "garbage": b"\x00\xff garbage",
            "html": b"<html>Sign in</html>",
            "long-html": b"<html>" + b" " * (2 * 1024 * 1024),
            "oversize": json.dumps({"id": referral_id, "name": "x" * (2 * 1024 * 1024)}).encode(),
            "replace": json.dumps(fault.document).encode(),
        }
        content_type = "text/html" if fault.kind.endswith("html") else "application/json"
        return web.Response(body=bodies[fault.kind], content_type=content_type)

    async def _elsewhere(self, _: web.Request) -> web.Response:
        self.followed += 1
        return web.Response()

    async def _set_fault(self, request: web.Request) -> web.Response:
        """`PUT /_faults` `{"referralId": "*", "kind": "status", "status": 503, …}`: switches a fault on."""
        try:
            asked = dict(await request.json())
            key = str(asked.pop("referralId", ANY)).lower()
            fault = Fault(**asked)
            fault = dataclasses.replace(fault, status=int(fault.status), seconds=float(fault.seconds))
        except (TypeError, ValueError):
            fields = ", ".join(field.name for field in dataclasses.fields(Fault))
            return web.json_response({"error": f"a fault has: referralId, {fields}"}, status=HTTPStatus.BAD_REQUEST)
        if fault.kind not in KINDS:
            kinds = ", ".join(sorted(KINDS))
            return web.json_response({"error": f"there are the kinds: {kinds}"}, status=HTTPStatus.BAD_REQUEST)
        if not 200 <= fault.status <= 599:
            return web.json_response({"error": "a status is from 200 to 599"}, status=HTTPStatus.BAD_REQUEST)
        self.faults[key] = fault
        return web.json_response({key: dataclasses.asdict(self.faults[key])})

    async def _lift_faults(self, _: web.Request) -> web.Response:
        self.faults.clear()
        return web.json_response({})


class _Refused(Exception):  # noqa: N818 - an answer, not an error of ours
    def __init__(self, status: int, retry_after: str | None = None, body: Any = None) -> None:
        self.status = status
        self.retry_after = retry_after
        self.body = body
        """Send a body in place of the documented error envelope."""


@web.middleware
async def _enveloped(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Add the headers of every response, and wrap errors in the documented envelope."""
    try:
        answer = await handler(request)
    except _Refused as refused:
        code = _CODES.get(refused.status, "generalException")
        inner = {"code": "inner", "innererror": {}}
        error = {"code": code, "message": "Do not match on this.", "target": "", "innerError": inner}
        answer = web.json_response(refused.body or {"error": error}, status=refused.status)
        if refused.retry_after is not None:
            answer.headers["Retry-After"] = refused.retry_after
    with contextlib.suppress(AssertionError):  # a truncated response has already sent its headers
        answer.headers["request-id"] = str(uuid.uuid4())
        answer.headers["x-ms-ags-diagnostic"] = '{"ServerInfo":{"DataCenter":"Local"}}'
        answer.headers["client-request-id"] = request.headers.get("client-request-id", "")
    return answer
