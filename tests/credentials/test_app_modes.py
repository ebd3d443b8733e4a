"""The credentials that Partner Center's own API accepts: the app, and the app with a user; from end to end."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator

import pytest

from local_stack.stack import REFRESH_TOKEN_SECRET, Stack
from local_stack.stand_ins.entra import USER, Entra
from local_stack.stand_ins.tokens import TENANT
from referral_fn.credentials import aadsts
from referral_fn.credentials.vault import audience
from referral_fn.settings import SettingsError, read_credential_settings
from tests.conftest import App, StartApp, eventually_holds, until
from tests.documents import SEED_ID, seed

EXCHANGE = "api://AzureADTokenExchange"
VAULT = "https://vault.azure.net"


@pytest.fixture
async def entra(stack: Stack) -> AsyncIterator[Entra]:
    """Entra ID as it was set up: a user has consented, nothing is wrong. And so again afterwards."""
    entra, vault = stack.entra, stack.vault
    before = (entra.lifetime, entra.subject, entra.issuer)
    vault.store(REFRESH_TOKEN_SECRET, entra.new_refresh_token())
    yield entra
    entra.lifetime, entra.subject, entra.issuer = before
    entra.refusal, entra.single_use, entra.home_tenant = None, False, TENANT
    vault.versions.clear()
    vault.failure, vault.read_only = None, False


@pytest.mark.parametrize("auth", ["managed-identity", "federated-app", "app-user"])
async def test_each_mode_forwards_the_seeds_referral(start_app: StartApp, entra: Entra, auth: str) -> None:
    async with start_app(REFERRALS_AUTH=auth) as app:
        app.stack.partner_center.wants_user = auth == "app-user"
        answer, event = await app.forward(SEED_ID)
        assert (answer.status, event["subject"]) == (200, SEED_ID)
        await app.queues.requests.send(SEED_ID)
        assert len(await eventually_holds(app.queues.events, 2)) == 2
        nothing_is_told(app, json.dumps(event))


async def test_an_app_without_a_user_is_refused_by_todays_api(start_app: StartApp, entra: Entra) -> None:
    async with start_app(REFERRALS_AUTH="federated-app") as app:
        app.stack.partner_center.wants_user = True
        answer, problem = await app.forward(SEED_ID)
        assert (answer.status, problem["type"]) == (502, "urn:referral-fn:problem:upstream-denied")
        assert entra.requests["client_credentials"]


@pytest.mark.parametrize(
    ("auth", "grant", "hops"),
    [("federated-app", "client_credentials", {EXCHANGE}), ("app-user", "refresh_token", {EXCHANGE, VAULT})],
)
async def test_a_hundred_cold_invocations_cost_one_token_request_per_hop(
    start_app: StartApp, entra: Entra, auth: str, grant: str, hops: set[str]
) -> None:
    async with start_app(REFERRALS_AUTH=auth, REFERRALS_RETRY_BUDGET="20") as app:
        identity, granted = app.stack.identity.requests.copy(), entra.requests[grant]
        answers = await asyncio.gather(*(app.forward(SEED_ID) for _ in range(100)))
        assert {answer.status for answer, _ in answers} == {200}
        assert entra.requests[grant] - granted == 1
        asked = app.stack.identity.requests - identity
        assert {resource: count for resource, count in asked.items() if resource != "https://storage.azure.com"} == (
            dict.fromkeys(hops, 1)
        )


@pytest.mark.parametrize(("auth", "grant"), [("federated-app", "client_credentials"), ("app-user", "refresh_token")])
async def test_a_token_that_runs_out_is_renewed_and_no_referral_fails(
    start_app: StartApp, entra: Entra, auth: str, grant: str
) -> None:
    entra.lifetime = 3
    async with start_app(REFERRALS_AUTH=auth, REFERRALS_RETRY_BUDGET="20") as app:
        before, statuses = entra.requests[grant], set()
        while entra.requests[grant] < before + 3:
            answer, _ = await app.forward(SEED_ID)
            statuses.add(answer.status)
        assert statuses == {200}


async def test_two_processes_survive_fifty_rotations_of_one_secret(start_app: StartApp, entra: Entra) -> None:
    entra.lifetime, entra.single_use = 300, True  # due for renewal at once; and stricter than the real one
    async with start_app(REFERRALS_AUTH="app-user") as one, start_app(REFERRALS_AUTH="app-user") as other:

        async def keep_asking(app: App) -> set[int]:
            statuses = set()
            while len(one.stack.vault.versions[REFRESH_TOKEN_SECRET]) < 51:
                answer, _ = await app.forward(SEED_ID)
                statuses.add(answer.status)
            return statuses

        assert set().union(*await asyncio.gather(keep_asking(one), keep_asking(other))) == {200}
        nothing_is_told(one)
        nothing_is_told(other)
        for app in (one, other):
            assert (await app.forward(SEED_ID))[0].status == 200


async def test_a_revoked_consent_defers_and_a_new_one_recovers_everything(start_app: StartApp, entra: Entra) -> None:
    entra.lifetime = 1
    async with start_app(REFERRALS_AUTH="app-user", REFERRALS_DEFERRAL_SCHEDULE=",".join("1" * 30)) as app:
        assert (await app.forward(SEED_ID))[0].status == 200
        entra.revoke()
        await until(lambda: status_of(app), 502)
        ids = [str(uuid.uuid4()) for _ in range(3)]
        for referral_id in ids:
            app.stack.partner_center.referrals[referral_id] = seed(id=referral_id)
            await app.queues.requests.send(referral_id)
        await app.host.says('"event":"referral.deferred"')
        await app.host.says('"event":"consent.lapsed","advice":"AADSTS50173: the consent was revoked')
        assert await health_of(app) == (503, "urn:referral-fn:problem:consent-lapsed")

        status, said = await consent(app)
        assert (status, said.splitlines()[-1]) == (0, "The consent is stored in Key Vault.")
        events = await eventually_holds(app.queues.events, 4)
        assert {event["subject"] for event in events} == {SEED_ID, *ids}
        assert await app.queues.rejects.count() == 0
        assert await health_of(app) == (200, None)
        nothing_is_told(app, said)


async def status_of(app: App) -> int:
    answer, _ = await app.forward(SEED_ID)
    return answer.status


async def health_of(app: App) -> tuple[int, str | None]:
    answer, said = await app.get("health")
    return answer.status, said.get("type")


async def consent(app: App, **changes: str) -> tuple[int, str]:
    environment = app.stack.environment(app.queues, REFERRALS_AUTH="app-user", **changes)
    return await app.stack.run_command(environment, "consent", "--auth", "managed-identity")


def nothing_is_told(app: App, *texts: str) -> None:
    """Hold texts and the log against each token there ever was, and the user's name."""
    assert not app.stack.leaked("".join((*texts, app.host.log)))
    assert USER not in app.host.log


