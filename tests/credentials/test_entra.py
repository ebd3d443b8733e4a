"""The two kinds of token from Entra ID, and its refusals, against the stand-ins."""

import asyncio
import time
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from local_stack.stand_ins.entra import USER
from referral_fn.credentials import aadsts, consent_check, entra
from referral_fn.credentials.token_source import TokenSource
from referral_fn.errors import RetryableError
from tests.credentials.conftest import PARTNER_CENTER, SECRET, Cloud

pytestmark = pytest.mark.usefixtures("short_pauses")

AUDIENCE = "https://api.partner.microsoft.com"


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entra, "REREAD_AFTER", 0.01)


async def failure(cloud: Cloud, auth: str) -> str:
    """The message of the error that asking for a token ends with."""
    tokens = cloud.tokens(auth)
    with pytest.raises(RetryableError) as raised:
        await tokens.partner_center.token(PARTNER_CENTER)
    assert raised.value.reason == "token-unavailable"
    return str(raised.value)


async def test_the_app_gets_a_token_without_a_secret(cloud: Cloud) -> None:
    tokens = cloud.tokens("federated-app")
    claims = cloud.issuer.check(await tokens.partner_center.token(PARTNER_CENTER), AUDIENCE)
    assert claims["roles"] == ["Referrals.Read"]


@pytest.mark.parametrize(("age", "stored"), [(0.9, False), (1.1, True)])
async def test_the_app_with_a_user_gets_a_token_and_stores_the_new_refresh_token_once_a_day(
    cloud: Cloud, age: float, stored: bool
) -> None:
    before = cloud.vault.store(SECRET, cloud.entra.new_refresh_token(), age_days=age).value
    tokens = cloud.tokens("app-user")
    claims = cloud.issuer.check(await tokens.partner_center.token(PARTNER_CENTER), AUDIENCE)
    assert (claims["scp"], claims["upn"]) == ("user_impersonation", USER)
    assert (cloud.vault.newest(SECRET) != before) is stored
    assert len(cloud.vault.versions[SECRET]) == (3 if stored else 2)


@pytest.mark.parametrize("public", [True, False], ids=["public", "confidential"])
async def test_a_refresh_token_is_redeemed_as_the_kind_of_client_that_it_was_issued_to(
    cloud: Cloud, public: bool
) -> None:
    cloud.vault.store(SECRET, cloud.entra.new_refresh_token(public=public))
    tokens = cloud.tokens("app-user")
    first = await tokens.partner_center.token(PARTNER_CENTER)
    calls = cloud.entra.requests["refresh_token"]
    assert calls == (1 if public else 2)
    assert cloud.identity.requests["api://AzureADTokenExchange"] == (0 if public else 1)
    assert await tokens.partner_center.token(PARTNER_CENTER, refused=first) != first
    assert cloud.entra.requests["refresh_token"] == calls + 1


async def test_a_consent_of_the_other_kind_is_noticed_in_either_direction(cloud: Cloud) -> None:
    cloud.entra.stated_lifetime = 0  # due for renewal at once
    tokens = cloud.tokens("app-user")
    for public in (True, False, True):
        cloud.vault.store(SECRET, cloud.entra.new_refresh_token(public=public))
        assert await tokens.partner_center.token(PARTNER_CENTER)


async def test_a_refused_assertion_is_not_sent_over_and_over(cloud: Cloud) -> None:
    cloud.entra.subject = "somebody"
    cloud.vault.store(SECRET, cloud.entra.new_refresh_token(public=False))
    assert "AADSTS700213" in await failure(cloud, "app-user")
    assert cloud.entra.requests["refresh_token"] == 2


async def test_a_refused_token_is_replaced_and_a_hundred_refusals_store_one_refresh_token(cloud: Cloud) -> None:
    cloud.vault.store(SECRET, cloud.entra.new_refresh_token(), age_days=2)
    tokens = cloud.tokens("app-user")
    first = await tokens.partner_center.token(PARTNER_CENTER)
    for _ in range(100):
        refused = await tokens.partner_center.token(PARTNER_CENTER)
        await tokens.partner_center.token(PARTNER_CENTER, refused=refused)
    assert await tokens.partner_center.token(PARTNER_CENTER) != first
    assert cloud.entra.requests["refresh_token"] == 2
    assert len(cloud.vault.versions[SECRET]) == 3


