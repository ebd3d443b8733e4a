"""Signing a user in: the authorization code flow with PKCE, and the device code flow, against the stand-in."""

import asyncio
import html
import re
import uuid
import webbrowser
from collections.abc import Callable
from typing import Any

import aiohttp
import pytest

from local_stack.stand_ins.entra import USER
from local_stack.stand_ins.tokens import TENANT
from referral_fn.credentials import sign_in as module
from referral_fn.credentials.sign_in import Flow, SignInError, sign_in
from tests.credentials.conftest import Cloud

FLOWS: tuple[Flow, ...] = ("browser", "device")
Change = Callable[[dict[str, str]], None]


class Browser:
    """Opens the sign-in page, and submits its form to the loopback address, as a browser does."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session
        self._loop = asyncio.get_running_loop()
        self.change: Change = lambda _: None
        """Tampers with the form's fields."""
        self.statuses: list[int] = []
        """What the loopback address answered to each form."""
        self.visits: list[asyncio.Task[None]] = []

    def open(self, url: str) -> bool:
        """Called by the product in a thread."""
        self._loop.call_soon_threadsafe(lambda: self.visits.append(self._loop.create_task(self._visit(url))))
        return True

    async def _visit(self, url: str) -> None:
        async with self._session.get(url) as response:
            page = await response.text()
        action = re.search(r'action="(.*?)"', page)
        assert action, page
        genuine = {name: html.unescape(value) for name, value in re.findall(r'name="(\w+)" value="(.*?)"', page)}
        forged = dict(genuine)
        self.change(forged)
        for fields in (forged, genuine):
            async with self._session.post(html.unescape(action[1]) + "/", data=fields) as response:
                self.statuses.append(response.status)
            if forged == genuine:
                break


@pytest.fixture
async def browser(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> Browser:
    browser = Browser(cloud.session)
    monkeypatch.setattr(webbrowser, "open", browser.open)
    return browser


@pytest.mark.parametrize("flow", FLOWS)
async def test_a_user_signs_in_with_multi_factor_authentication(cloud: Cloud, browser: Browser, flow: Flow) -> None:
    shown: list[str] = []
    signed_in = await sign_in(cloud.settings("app-user"), flow=flow, show=shown.append)
    assert (signed_in.user, signed_in.tenant, signed_in.multi_factor) == (USER, TENANT, True)
    assert signed_in.refresh_token in cloud.issuer.secrets
    assert signed_in.refresh_token not in repr(signed_in)
    assert not cloud.issuer.secrets & set(re.findall(r"[\w.-]+", " ".join(shown)))
    (claims,) = cloud.entra.claims_requested
    assert claims["id_token"]["amr"] == {"essential": True, "values": ["mfa"]}
    assert len(shown) == 1


@pytest.mark.parametrize("flow", FLOWS)
async def test_a_user_who_signed_in_with_a_single_factor_is_refused(cloud: Cloud, browser: Browser, flow: Flow) -> None:
    cloud.entra.methods = ["pwd"]
    with pytest.raises(SignInError, match="without multi-factor authentication, which Partner Center requires"):
        await sign_in(cloud.settings("app-user"), flow=flow, show=lambda _: None)


async def test_a_token_that_says_nothing_about_it_is_accepted_as_unknown(cloud: Cloud, browser: Browser) -> None:
    cloud.entra.methods = None
    signed_in = await sign_in(cloud.settings("app-user"), show=lambda _: None)
    assert signed_in.multi_factor is None


@pytest.mark.parametrize("flow", FLOWS)
async def test_a_user_of_another_tenant_is_refused(cloud: Cloud, browser: Browser, flow: Flow) -> None:
    cloud.entra.home_tenant = str(uuid.uuid4())
    with pytest.raises(SignInError, match=f"the user is of tenant {cloud.entra.home_tenant}"):
        await sign_in(cloud.settings("app-user"), flow=flow, show=lambda _: None)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"REFERRALS_APP_TENANT_ID": str(uuid.uuid4())},
            "Entra ID cannot be reached, or has no tenant REFERRALS_APP_TENANT_ID",
        ),
        ({"REFERRALS_APP_CLIENT_ID": str(uuid.uuid4())}, "REFERRALS_APP_CLIENT_ID names no app of the tenant"),
    ],
)
async def test_invalid_settings_are_named(cloud: Cloud, changes: dict[str, str], sentence: str) -> None:
    with pytest.raises(SignInError, match=sentence):
        await sign_in(cloud.settings("app-user", **changes), flow="device", show=lambda _: None)