async def test_a_new_refresh_token_that_cannot_be_stored_is_an_error_and_no_obstacle(
    start_app: StartApp, entra: Entra
) -> None:
    async with start_app(REFERRALS_AUTH="app-user") as app:
        app.stack.vault.read_only = True
        assert (await app.forward(SEED_ID))[0].status == 200
        await app.host.says('"event":"consent.not-stored"')
        assert "Key Vault Secrets Officer" in app.host.log
        assert len(app.stack.vault.versions[REFRESH_TOKEN_SECRET]) == 1
        assert entra.requests["refresh_token"]


@pytest.mark.parametrize(
    ("auth", "wrong", "sentence"),
    [
        ("federated-app", {"subject": "somebody"}, "AADSTS700213: no federated credential of the app has the managed"),
        ("federated-app", {"issuer": "https://elsewhere/"}, "AADSTS700211: no federated credential of the app has the"),
        ("app-user", {"subject": "somebody"}, "AADSTS700213: no federated credential of the app has the managed"),
        *(
            (auth, {"refusal": number}, f"AADSTS{number}: ")
            for auth in ("federated-app", "app-user")
            for number in (65001, 700082, 50173, 50076, 5000225, 53003, 90002, 424242)
        ),
    ],
)
async def test_what_entra_refuses_is_told_in_a_sentence_and_without_names(
    start_app: StartApp, entra: Entra, auth: str, wrong: dict[str, object], sentence: str
) -> None:
    for name, value in wrong.items():
        setattr(entra, name, value)
    async with start_app(REFERRALS_AUTH=auth) as app:
        answer, problem = await app.forward(SEED_ID)
        assert (answer.status, problem["type"]) == (502, "urn:referral-fn:problem:token-unavailable")
        assert sentence in problem["detail"]
        assert aadsts.explain(ValueError(sentence)) in problem["detail"]
        await app.host.says('"event":"token.failed"')
        lapsed = auth == "app-user" and "refusal" in wrong
        assert ('"event":"consent.lapsed"' in app.host.log) is lapsed
        nothing_is_told(app, json.dumps(problem))


