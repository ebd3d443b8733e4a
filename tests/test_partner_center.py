"""The referrals client against a scripted API: what each answer means, and what is sent."""

import asyncio
import dataclasses
import json
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from azure.core.credentials import AccessToken

from local_stack.stand_ins.serving import serving
from referral_fn.credentials import consent_check
from referral_fn.credentials.token_source import TokenSource
from referral_fn.errors import PermanentError, RetryableError
from referral_fn.partner_center import MAX_ANSWER, PartnerCenter
from referral_fn.referrals.request import ReferralRequest, Trace
from referral_fn.settings import read_settings
from tests.documents import SEED_ID, seed
from tests.environment import ENVIRONMENT

pytestmark = pytest.mark.usefixtures("short_pauses")

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


class NumberedTokens:
    """A credential whose tokens are counted: token-1, token-2 …"""

    def __init__(self) -> None:
        self.requests = 0

    async def get_token(self, *_: str) -> AccessToken:
        self.requests += 1
        return AccessToken(f"token-{self.requests}", int(time.time()) + 3600)

    async def close(self) -> None:
        pass


class Api:
    """Partner Center: answers every request by `answer`, and records it."""

    def __init__(self) -> None:
        self.answer: Answer = answering(seed())
        self.requests: list[web.Request] = []
        self.url = ""
        self.app = web.Application()
        self.app.router.add_get("/referrals/{id}", self._answer)
        self.app.router.add_get("/elsewhere", self._answer)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request)
        return await self.answer(request)

    @property
    def tokens(self) -> list[str]:
        return [request.headers["Authorization"].removeprefix("Bearer ") for request in self.requests]


def answering(document: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Answer:
    async def answer(_: web.Request) -> web.Response:
        return web.json_response(document, status=status, headers=headers)

    return answer


def answering_bytes(body: bytes, content_type: str = "application/json") -> Answer:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=body, content_type=content_type)

    return answer


async def reset(request: web.Request) -> web.Response:
    assert request.transport
    request.transport.abort()
    return web.Response()


async def reset_in_the_body(request: web.Request) -> web.StreamResponse:
    partial = web.StreamResponse(headers={"Content-Length": "1000", "Content-Type": "application/json"})
    await partial.prepare(request)
    await partial.write(b'{"id": ')
    return await reset(request)


async def stall(_: web.Request) -> web.Response:
    await asyncio.Event().wait()
    return web.Response()


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    api = Api()
    async with serving(api.app) as api.url:
        yield api


@pytest.fixture
def credential() -> NumberedTokens:
    return NumberedTokens()


@pytest.fixture
async def client(api: Api, credential: NumberedTokens) -> AsyncIterator[PartnerCenter]:
    settings = read_settings({**ENVIRONMENT, "REFERRALS_RETRY_BUDGET": "1.5"})
    settings = dataclasses.replace(settings, referrals_url=f"{api.url}/referrals/{{referralId}}")  # without TLS
    async with aiohttp.ClientSession() as session:
        yield PartnerCenter(settings, session, TokenSource(lambda: credential))