@pytest.mark.parametrize("flow", FLOWS)
async def test_a_refusal_is_explained_without_names(cloud: Cloud, browser: Browser, flow: Flow) -> None:
    cloud.entra.refusal = 53003
    with pytest.raises(SignInError, match="AADSTS53003: conditional access refuses the sign-in") as raised:
        await sign_in(cloud.settings("app-user"), flow=flow, show=lambda _: None)
    assert USER not in str(raised.value)


@pytest.mark.parametrize("state", ["", "forged"])
async def test_an_answer_with_another_state_is_refused_and_the_right_one_still_accepted(
    cloud: Cloud, browser: Browser, state: str
) -> None:
    browser.change = lambda fields: fields.update(state=state, code="planted")
    assert (await sign_in(cloud.settings("app-user"), show=lambda _: None)).user == USER
    assert browser.statuses == [400, 200]


async def test_a_code_without_its_verifier_is_worthless(cloud: Cloud, browser: Browser) -> None:
    """A code that was intercepted: PKCE is what protects it."""
    codes: list[str] = []
    browser.change = lambda fields: codes.append(fields["code"])
    signing_in = asyncio.create_task(sign_in(cloud.settings("app-user"), show=lambda _: None))
    await signing_in
    assert cloud.entra.requests["authorization_code"] == 1
    endpoint = f"{cloud.entra_url}/{TENANT}/oauth2/v2.0/token"
    form = {"grant_type": "authorization_code", "client_id": cloud.environment["REFERRALS_APP_CLIENT_ID"]}
    async with cloud.session.post(endpoint, data={**form, "code": codes[0], "code_verifier": "x"}) as response:
        assert (await response.json())["error"] == "invalid_grant"


@pytest.mark.parametrize(
    "fields", [{"code": "planted"}, {"error": "access_denied"}, {"error": "x", "error_description": USER}], ids=repr
)
async def test_an_answer_that_entra_id_did_not_give_ends_in_a_sentence(
    cloud: Cloud, browser: Browser, fields: dict[str, str]
) -> None:
    def forge(form: dict[str, str]) -> None:
        state = form["state"]
        form.clear()
        form.update(fields, state=state)

    browser.change = forge
    with pytest.raises(SignInError) as raised:
        await sign_in(cloud.settings("app-user"), show=lambda _: None)
    assert USER not in str(raised.value)


async def test_nobody_signs_in(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    def open_nothing(_: str) -> bool:
        return False

    monkeypatch.setattr(webbrowser, "open", open_nothing)
    monkeypatch.setattr(module, "SIGN_IN_TIME", 0.1)
    with pytest.raises(SignInError, match="nobody signed in"):
        await sign_in(cloud.settings("app-user"), show=lambda _: None)


async def test_the_loopback_address_is_closed_afterwards(cloud: Cloud, browser: Browser) -> None:
    urls: list[str] = []
    await sign_in(cloud.settings("app-user"), show=urls.append)
    port = re.search(r"localhost%3A(\d+)", urls[0])
    assert port
    with pytest.raises(aiohttp.ClientConnectorError):
        await cloud.session.post(f"http://127.0.0.1:{port[1]}/", data={"code": "late"})


def test_the_claim_counts_whatever_else_it_holds() -> None:
    claims: list[tuple[dict[str, Any], bool | None]] = [
        ({}, None),
        ({"amr": None}, None),
        ({"amr": "mfa"}, None),
        ({"amr": []}, False),
        ({"amr": ["pwd", 1, None]}, False),
        ({"amr": ["pwd", "mfa"]}, True),
        ({"amr": ["ngcmfa"]}, True),
    ]
    assert [module._proves_multi_factor(claim) for claim, _ in claims] == [expected for _, expected in claims]  # noqa: SLF001