@pytest.mark.parametrize(
    ("failure", "sentence"),
    [
        ({"failure": 503}, "Key Vault's secret referrals-refresh-token cannot be had now (503)"),
        ({"failure": 403}, "its identity needs the role Key Vault Secrets Officer"),
        ({"versions": {}}, "does not exist: run `python -m referral_fn consent`"),
    ],
)
async def test_what_key_vault_refuses_is_told_in_a_sentence(
    start_app: StartApp, entra: Entra, failure: dict[str, object], sentence: str
) -> None:
    async with start_app(REFERRALS_AUTH="app-user") as app:
        for name, value in failure.items():
            setattr(app.stack.vault, name, value)
        _, problem = await app.forward(SEED_ID)
        assert sentence in problem["detail"]


async def test_a_key_vault_that_is_not_there_is_named(start_app: StartApp, entra: Entra) -> None:
    nowhere = {"REFERRALS_REFRESH_TOKEN_SECRET": "https://127.0.0.1:9/secrets/token"}
    async with start_app(REFERRALS_AUTH="app-user", **nowhere) as app:
        _, problem = await app.forward(SEED_ID)
        assert "Key Vault's secret token cannot be reached: ClientConnectorError" in problem["detail"]


@pytest.mark.parametrize(
    ("url", "scope"),
    [
        ("https://leads.vault.azure.net/secrets/a", "https://vault.azure.net/.default"),
        ("https://leads.vault.usgovcloudapi.net/secrets/a", "https://vault.usgovcloudapi.net/.default"),
        ("https://leads.vault.azure.cn/secrets/a", "https://vault.azure.cn/.default"),
        ("https://127.0.0.1:8443/secrets/a", "https://vault.azure.net/.default"),
        ("https://leads.example.com/secrets/a", "https://vault.azure.net/.default"),
    ],
)
def test_a_vaults_audience_follows_from_its_cloud(url: str, scope: str) -> None:
    assert audience(url) == scope


@pytest.mark.parametrize(
    "url",
    [
        "http://leads.vault.azure.net/secrets/a",
        "https://leads.vault.azure.net/secrets/a/0123456789abcdef",
        "https://leads.vault.azure.net/keys/a",
        "https://leads.vault.azure.net/secrets/a?api-version=7.4",
    ],
)
@pytest.mark.parametrize("auth", ["app-user", "federated-app"])
def test_the_app_modes_name_what_they_lack(url: str, auth: str) -> None:
    with pytest.raises(SettingsError) as raised:
        read_credential_settings({"REFERRALS_AUTH": auth, "REFERRALS_REFRESH_TOKEN_SECRET": url})
    assert [problem.name for problem in raised.value.problems] == [
        "REFERRALS_APP_CLIENT_ID",
        "REFERRALS_APP_TENANT_ID",
        "REFERRALS_REFRESH_TOKEN_SECRET",
    ]
