"""`doctor`: every step that the app needs, and what is said of those that fail."""

import base64
import json
import re
import uuid

import pytest
from aiohttp import web

from local_stack.stack import REFRESH_TOKEN_SECRET
from local_stack.stand_ins.entra import APP_CLIENT_ID, USER
from local_stack.stand_ins.identity import CLIENT_ID
from local_stack.stand_ins.partner_center import Fault
from local_stack.stand_ins.serving import serving
from referral_fn.cli.diagnosis import identity_of, misspelt
from tests.cli.conftest import Cli
from tests.documents import SEED_ID

pytestmark = pytest.mark.filterwarnings("ignore:Passing a static string:DeprecationWarning")  # MSAL's, of app-user

QUEUES = ["events queue", "rejects queue", "requests queue"]


async def examine(cli: Cli, *arguments: str, **changes: str) -> tuple[int, dict[str, tuple[str, str]]]:
    """The exit status, and by step its status and detail."""
    result = await cli("doctor", "--json", *arguments, **changes)
    checks = json.loads(result.out)
    assert all(check["works"] is (check["status"] == "works") for check in checks)
    return result.status, {check["step"]: (check["status"], check["detail"]) for check in checks}


@pytest.mark.parametrize(
    ("auth", "own_steps"),
    [("managed-identity", []), ("federated-app", ["assertion"]), ("app-user", ["key vault"])],
)
async def test_every_mode_works(cli: Cli, auth: str, own_steps: list[str]) -> None:
    status, checks = await examine(cli, "--referral", SEED_ID, REFERRALS_AUTH=auth)
    assert status == 0
    assert list(checks) == ["settings", "identity", *own_steps, "token", "referral", *QUEUES]
    assert {status for status, _ in checks.values()} == {"works"}


async def test_it_names_the_identities_it_used(cli: Cli) -> None:
    _, checks = await examine(cli, REFERRALS_AUTH="app-user")
    assert f"client ID {CLIENT_ID}" in checks["identity"][1]
    assert checks["token"][1].startswith(f"user {USER}, client ID {APP_CLIENT_ID}")


async def test_invalid_settings_are_named_and_nothing_else_is_tried(cli: Cli) -> None:
    result = await cli("doctor", EVENTS_URL="", REJECTS_URL="")
    assert (result.status, result.out.splitlines()) == (
        1,
        [
            "FAILS    settings  EVENTS_URL is required",
            "FAILS    settings  REJECTS_URL is required",
            "0 steps work. To be fixed: settings.",
        ],
    )


async def test_one_failed_identity_is_one_failure(cli: Cli) -> None:
    result = await cli("doctor", "--referral", SEED_ID, REFERRALS_AUTH="app-user", IDENTITY_HEADER="unknown")
    *lines, summary = result.out.splitlines()
    assert result.status == 1
    assert [line.split()[0] for line in lines] == ["works", "FAILS", *["skipped"] * 6]
    assert lines[1].startswith("FAILS    identity  no token for https://servicebus.azure.net/.default: ")
    assert "REFERRALS_AUTH=developer and run `az login`" in lines[1]
    assert lines[2] == "skipped  key vault  needs identity"
    assert lines[3] == "skipped  token  needs identity and key vault"
    assert summary == (
        "1 steps work. To be fixed: identity. Skipped, because they depend on it: key vault, token, referral, "
        "events queue, rejects queue, requests queue."
    )


async def test_a_summary_ends_the_output(cli: Cli) -> None:
    result = await cli("doctor")
    assert (result.status, result.out.splitlines()[0]) == (0, "works    settings")
    assert result.out.splitlines()[-1] == "All 6 steps work."


@pytest.mark.parametrize(
    ("changes", "step", "sentence"),
    [
        ({"REFERRALS_APP_CLIENT_ID": str(uuid.uuid4())}, "token", "AADSTS700016: REFERRALS_APP_CLIENT_ID"),
        ({"REFERRALS_URL": "https://127.0.0.1:9/{referralId}"}, "referral", "no answer from Partner Center"),
    ],
)
async def test_a_failure_says_what_to_fix(cli: Cli, changes: dict[str, str], step: str, sentence: str) -> None:
    status, checks = await examine(cli, "--referral", SEED_ID, **{"REFERRALS_AUTH": "federated-app", **changes})
    assert (status, checks[step][0], sentence in checks[step][1]) == (1, "fails", True)