async def test_a_refresh_token_that_another_instance_replaced_is_read_again(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(entra, "REREAD_AFTER", 0.5)
    cloud.vault.store(SECRET, "redeemed by the other instance")
    tokens = cloud.tokens("app-user")
    request = asyncio.create_task(tokens.partner_center.token(PARTNER_CENTER))
    while not cloud.entra.requests["refresh_token"]:
        await asyncio.sleep(0.01)
    cloud.vault.store(SECRET, cloud.entra.new_refresh_token())
    assert await request
    assert (cloud.entra.requests["refresh_token"], tokens.lapsed) == (2, None)


@pytest.mark.e2e  # for the time it takes
async def test_two_instances_survive_fifty_rotations_of_one_secret(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(entra, "REREAD_AFTER", 0.5)
    monkeypatch.setattr(entra, "STORE_AFTER", timedelta(0))
    cloud.entra.stated_lifetime = 0  # due for renewal at once
    cloud.entra.single_use = True  # stricter than the real one
    instances = [cloud.tokens("app-user"), cloud.tokens("app-user")]

    async def keep_asking(source: TokenSource) -> None:
        while len(cloud.vault.versions[SECRET]) < 51:
            await source.token(PARTNER_CENTER)

    await asyncio.gather(*(keep_asking(instance.partner_center) for instance in instances))
    for instance in instances:
        assert await instance.partner_center.token(PARTNER_CENTER)
        assert instance.lapsed is None


@pytest.mark.parametrize(
    ("auth", "change", "sentence"),
    [
        ("federated-app", {"subject": "somebody"}, "AADSTS700213: no federated credential of the app has the managed"),
        ("federated-app", {"issuer": "https://elsewhere/"}, "AADSTS700211: no federated credential of the app has the"),
        *(
            (auth, {"refusal": number}, aadsts.advice(str(number)))
            for auth in ("federated-app", "app-user")
            for number in (65001, 700082, 50173, 50076, 5000225, 53003, 90002, 424242)
        ),
    ],
)
async def test_a_refusal_is_explained_in_a_sentence_without_names(
    cloud: Cloud, caplog: pytest.LogCaptureFixture, auth: str, change: dict[str, Any], sentence: str
) -> None:
    for name, value in change.items():
        setattr(cloud.entra, name, value)
    message = await failure(cloud, auth)
    assert sentence in message
    assert USER not in f"{message} {caplog.text}"
    assert '"event":"token.failed"' in caplog.text
    assert ('"event":"consent.lapsed"' in caplog.text) is (auth == "app-user" and "refusal" in change)


async def test_a_revoked_consent_is_reported_as_lapsed_until_a_new_one_works(cloud: Cloud) -> None:
    tokens = cloud.tokens("app-user")
    cloud.entra.revoke()
    with pytest.raises(RetryableError):
        await tokens.partner_center.token(PARTNER_CENTER)
    assert tokens.lapsed == aadsts.advice("50173")
    assert await tokens.check_consent() == tokens.lapsed
    cloud.vault.store(SECRET, cloud.entra.new_refresh_token())
    assert await tokens.partner_center.token(PARTNER_CENTER)
    assert tokens.lapsed is None


async def test_a_lapsed_consent_is_forgotten_after_five_minutes_in_which_nobody_asked_for_a_token(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = cloud.tokens("app-user")
    cloud.entra.revoke()
    with pytest.raises(RetryableError):
        await tokens.partner_center.token(PARTNER_CENTER)
    now = time.monotonic()
    monkeypatch.setattr(consent_check, "time", SimpleNamespace(monotonic=lambda: now + consent_check.INTERVAL - 5))
    assert await tokens.check_consent() == aadsts.advice("50173")
    monkeypatch.setattr(consent_check, "time", SimpleNamespace(monotonic=lambda: now + consent_check.INTERVAL))
    assert await tokens.check_consent() is None


async def test_a_refresh_token_that_cannot_be_stored_is_logged_and_does_no_harm(
    cloud: Cloud, caplog: pytest.LogCaptureFixture
) -> None:
    cloud.vault.store(SECRET, cloud.entra.new_refresh_token(), age_days=2)
    cloud.vault.read_only = True
    tokens = cloud.tokens("app-user")
    assert await tokens.partner_center.token(PARTNER_CENTER)
    assert '"event":"consent.not-stored"' in caplog.text
    assert "Key Vault Secrets Officer" in caplog.text
    assert len(cloud.vault.versions[SECRET]) == 2


async def test_an_entra_id_that_cannot_be_reached_is_named(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_AUTHORITY_HOST", "https://127.0.0.1:9")
    assert "Entra ID cannot be reached: ClientConnectorError" in await failure(cloud, "federated-app")


async def test_other_modes_have_no_consent_to_check(cloud: Cloud) -> None:
    tokens = cloud.tokens("managed-identity")
    assert await tokens.check_consent() is None
