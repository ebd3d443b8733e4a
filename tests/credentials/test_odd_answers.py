"""Whatever the identity endpoint, Entra ID and Key Vault answer, the result is a token or a RetryableError."""

import json
import re
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from local_stack.stand_ins.certificates import Authority
from local_stack.stand_ins.serving import serving
from referral_fn.credentials import entra, token_source, vault
from referral_fn.credentials.entra import Tokens
from referral_fn.credentials.token_source import TokenSource
from referral_fn.errors import RetryableError
from referral_fn.settings import read_credential_settings

pytestmark = pytest.mark.e2e  # not by what it uses: thousands of answers on sockets take seconds

SCOPE = "https://api.partner.microsoft.com/.default"
ASSERTION = {"access_token": "assertion", "expires_on": "9999999999", "resource": "api://AzureADTokenExchange"}
GOOD = {
    "access_token": "a.b.c",
    "expires_in": 3600,
    "expires_on": "9999999999",
    "refresh_token": "0.new",
    "value": "0.old",
}


class NastyService:
    """All three services on one socket. Each answers as documented, unless it has an answer of its own."""

    def __init__(self) -> None:
        self.status, self.body, self.content_type = 200, b"", "application/json"
        self.nasty = ""
        self.url = ""
        self.app = web.Application()
        self.app.router.add_get("/msi/token", self._identity)
        self.app.router.add_post("/tenant/oauth2/v2.0/token", self._entra)
        self.app.router.add_route("*", "/secrets/a", self._vault)

    async def _identity(self, request: web.Request) -> web.Response:
        genuine = {**ASSERTION, "resource": request.query["resource"], "token_type": "Bearer"}
        return self._answer("identity", genuine)

    async def _entra(self, _: web.Request) -> web.Response:
        return self._answer("entra", GOOD)

    async def _vault(self, _: web.Request) -> web.Response:
        return self._answer("vault", GOOD)

    def _answer(self, service: str, genuine: dict[str, Any]) -> web.Response:
        if service != self.nasty:
            return web.json_response(genuine)
        headers = {"Content-Type": self.content_type} if self.content_type else {}
        return web.Response(status=self.status, body=self.body, headers=headers)


@pytest.fixture(scope="module")
async def nasty(authority: Authority) -> AsyncIterator[NastyService]:
    service = NastyService()
    async with serving(service.app, tls=authority.server_context()) as url, serving(service.app) as identity_url:
        service.url = url
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("IDENTITY_ENDPOINT", f"{identity_url}/msi/token")
            patch.setenv("IDENTITY_HEADER", "x")
            patch.setenv("AZURE_AUTHORITY_HOST", url)
            patch.setattr(entra, "REREAD_AFTER", 0)
            patch.setattr(vault, "BUDGET", 0.2)
            patch.setattr(token_source, "PATIENCE", 0.3)  # azure-identity waits between its own retries
            yield service


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9) | st.integers(10**15, 10**400),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
_odd = _json | st.sampled_from(
    ["", "a b", "a\r\nb: c", "\u2028", "x" * 70_000, "-1", "1e400", "9" * 400, -1, 0, 1, 3600.5]
)
_member = st.sampled_from([*GOOD, "error", "error_description", "resource", "refresh_in", "token_type", "attributes"])
_document = st.dictionaries(_member, _odd, max_size=4).map(lambda odd: {**GOOD, **odd}) | st.dictionaries(_member, _odd)
_bodies = (_document | _json).map(lambda value: json.dumps(value).encode()) | st.binary(max_size=40)
_types = st.sampled_from(["application/json", "text/html", "application/json; charset=utf-16", "x", ""])
_statuses = st.sampled_from([200, 200, 200, 201, 204, 302, 400, 401, 403])


@pytest.mark.parametrize(
    ("auth", "service"),
    [("managed-identity", "identity"), ("federated-app", "entra"), ("app-user", "entra"), ("app-user", "vault")],
)
@example(200, json.dumps({**GOOD, "resource": 1}).encode(), "application/json")
@example(200, json.dumps({**GOOD, "access_token": 1}).encode(), "application/json")
@example(200, json.dumps({**GOOD, "access_token": ["a"]}).encode(), "application/json")
@example(200, json.dumps({**GOOD, "expires_in": None}).encode(), "application/json")
@example(200, json.dumps({**GOOD, "expires_on": {}}).encode(), "application/json")
@example(200, json.dumps({**GOOD, "refresh_token": 1}).encode(), "application/json")
@example(200, b"[" * 100_000, "application/json")
@example(400, b'{"error": {"a": 1}, "error_description": [1]}', "application/json")
@given(status=_statuses, body=_bodies, content_type=_types)
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_any_answer_ends_in_a_token_or_a_retryable_error(
    nasty: NastyService,
    session: aiohttp.ClientSession,
    auth: str,
    service: str,
    status: int,
    body: bytes,
    content_type: str,
) -> None:
    nasty.nasty, nasty.status, nasty.body, nasty.content_type = service, status, body, content_type
    environment = {
        "REFERRALS_AUTH": auth,
        "REFERRALS_APP_TENANT_ID": "tenant",
        "REFERRALS_APP_CLIENT_ID": "client",
        "REFERRALS_REFRESH_TOKEN_SECRET": f"{nasty.url}/secrets/a",
    }
    tokens = Tokens(read_credential_settings(environment), session)
    try:
        await _twice(tokens.partner_center)
        assert tokens.lapsed is None or isinstance(tokens.lapsed, str)
        assert isinstance(await tokens.check_consent(), str | None)
    finally:
        await tokens.close()


async def _twice(source: TokenSource) -> None:
    """Ask for a token, and have it renewed as if it was refused."""
    refused: str | RetryableError | None = None
    for _ in range(2):
        try:
            refused = await source.token(SCOPE, refused=refused if isinstance(refused, str) else None)
        except RetryableError as error:
            refused = error
        if isinstance(refused, str):
            assert re.fullmatch(r"[\x21-\x7e]+", refused)
        else:
            assert refused.reason == "token-unavailable"
            assert len(str(refused)) < 1000