@pytest.mark.parametrize(
    ("auth", "advice"),
    [("federated-app", "docs/credentials.md"), ("app-user", "run `referral-fn consent`")],
)
async def test_a_refused_token_comes_with_advice_for_its_mode(cli: Cli, auth: str, advice: str) -> None:
    cli.stack.entra.subject = "somebody"
    cli.stack.vault.store(REFRESH_TOKEN_SECRET, cli.stack.entra.new_refresh_token(public=False))
    _, checks = await examine(cli, REFERRALS_AUTH=auth)
    status, detail = checks["token"]
    assert (status, "AADSTS700213" in detail, advice in detail) == ("fails", True, True)
    assert {checks[queue][0] for queue in QUEUES} == {"works"}


async def test_a_developer_without_a_sign_in_is_told_to_sign_in(cli: Cli) -> None:
    environment = {"REFERRALS_AUTH": "developer", "IDENTITY_ENDPOINT": "", "IDENTITY_HEADER": "", "PATH": "/nowhere"}
    _, checks = await examine(cli, **environment)
    status, detail = checks["identity"]
    assert (status, "sign in with `az login`" in detail, "roles in docs/credentials.md" in detail) == (
        "fails",
        True,
        True,
    )


class TestReferral:
    async def test_a_404_of_the_api_is_about_the_id_or_the_role(self, cli: Cli) -> None:
        status, checks = await examine(cli, "--referral", str(uuid.uuid4()))
        detail = checks["referral"][1]
        assert (status, detail.startswith("Partner Center answered 404: the ID is not that of a referral")) == (1, True)
        assert "a Referrals Admin sees all" in detail
        assert "REFERRALS_URL" not in detail

    async def test_a_404_without_an_error_code_may_be_about_the_url(self, cli: Cli) -> None:
        url = f"{cli.stack.service_bus.url}/nothing/{{referralId}}"
        _, checks = await examine(cli, "--referral", SEED_ID, REFERRALS_URL=url)
        assert "REFERRALS_URL is not the address of the API" in checks["referral"][1]

    @pytest.mark.parametrize(
        ("auth", "status", "advice"),
        [
            ("managed-identity", 403, "set REFERRALS_AUTH=app-user"),
            ("app-user", 403, "the user needs the role Referrals Admin"),
            ("app-user", 401, "REFERRALS_SCOPE and REFERRALS_URL must belong to the same API"),
        ],
    )
    async def test_a_denial_is_explained(self, cli: Cli, auth: str, status: int, advice: str) -> None:
        cli.stack.partner_center.faults[SEED_ID] = Fault("status", status=status)
        _, checks = await examine(cli, "--referral", SEED_ID, REFERRALS_AUTH=auth)
        result, detail = checks["referral"]
        assert (result, f"answered {status}" in detail, advice in detail) == ("fails", True, True)

    async def test_a_user_without_multi_factor_authentication_is_sent_to_consent(self, cli: Cli) -> None:
        cli.stack.partner_center.wants_multi_factor, cli.stack.entra.methods = True, ["pwd"]
        _, checks = await examine(cli, "--referral", SEED_ID, REFERRALS_AUTH="app-user")
        status, detail = checks["referral"]
        assert (status, "multi-factor" in detail, detail.count("referral-fn consent")) == ("fails", True, 1)

    async def test_an_invalid_id_is_refused(self, cli: Cli) -> None:
        result = await cli("doctor", "--referral", "42")
        assert (result.status, result.err) == (1, "Failed: --referral must be a GUID\n")


async def test_a_missing_queue_and_a_missing_secret_are_named(cli: Cli) -> None:
    cli.stack.vault.versions.clear()
    status, checks = await examine(cli, REFERRALS_AUTH="app-user", REJECTS_URL=cli.rejects.url + "-not-there")
    assert status == 1
    assert "does not exist: run `referral-fn consent`" in checks["key vault"][1]
    assert checks["token"] == ("skipped", "needs key vault")
    assert re.fullmatch(
        r"queue \S+-not-there does not exist \(4\d\d\): compare REJECTS_URL .+", checks["rejects queue"][1]
    )
    assert (checks["events queue"][0], checks["requests queue"][0]) == ("works", "works")