REQUEST = ReferralRequest(SEED_ID, trace=Trace("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "a=b"))


async def outcome(client: PartnerCenter) -> PermanentError | RetryableError:
    with pytest.raises((PermanentError, RetryableError)) as raised:
        await client.fetch(REQUEST)
    error = raised.value
    assert isinstance(error, PermanentError | RetryableError)
    return error


async def test_a_referral_is_fetched_with_what_the_api_wants(api: Api, client: PartnerCenter) -> None:
    api.answer = answering(seed(), headers={"request-id": "42"})
    fetched = await client.fetch(REQUEST)
    assert fetched.referral.id == SEED_ID
    (request,) = api.requests
    assert request.path == f"/referrals/{SEED_ID}"
    assert request.headers["Accept"] == "application/json"
    assert request.headers["Authorization"] == "Bearer token-1"
    assert (request.headers["traceparent"], request.headers["tracestate"]) == (
        REQUEST.trace.traceparent,
        REQUEST.trace.tracestate,
    )
    identifier = request.headers["client-request-id"]
    assert str(uuid.UUID(identifier)) == identifier
    assert fetched.upstream == {"status": 200, "requestId": "42", "clientRequestId": identifier}


PERMANENT = {
    "referral-not-found": (404, 410),
    "upstream-refused": (400, 405, 406, 409, 411, 412, 413, 415, 416, 422, 501),
}
RETRYABLE = {
    "upstream-unavailable": (402, 408, 418, 423, 425, 500, 502, 503, 504, 507, 509, 599, 201, 204, 301, 302, 307),
    "upstream-throttled": (429,),
    "upstream-denied": (401, 403),
}


@pytest.mark.parametrize(
    ("reason", "status"), [(reason, status) for reason in PERMANENT for status in PERMANENT[reason]]
)
async def test_a_status_that_will_not_change_is_permanent(
    api: Api, client: PartnerCenter, reason: str, status: int
) -> None:
    api.answer = answering({"error": {"code": "itemNotFound", "message": "Sue Smith"}}, status)
    error = await outcome(client)
    assert isinstance(error, PermanentError)
    assert (error.reason, str(error), len(api.requests)) == (reason, f"Partner Center answered {status}", 1)
    assert error.upstream == {
        "status": status,
        "code": "itemNotFound",
        "clientRequestId": api.requests[0].headers["client-request-id"],
    }


@pytest.mark.parametrize(
    ("reason", "status"), [(reason, status) for reason in RETRYABLE for status in RETRYABLE[reason]]
)
async def test_a_status_that_may_change_is_retryable(api: Api, client: PartnerCenter, reason: str, status: int) -> None:
    api.answer = answering({"error": {"code": "x"}}, status, {"Location": "/elsewhere"})
    error = await outcome(client)
    assert isinstance(error, RetryableError)
    assert (error.reason, error.quick) == (reason, reason != "upstream-denied")
    assert len(api.requests) == {"upstream-denied": 2 if status == 401 else 1}.get(reason, 3)
    assert not [request for request in api.requests if request.path == "/elsewhere"]
    assert len({request.headers["client-request-id"] for request in api.requests}) == len(api.requests)


ODD_ANSWERS = {
    "truncated": (answering_bytes(json.dumps(seed()).encode()[:-5]), "upstream-unavailable"),
    "garbage": (answering_bytes(b"\x00\xff garbage"), "upstream-unavailable"),
    "html": (answering_bytes(b"<html>Sign in</html>", "text/html"), "upstream-unavailable"),
    "long html": (answering_bytes(b"<html>" + b" " * 2 * MAX_ANSWER, "text/html"), "upstream-unavailable"),
    "reset": (reset, "upstream-unavailable"),
    "reset in the body": (reset_in_the_body, "upstream-unavailable"),
    "stall": (stall, "upstream-timeout"),
    "too long": (answering_bytes(b" " * (MAX_ANSWER + 1)), "event-too-large"),
    "not an object": (answering([]), "invalid-referral"),
    "another referral": (answering(seed(id="00000000-0000-0000-0000-000000000000")), "invalid-referral"),
}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.e2e if name == "stall" else ()) for name in ODD_ANSWERS]
)
async def test_an_answer_that_is_not_the_referral(api: Api, client: PartnerCenter, name: str) -> None:
    api.answer, reason = ODD_ANSWERS[name]
    error = await outcome(client)
    assert error.reason == reason
    assert isinstance(error, RetryableError) is (reason.startswith("upstream-"))


async def test_an_api_that_recovers_within_the_budget_is_not_noticed(api: Api, client: PartnerCenter) -> None:
    async def second_time_lucky(request: web.Request) -> web.StreamResponse:
        api.answer = answering(seed())
        return await reset(request)

    api.answer = second_time_lucky
    assert (await client.fetch(REQUEST)).referral.id == SEED_ID


