"""`webhook`: the registration is shown, changed and tested, and not taken from others by accident."""

import json
import uuid
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from local_stack.stand_ins.webhooks import ATTEMPTS
from referral_fn.webhooks import registration
from referral_fn.webhooks.registration import ROLES
from tests.cli.conftest import Cli, Result
from tests.conftest import App, ShareApp, eventually_holds
from tests.documents import seed

MINE = "https://app.example.com/api/webhooks/partner-center"
OTHER = "https://crm.example.com/hook"
ALL = [
    "referral-created",
    "referral-updated",
    "related-referral-created",
    "related-referral-updated",
    "test-created",
]


async def webhook(cli: Cli, *arguments: str, **changes: str) -> Result:
    return await cli("webhook", *arguments, "--api", cli.stack.partner_center_url, **changes)


def registered(cli: Cli, url: str, *events: str, own_header: bool = True) -> None:
    cli.stack.webhooks.registration = {
        "WebhookUrl": url,
        "WebhookEvents": list(events),
        "SignatureTokenToMsSignatureHeader": own_header,
    }


class TestRegister:
    async def test_it_creates_a_registration(self, cli: Cli) -> None:
        result = await webhook(cli, "register", "--url", MINE)
        assert (result.status, result.err) == (0, "")
        assert result.out.splitlines() == [
            f"WebhookUrl: {MINE}",
            f"WebhookEvents: {', '.join(ALL)}",
            "SignatureTokenToMsSignatureHeader: True",
        ]
        assert cli.stack.webhooks.registration == {
            "WebhookUrl": MINE,
            "WebhookEvents": ALL,
            "SignatureTokenToMsSignatureHeader": True,
        }

    async def test_it_does_not_take_the_registration_from_another_url(self, cli: Cli) -> None:
        registered(cli, OTHER, "referral-created", "subscription-updated")
        before = cli.stack.webhooks.registration
        result = await webhook(cli, "register", "--url", MINE)
        assert (result.status, result.out) == (1, "")
        assert f"sends referral-created, subscription-updated to {OTHER}" in result.err
        assert "--replace" in result.err
        assert cli.stack.webhooks.registration is before

    async def test_replace_takes_it_over_with_the_events_of_other_products(self, cli: Cli) -> None:
        registered(cli, OTHER, "referral-created", "subscription-updated")
        result = await webhook(cli, "register", "--url", MINE, "--replace", "--json")
        assert result.status == 0
        assert result.err.splitlines() == [
            f"Taken over from {OTHER}, which had: referral-created, subscription-updated.",
            "Kept for other products: subscription-updated.",
        ]
        document = {
            "WebhookUrl": MINE,
            "WebhookEvents": [*ALL, "subscription-updated"],
            "SignatureTokenToMsSignatureHeader": True,
        }
        assert json.loads(result.out) == cli.stack.webhooks.registration == document

    async def test_its_own_events_and_header_are_changed_and_others_kept(self, cli: Cli) -> None:
        registered(cli, MINE, *ALL, "subscription-updated")
        result = await webhook(
            cli, "register", "--url", MINE, "--events", "referral-updated", "--authorization-header", "--json"
        )
        assert result.status == 0
        assert cli.stack.webhooks.registration == {
            "WebhookUrl": MINE,
            "WebhookEvents": ["referral-updated", "test-created", "subscription-updated"],
            "SignatureTokenToMsSignatureHeader": False,
        }

    async def test_nothing_is_written_if_nothing_changes(self, cli: Cli) -> None:
        await webhook(cli, "register", "--url", MINE)
        before = cli.stack.webhooks.registration
        result = await webhook(cli, "register", "--url", MINE)
        assert (result.status, result.err) == (0, "The webhook is registered like this already.\n")
        assert cli.stack.webhooks.registration is before


async def test_the_registration_is_shown(cli: Cli) -> None:
    result = await webhook(cli, "show")
    assert (result.status, result.out, result.err) == (
        1,
        "",
        "There is no registration. `referral-fn webhook register --url URL` creates it.\n",
    )
    registered(cli, OTHER, "referral-created")
    result = await webhook(cli, "show", "--json")
    assert json.loads(result.out) == cli.stack.webhooks.registration
    result = await webhook(cli, "show")
    assert result.out.splitlines()[:2] == [f"WebhookUrl: {OTHER}", "WebhookEvents: referral-created"]


async def test_known_events_are_listed(cli: Cli) -> None:
    result = await webhook(cli, "events")
    assert (result.status, "referral-created" in result.out.splitlines()) == (0, True)
    result = await webhook(cli, "events", "--json")
    assert "referral-created" in json.loads(result.out)