async def test_the_table_is_read_if_there_is_one(storage_cli: Cli) -> None:
    url = await storage_cli.stack.fresh_table()
    status, checks = await examine(storage_cli, STATE_URL=url)
    assert (status, list(checks)[-1], checks["table"]) == (0, "table", ("works", ""))
    status, checks = await examine(storage_cli, STATE_URL=f"{url}x")
    assert status == 1
    assert re.fullmatch(r"table \w+ does not exist .+: compare STATE_URL with the account", checks["table"][1])


async def test_the_role_that_is_missing_on_the_table_is_named(cli: Cli) -> None:
    async def refuse(_: web.Request) -> web.Response:
        return web.Response(status=403, headers={"x-ms-error-code": "AuthorizationPermissionMismatch"})

    app = web.Application()
    app.router.add_get("/{path:.*}", refuse)
    async with serving(app, tls=cli.stack.authority.server_context()) as url:
        status, checks = await examine(cli, STATE_URL=f"{url}/account/referrals")
    assert (status, checks["table"][0]) == (1, "fails")
    assert "needs the role Storage Table Data Contributor" in checks["table"][1]
    assert {checks[queue][0] for queue in QUEUES} == {"works"}


class TestMisspeltSettings:
    async def test_they_are_pointed_out_and_are_no_failure(self, cli: Cli) -> None:
        result = await cli("doctor", REFERALS_AUTH="app-user", EVENT_URL="x")
        assert result.status == 0
        assert sorted(result.out.splitlines()[:2]) == [
            "warning  settings  EVENT_URL is not a setting: is EVENTS_URL meant?",
            "warning  settings  REFERALS_AUTH is not a setting: is REFERRALS_AUTH meant?",
        ]

    @pytest.mark.parametrize(
        ("name", "meant"),
        [
            ("REFERRAL_AUTH", "REFERRALS_AUTH"),
            ("events_url", "EVENTS_URL"),
            ("REQUEST_URL", "REQUESTS_URL"),
            ("REFERRALS_CONTACTS", "REFERRAL_CONTACTS"),
            ("AZURE_CLIENTID", "AZURE_CLIENT_ID"),
            ("ReferralRequest__queueServiceUri", "ReferralRequests__queueServiceUri"),
        ],
    )
    def test_a_name_that_is_nearly_a_setting_is_suspicious(self, name: str, meant: str) -> None:
        assert misspelt({name: ""}) == {name: meant}

    def test_other_variables_are_not(self) -> None:
        names = (
            "PATH HOME LANG AZURE_TENANT_ID AZURE_CLIENT_SECRET AZURE_CLIENT_CERTIFICATE_PASSWORD IDENTITY_ENDPOINT "
            "IDENTITY_HEADER REQUESTS_CA_BUNDLE SSL_CERT_FILE FUNCTIONS_WORKER_RUNTIME WEBSITE_SITE_NAME EVENT_HUB_URL "
            "AzureWebJobsStorage APPLICATIONINSIGHTS_CONNECTION_STRING MSI_ENDPOINT AZURE_SUBSCRIPTION_ID EVENTS_URL"
        )
        assert misspelt(dict.fromkeys(names.split(), "")) == {}


class TestIdentityOf:
    def token(self, payload: bytes) -> str:
        return f"header.{base64.urlsafe_b64encode(payload).decode().rstrip('=')}.signature"

    def test_it_names_user_client_object_and_tenant(self) -> None:
        claims = {"unique_name": "dev@northwind.example", "azp": "c", "oid": "o", "tid": "t", "aud": "secret"}
        text = identity_of(self.token(json.dumps(claims).encode()))
        assert text == "user dev@northwind.example, client ID c, object ID o, tenant t"

    @pytest.mark.parametrize(
        "token", ["", "opaque", "a.b", "a.é.c", "a.bm90IGpzb24.c", "a.W10.c", "a.eyJvaWQiOiA1fQ.c"]
    )
    def test_a_token_that_cannot_be_read_names_nobody(self, token: str) -> None:
        assert identity_of(token) == ""
