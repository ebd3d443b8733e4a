"""The credentials that Partner Center's own API accepts: the app, and the app with a user; from end to end."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator

import pytest

from local_stack.stack import REFRESH_TOKEN_SECRET, Stack
from local_stack.stand_ins.entra import USER, Entra
from local_stack.stand_ins.tokens import TENANT
from tests.conftest import App, StartApp, eventually_holds
from tests.documents import SEED_ID, seed

EXCHANGE = "api://AzureADTokenExchange"
VAULT = "https://vault.azure.net"


@pytest.fixture
async def entra(stack: Stack) -> AsyncIterator[Entra]:
    """Entra ID in its initial state: a user has consented and there are no faults. Reset afterwards."""
    entra, vault = stack.entra, stack.vault
    before = (entra.lifetime, entra.subject, entra.issuer)
    vault.store(REFRESH_TOKEN_SECRET, entra.new_refresh_token())
    yield entra
    entra.lifetime, entra.subject, entra.issuer = before
    entra.refusal, entra.single_use, entra.home_tenant, entra.methods = None, False, TENANT, ["pwd", "mfa"]
    vault.versions.clear()
    vault.failure, vault.read_only = None, False


@pytest.mark.parametrize(
    ("auth", "call"),
    [
        ("managed-identity", "v1.0/engagements/referrals"),
        ("app-user", "v1.0/engagements/referrals"),
        ("app-user", "v1/referrals"),
        ("federated-app", "v1/referrals"),
    ],
)
async def test_each_mode_forwards_the_seeds_referral_by_the_current_call_or_that_of_2018(
    start_app: StartApp, stack: Stack, entra: Entra, auth: str, call: str
) -> None:
    collection = f"{stack.partner_center_url}/{call}"
    async with start_app(REFERRALS_AUTH=auth, REFERRALS_URL=f"{collection}/{{referralId}}") as app:
        stack.partner_center.wants_user = stack.partner_center.wants_multi_factor = auth == "app-user"
        answer, event = await app.forward(SEED_ID)
        assert (answer.status, event["subject"], event["source"]) == (200, SEED_ID, collection)
        await app.queues.requests.send(SEED_ID)
        assert len(await eventually_holds(app.queues.events, 2)) == 2
        no_token_leaked(app, json.dumps(event))


async def test_a_user_without_multi_factor_authentication_defers_with_a_reason_of_its_own(
    start_app: StartApp, entra: Entra
) -> None:
    entra.methods = ["pwd"]
    async with start_app(REFERRALS_AUTH="app-user") as app:
        app.stack.partner_center.wants_multi_factor = True
        answer, problem = await app.forward(SEED_ID)
        assert (answer.status, problem["type"]) == (502, "urn:referral-fn:problem:mfa-required")
        assert problem["upstream"]["code"] == "900421"
        await app.queues.requests.send(SEED_ID)
        await app.host.says('"event":"referral.deferred"')
        await app.host.says('"event":"upstream.mfa-required"')
        assert await app.queues.rejects.count() == 0


async def test_an_app_without_a_user_is_refused_by_the_current_api(start_app: StartApp, entra: Entra) -> None:
    async with start_app(REFERRALS_AUTH="federated-app") as app:
        app.stack.partner_center.wants_user = True
        answer, problem = await app.forward(SEED_ID)
        assert (answer.status, problem["type"]) == (502, "urn:referral-fn:problem:upstream-denied")
        assert entra.requests["client_credentials"]


@pytest.mark.parametrize(
    ("auth", "grant", "hops"),
    [("federated-app", "client_credentials", {EXCHANGE}), ("app-user", "refresh_token", {VAULT})],
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
async def test_an_expiring_token_is_renewed_and_no_referral_fails(
    start_app: StartApp, entra: Entra, auth: str, grant: str
) -> None:
    entra.lifetime = 3
    async with start_app(REFERRALS_AUTH=auth, REFERRALS_RETRY_BUDGET="20") as app:
        before, statuses = entra.requests[grant], set()
        while entra.requests[grant] < before + 3:
            answer, _ = await app.forward(SEED_ID)
            statuses.add(answer.status)
        assert statuses == {200}


async def test_a_revoked_consent_defers_and_a_new_one_recovers_everything(start_app: StartApp, entra: Entra) -> None:
    settings = {"REFERRALS_DEFERRAL_SCHEDULE": ",".join("1" * 30), "REFERRALS_RETRY_BUDGET": "20"}
    async with start_app(REFERRALS_AUTH="app-user", **settings) as app:
        entra.revoke()
        assert (await app.forward(SEED_ID))[0].status == 502
        ids = [str(uuid.uuid4()) for _ in range(3)]
        for referral_id in ids:
            app.stack.partner_center.referrals[referral_id] = seed(id=referral_id)
            await app.queues.requests.send(referral_id)
        await app.host.says('"event":"referral.deferred"')
        await app.host.says('"event":"consent.lapsed","advice":"AADSTS50173: the consent was revoked')
        assert await health_of(app) == (503, "urn:referral-fn:problem:consent-lapsed")

        status, output = await consent(app)
        assert (status, output.splitlines()[-1]) == (0, "The consent is stored in Key Vault.")
        events = await eventually_holds(app.queues.events, 3)
        assert {event["subject"] for event in events} == set(ids)
        assert await app.queues.rejects.count() == 0
        assert await health_of(app) == (200, None)
        no_token_leaked(app, output)


async def health_of(app: App) -> tuple[int, str | None]:
    answer, document = await app.get("health")
    return answer.status, document.get("type")


def no_token_leaked(app: App, *texts: str) -> None:
    """Check that the texts and the log contain no issued token and not the user's name."""
    assert not app.stack.leaked("".join((*texts, app.host.log)))
    assert USER not in app.host.log


async def consent(app: App) -> tuple[int, str]:
    environment = app.stack.environment(app.queues, REFERRALS_AUTH="app-user")
    return await app.stack.run_command(environment, "consent", "--flow", "device", "--auth", "managed-identity")