@pytest.mark.parametrize(
    ("arguments", "changes", "sentence"),
    [
        (["test"], {}, "there is no registration yet: register first"),
        (["register", "--url", "http://example.com/"], {}, "the URL must be public and https"),
        (["register", "--url", "https://example.com/", "--events", "lead-created"], {}, "the events must exist"),
        (["show"], {"IDENTITY_HEADER": "unknown"}, "Failed: no token for"),
        (["show"], {"SSL_CERT_FILE": "/dev/null"}, "Partner Center cannot be reached"),
        (["show"], {"REFERRALS_AUTH": "unknown"}, "REFERRALS_AUTH"),
    ],
)
async def test_a_failure_is_a_sentence(cli: Cli, arguments: list[str], changes: dict[str, str], sentence: str) -> None:
    result = await webhook(cli, *arguments, **changes)
    assert (result.status, result.out, sentence in result.err) == (1, "", True)


@pytest.mark.parametrize(
    ("refusal", "sentence"),
    [
        (web.HTTPUnauthorized, "these calls need an app with a user (401, ms-correlationid "),
        (web.HTTPForbidden, f"the user needs one of the roles {ROLES} (403, ms-correlationid "),
        (web.HTTPConflict, "changed by somebody else"),
        (web.HTTPTooManyRequests, "two a minute"),
        (web.HTTPInternalServerError, "try again later (500, ms-correlationid "),
    ],
)
async def test_a_refusal_is_explained_with_the_roles_needed(
    cli: Cli, refusal: type[web.HTTPError], sentence: str
) -> None:
    cli.stack.webhooks.refusal = refusal
    result = await webhook(cli, "show")
    assert (result.status, sentence in result.err) == (1, True)
    assert f"Roles needed by this command: in Partner Center, one of {ROLES}" in result.err


class TestTest:
    async def test_a_third_test_within_a_minute_is_too_many(self, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(registration, "POLL_INTERVAL", 0.02)
        registered(cli, f"{cli.stack.partner_center_url}/elsewhere", *ALL)
        results = [await webhook(cli, "test", "--json") for _ in range(3)]
        assert "two a minute" in results[2].err
        assert results[2].status == 1

    async def test_a_test_that_does_not_end_is_given_up(self, cli: Cli) -> None:
        registered(cli, "https://127.0.0.1:9/", *ALL)
        cli.stack.webhooks.pause = 60
        result = await webhook(cli, "test", "--patience", "0.1")
        assert (result.status, "the test event has not ended after 0 seconds" in result.err) == (1, True)


@pytest.fixture
async def app_cli(
    app: App, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], logging_restored: None
) -> AsyncIterator[Cli]:
    """The command line of a running app, with no webhook registered before and after."""
    webhooks = app.stack.webhooks
    webhooks.registration, webhooks.pause = None, 0.02
    webhooks.forget_tests()
    yield Cli(app.stack, app.queues, monkeypatch, capsys)
    webhooks.registration = None


async def test_a_webhook_is_registered_tested_and_followed_to_its_events(app: App, app_cli: Cli) -> None:
    url = f"{app.host.url}/api/webhooks/partner-center"
    assert (await webhook(app_cli, "register", "--url", url)).status == 0
    result = await webhook(app_cli, "test")
    assert (result.status, result.out.splitlines()[-1]) == (0, "The test event is completed.")
    assert "200 OK" in result.out

    webhooks, referral_id = app.stack.webhooks, str(uuid.uuid4())
    await webhooks.change(referral_id, **seed(id=referral_id))
    (created,) = await eventually_holds(app.queues.events)
    assert (created["subject"], created["cause"]) == (referral_id, "referral-created")
    attempts = await webhooks.change(referral_id, eTag='"2"', status="Closed", statusDetail="Won")
    assert [attempt["responseCode"] for attempt in attempts] == ["202"]
    updated = (await eventually_holds(app.queues.events, 2))[1]
    assert (updated["id"], updated["cause"]) == (f"{referral_id}@2", "referral-updated")
    assert updated["data"]["substatus"] == "Won"


async def test_other_events_and_the_other_header_reach_the_app(app: App, app_cli: Cli) -> None:
    url = f"{app.host.url}/api/webhooks/partner-center"
    arguments = ("--events", "referral-updated", "--authorization-header")
    assert (await webhook(app_cli, "register", "--url", url, *arguments)).status == 0
    referral_id = str(uuid.uuid4())
    assert await app.stack.webhooks.change(referral_id, **seed(id=referral_id)) == []
    attempts = await app.stack.webhooks.change(referral_id, name="Changed")
    assert [attempt["responseCode"] for attempt in attempts] == ["202"]
    await eventually_holds(app.queues.events)


async def test_partner_center_tries_ten_times_and_gives_up(share_app: ShareApp, app_cli: Cli) -> None:
    app = await share_app(WEBHOOK_CERTIFICATE_HOSTS="elsewhere.example")
    await webhook(app_cli, "register", "--url", f"{app.host.url}/api/webhooks/partner-center")
    result = await webhook(app_cli, "test")
    assert (result.status, result.out.splitlines()[-1]) == (1, "The test event is failed.")
    assert result.out.count("401 Unauthorized") == ATTEMPTS
    assert app.host.log.count('"check":"certificate-url"') == ATTEMPTS
