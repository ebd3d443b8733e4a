"""The credentials that Partner Center's own API accepts: the app, and the app with a user; from end to end."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator

import pytest

from local_stack.stack import REFRESH_TOKEN_SECRET, Stack
from local_stack.stand_ins.entra import USER, Entra
from local_stack.stand_ins.tokens import TENANT
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
async def test_each_mode_forwards_the_seeds_referral_by_todays_call_or_that_of_2018(
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
        no_token_leaked(app, said)


async def status_of(app: App) -> int:
    answer, _ = await app.forward(SEED_ID)
    return answer.status


async def health_of(app: App) -> tuple[int, str | None]:
    answer, said = await app.get("health")
    return answer.status, said.get("type")


async def consent(app: App, **changes: str) -> tuple[int, str]:
    environment = app.stack.environment(app.queues, REFERRALS_AUTH="app-user", **changes)
    return await app.stack.run_command(environment, "consent", "--auth", "managed-identity")


def no_token_leaked(app: App, *texts: str) -> None:
    """Hold texts and the log against each token there ever was, and the user's name."""
    assert not app.stack.leaked("".join((*texts, app.host.log)))
    assert USER not in app.host.log


class TestConsent:
    async def test_the_user_is_named_and_the_token_is_not(self, app: App, entra: Entra) -> None:
        status, said = await consent(app)
        assert (status, f"{USER} of tenant {TENANT} has signed in." in said) == (0, True)
        stored = app.stack.vault.newest(REFRESH_TOKEN_SECRET)
        assert app.stack.leaked(stored)
        assert not app.stack.leaked(said)

    async def test_a_user_of_another_tenant_is_refused(self, app: App, entra: Entra) -> None:
        entra.home_tenant = str(uuid.uuid4())
        status, said = await consent(app)
        assert (status, f"Failed: the user is of tenant {entra.home_tenant}" in said) == (1, True)
        assert len(app.stack.vault.versions[REFRESH_TOKEN_SECRET]) == 1

    @pytest.mark.parametrize(
        ("changes", "sentence"),
        [
            ({"REFERRALS_APP_TENANT_ID": ""}, "REFERRALS_APP_TENANT_ID is required by REFERRALS_AUTH=app-user"),
            ({"REFERRALS_REFRESH_TOKEN_SECRET": "https://v/secrets/a/b"}, "REFERRALS_REFRESH_TOKEN_SECRET must be"),
            ({"REFERRALS_APP_TENANT_ID": str(uuid.uuid4())}, "Entra ID cannot be reached, or has no such tenant"),
            ({"REFERRALS_APP_CLIENT_ID": str(uuid.uuid4())}, "REFERRALS_APP_CLIENT_ID names no app of the tenant"),
        ],
    )
    async def test_what_goes_wrong_is_said(
        self, app: App, entra: Entra, changes: dict[str, str], sentence: str
    ) -> None:
        status, said = await consent(app, **changes)
        assert (status, sentence in said, "Traceback" in said) == (1, True, False)

    async def test_a_vault_that_does_not_take_it_is_named(self, app: App, entra: Entra) -> None:
        app.stack.vault.read_only = True
        status, said = await consent(app)
        assert (status, "Key Vault Secrets Officer" in said) == (1, True)


class TestDoctor:
    async def examine(self, stack: Stack, *arguments: str, **changes: str) -> tuple[int, dict[str, str]]:
        """The steps that work, and what is said of those that do not."""
        environment = stack.environment(await stack.fresh_queues(), **changes)
        status, said = await stack.run_command(environment, "doctor", "--json", *arguments)
        found = {finding["step"]: "" if finding["works"] else finding["detail"] for finding in json.loads(said)}
        return status, found

    @pytest.mark.parametrize(
        ("auth", "own"),
        [("managed-identity", []), ("federated-app", ["assertion"]), ("app-user", ["assertion", "key vault"])],
    )
    async def test_each_mode_is_well(self, stack: Stack, entra: Entra, auth: str, own: list[str]) -> None:
        status, found = await self.examine(stack, "--referral", SEED_ID, REFERRALS_AUTH=auth)
        queues = ["events queue", "rejects queue", "requests queue"]
        assert (status, found) == (0, dict.fromkeys(["settings", "identity", *own, "token", "referral", *queues], ""))

    async def test_wrong_settings_are_named_and_nothing_else_is_tried(self, stack: Stack) -> None:
        status, found = await self.examine(stack, EVENTS_URL="", REJECTS_URL="")
        assert (status, found) == (1, {"settings": "REJECTS_URL is required"})

    @pytest.mark.parametrize(
        ("changes", "step", "sentence"),
        [
            ({"IDENTITY_HEADER": "wrong"}, "identity", "no token for https://storage.azure.com/.default"),
            ({"REFERRALS_APP_CLIENT_ID": str(uuid.uuid4())}, "token", "names no app of the tenant"),
            ({"REFERRALS_URL": "https://127.0.0.1:9/{referralId}"}, "referral", "no answer from Partner Center"),
            ({"EVENTS_URL": "https://127.0.0.1:9/a/events"}, "events queue", "queue events cannot be reached"),
        ],
    )
    async def test_what_fails_is_named_with_what_to_mend(
        self, stack: Stack, entra: Entra, changes: dict[str, str], step: str, sentence: str
    ) -> None:
        quick = {"REFERRALS_AUTH": "federated-app", "REFERRALS_RETRY_BUDGET": "0.5"}
        status, found = await self.examine(stack, "--referral", SEED_ID, **{**quick, **changes})
        assert status == 1
        assert sentence in found[step]

    async def test_a_missing_queue_referral_and_secret_are_told_apart(self, stack: Stack, entra: Entra) -> None:
        stack.vault.versions.clear()
        missing = str(uuid.uuid4())
        nowhere = f"{stack.azurite.account_url}/not-there"
        changes = {"REFERRALS_AUTH": "app-user", "REJECTS_URL": nowhere}
        status, found = await self.examine(stack, "--referral", missing, **changes)
        assert status == 1
        assert "does not exist: run `python -m referral_fn consent`" in found["key vault"]
        assert found["rejects queue"] == "queue not-there does not exist (404 QueueNotFound)"
        assert (found["events queue"], found["requests queue"]) == ("", "")
        status, found = await self.examine(stack, "--referral", missing)
        assert found["referral"] == "Partner Center answered 404"

    async def test_it_speaks_plainly_too(self, stack: Stack) -> None:
        environment = stack.environment(await stack.fresh_queues())
        status, said = await stack.run_command(environment, "doctor")
        assert (status, said.splitlines()[:2]) == (0, ["works  settings", "works  identity"])
        status, said = await stack.run_command(environment, "doctor", "--referral", "42")
        assert (status, said) == (1, "Failed: --referral must be a GUID\n")