class TestUnauthorized:
    async def test_a_new_token_is_tried_once(self, api: Api, client: PartnerCenter) -> None:
        async def only_the_second(request: web.Request) -> web.StreamResponse:
            accepted = request.headers["Authorization"] == "Bearer token-2"
            return await (answering(seed()) if accepted else answering({}, 401))(request)

        api.answer = only_the_second
        await client.fetch(REQUEST)
        assert api.tokens == ["token-1", "token-2"]

    async def test_a_hundred_in_a_row_ask_for_two_tokens_and_send_none_twice_at_once(
        self, api: Api, client: PartnerCenter, credential: NumberedTokens
    ) -> None:
        api.answer = answering({}, 401)
        for _ in range(100):
            assert (await outcome(client)).reason == "upstream-denied"
        assert credential.requests == 2
        assert api.tokens == ["token-1", "token-2", *["token-2"] * 99]

    @pytest.mark.e2e  # for the time it takes
    async def test_a_token_request_that_hangs_does_not_outlast_the_budget(
        self, api: Api, client: PartnerCenter, credential: NumberedTokens, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def hang(*_: str) -> AccessToken:
            if credential.requests:
                await asyncio.Event().wait()
            credential.requests += 1
            return AccessToken("token-1", int(time.time()) + 3600)

        monkeypatch.setattr(credential, "get_token", hang)
        api.answer = answering({}, 401)
        started = time.monotonic()
        error = await outcome(client)
        assert error.reason == "token-unavailable"
        assert time.monotonic() - started < 5, "the budget is 1.5, and the machine may be slow; but PATIENCE is 8"


MFA: list[tuple[Any, dict[str, str]]] = [
    ({"code": 900421, "description": "d", "data": [], "source": "PartnerFD"}, {}),
    ({"code": "900421", "description": "d"}, {}),
    ({"error": {"code": 900421, "message": "m"}}, {}),
    ({"error": {"code": "900421", "message": "m"}}, {}),
    ({"error": {"code": "unauthenticated", "innerError": {"code": "x", "innererror": {"code": "900421"}}}}, {}),
    (
        {"error": {"code": "unauthenticated", "message": "MFA required"}},
        {"WWW-Authenticate": 'Bearer error="invalid_token"'},
    ),
    ({}, {"WWW-Authenticate": 'Bearer error="invalid_token", error_description="MFA required"'}),
]
NOT_MFA: list[tuple[Any, dict[str, str]]] = [
    ({"error": {"code": "unauthenticated", "message": "MFA required"}}, {}),
    ({"error": {"code": "unauthenticated", "message": "900421"}}, {}),
    ({"error": {"code": 9004210}}, {}),
    ({"data": {"code": 900421}}, {}),
    ({}, {"WWW-Authenticate": 'Bearer error="invalid_token"'}),
    ({}, {"WWW-Authenticate": 'Bearer error="insufficient_claims"'}),
    ([900421], {}),
]


class TestMultiFactorEnforcement:
    @pytest.mark.parametrize(("body", "headers"), MFA, ids=str)
    async def test_each_form_is_recognized(
        self, api: Api, client: PartnerCenter, caplog: pytest.LogCaptureFixture, body: Any, headers: dict[str, str]
    ) -> None:
        api.answer = answering(body, 401, headers)
        error = await outcome(client)
        assert isinstance(error, RetryableError)
        assert (error.reason, error.quick) == ("mfa-required", False)
        assert "run `referral-fn consent`" in str(error)
        assert [record.levelname for record in caplog.records if '"upstream.mfa-required"' in record.message] == [
            "ERROR"
        ]
        assert '"upstream.denied"' not in caplog.text

    @pytest.mark.parametrize(("body", "headers"), NOT_MFA, ids=str)
    async def test_nothing_else_is_mistaken_for_it(
        self, api: Api, client: PartnerCenter, body: Any, headers: dict[str, str]
    ) -> None:
        api.answer = answering(body, 401, headers)
        assert (await outcome(client)).reason == "upstream-denied"
        assert client.mfa_required.current is None

    async def test_another_status_with_the_code_is_not_it(self, api: Api, client: PartnerCenter) -> None:
        api.answer = answering({"code": 900421}, 403)
        assert (await outcome(client)).reason == "upstream-denied"

    async def test_the_state_for_health_is_kept_until_partner_center_accepts_a_token(
        self, api: Api, client: PartnerCenter
    ) -> None:
        api.answer = answering({"code": 900421}, 401)
        assert (await outcome(client)).upstream == {
            "status": 401,
            "code": "900421",
            "clientRequestId": api.requests[-1].headers["client-request-id"],
        }
        assert "consent" in (client.mfa_required.current or "")
        api.answer = answering({}, 404)
        await outcome(client)
        assert client.mfa_required.current is None

    async def test_the_state_for_health_is_forgotten_after_five_minutes_without_a_call(
        self, api: Api, client: PartnerCenter, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        api.answer = answering({"code": 900421}, 401)
        await outcome(client)
        later = time.monotonic() + consent_check.INTERVAL
        monkeypatch.setattr(consent_check, "time", SimpleNamespace(monotonic=lambda: later))
        assert client.mfa_required.current is None


class TestRetryAfter:
    @pytest.mark.parametrize("status", [429, 503])
    @pytest.mark.parametrize(("header", "seconds"), [("120", 120), ("604800", 3600), ("3600000", 3600)])
    async def test_it_holds_back_every_other_request_for_a_quarter_of_an_hour_at_most(
        self, api: Api, client: PartnerCenter, status: int, header: str, seconds: float
    ) -> None:
        api.answer = answering({}, status, {"Retry-After": header})
        error = await outcome(client)
        assert isinstance(error, RetryableError)
        assert error.retry_after == seconds
        api.answer = answering(seed())
        error = await outcome(client)
        assert isinstance(error, RetryableError)
        assert (error.reason, error.attempt_consumed) == ("upstream-throttled", False)
        assert error.retry_after == pytest.approx(min(seconds, 900), abs=5)
        assert len(api.requests) == 1

    @pytest.mark.parametrize("header", ["", "soon", "-1", "\u00b2", "Wed, 21 Oct 99999999999999999999 07:28:00 GMT"])
    async def test_one_that_says_nothing_leaves_the_gate_open(
        self, api: Api, client: PartnerCenter, header: str
    ) -> None:
        api.answer = answering({}, 429, {"Retry-After": header})
        assert len([await outcome(client)]) == 1
        api.answer = answering(seed())
        assert (await client.fetch(REQUEST)).referral.id == SEED_ID


@pytest.mark.parametrize(
    "body",
    [b"", b"null", b"[]", b'"text"', b'{"error": 1}', b'{"error": {"code": {}}}', b'{"code": "Sue Smith"}', b"\xff"],
)
async def test_an_error_body_of_any_shape_has_no_code(api: Api, client: PartnerCenter, body: bytes) -> None:
    async def refuse(_: web.Request) -> web.Response:
        return web.Response(status=404, body=body)

    api.answer = refuse
    error = await outcome(client)
    assert error.reason == "referral-not-found"
    assert "code" not in (error.upstream or {})
