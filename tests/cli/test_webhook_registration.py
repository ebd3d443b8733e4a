"""From nothing to a registered, tested webhook, by the command line; and what comes of it."""

import json
import uuid
from collections.abc import AsyncIterator

import pytest

from local_stack.stack import Stack
from local_stack.stand_ins.identity import CLIENT_ID
from local_stack.stand_ins.webhooks import ATTEMPTS
from tests.conftest import App, StartApp, eventually_holds
from tests.documents import seed


@pytest.fixture
async def unregistered(stack: Stack) -> AsyncIterator[Stack]:
    """The stack with no webhook registered, before and after."""
    webhooks = stack.webhooks
    webhooks.registration, webhooks.pause = None, 0.02
    webhooks.forget_tests()
    yield stack
    webhooks.registration = None


async def command(stack: Stack, *arguments: str, **changes: str) -> tuple[int, str]:
    environment = {
        "REFERRALS_AUTH": "managed-identity",
        "AZURE_CLIENT_ID": CLIENT_ID,
        "IDENTITY_ENDPOINT": f"{stack.identity_url}/msi/token",
        "IDENTITY_HEADER": stack.identity.secret,
        "SSL_CERT_FILE": str(stack.authority.root),
        **changes,
    }
    return await stack.run_command(environment, "webhook", *arguments, "--api", stack.partner_center_url)


def webhook_of(app: App) -> str:
    return f"{app.host.url}/api/webhooks/partner-center"


async def test_a_webhook_is_registered_tested_and_followed_to_its_events(
    unregistered: Stack, start_app: StartApp
) -> None:
    status, said = await command(unregistered, "show")
    assert (status, said) == (1, "There is no registration.\n")
    async with start_app() as app:
        status, said = await command(unregistered, "register", "--url", webhook_of(app))
        assert (status, f"WebhookUrl: {webhook_of(app)}" in said) == (0, True)
        status, said = await command(unregistered, "show", "--json")
        assert json.loads(said)["SignatureTokenToMsSignatureHeader"] is True
        assert "test-created" in json.loads(said)["WebhookEvents"]

        status, said = await command(unregistered, "test")
        assert (status, said.splitlines()[-1]) == (0, "The test event is completed.")
        assert "200 OK" in said

        referral_id = str(uuid.uuid4())
        await unregistered.webhooks.change(referral_id, **seed(id=referral_id))
        (created,) = await eventually_holds(app.queues.events)
        assert (created["subject"], created["cause"]) == (referral_id, "referral-created")
        attempts = await unregistered.webhooks.change(referral_id, eTag='"2"', status="Closed", statusDetail="Won")
        assert [attempt["responseCode"] for attempt in attempts] == ["202"]
        updated = (await eventually_holds(app.queues.events, 2))[1]
        assert (updated["id"], updated["cause"]) == (f"{referral_id}@2", "referral-updated")
        assert updated["data"]["substatus"] == "Won"


async def test_a_registration_is_changed_and_the_other_header_chosen(unregistered: Stack, start_app: StartApp) -> None:
    async with start_app() as app:
        await command(unregistered, "register", "--url", "https://example.com/old", "--events", "referral-created")
        arguments = ("--events", "referral-updated", "--authorization-header", "--json")
        status, said = await command(unregistered, "register", "--url", webhook_of(app), *arguments)
        assert status == 0
        assert json.loads(said) == {
            "WebhookUrl": webhook_of(app),
            "WebhookEvents": ["referral-updated", "test-created"],
            "SignatureTokenToMsSignatureHeader": False,
        }
        referral_id = str(uuid.uuid4())
        assert await unregistered.webhooks.change(referral_id, **seed(id=referral_id)) == []
        attempts = await unregistered.webhooks.change(referral_id, name="Changed")
        assert [attempt["responseCode"] for attempt in attempts] == ["202"]


async def test_partner_center_tries_ten_times_and_gives_up(unregistered: Stack, start_app: StartApp) -> None:
    async with start_app(WEBHOOK_CERTIFICATE_HOSTS="elsewhere.example") as app:
        await command(unregistered, "register", "--url", webhook_of(app))
        status, said = await command(unregistered, "test")
        assert (status, said.splitlines()[-1]) == (1, "The test event is failed.")
        assert said.count("401 Unauthorized") == ATTEMPTS
        assert app.host.log.count('"check":"certificate-url"') == ATTEMPTS


async def test_what_can_be_registered_for_is_listed(unregistered: Stack) -> None:
    status, said = await command(unregistered, "events")
    assert (status, "referral-created" in said.splitlines()) == (0, True)
    status, said = await command(unregistered, "events", "--json")
    assert "referral-created" in json.loads(said)


@pytest.mark.parametrize(
    ("arguments", "changes", "sentence"),
    [
        (["test"], {}, "there is no registration yet: register first"),
        (["register", "--url", "http://example.com/"], {}, "is the URL public and https"),
        (["register", "--url", "https://example.com/", "--events", "lead-created"], {}, "are the events known"),
        (["show"], {"IDENTITY_HEADER": "wrong"}, "Failed: no token for"),
        (["show"], {"SSL_CERT_FILE": "/dev/null"}, "Partner Center cannot be reached"),
    ],
)
async def test_what_goes_wrong_is_said_in_a_sentence(
    unregistered: Stack, arguments: list[str], changes: dict[str, str], sentence: str
) -> None:
    status, said = await command(unregistered, *arguments, **changes)
    assert status == 1
    assert sentence in said
    assert "Traceback" not in said


async def test_a_third_test_within_a_minute_is_too_many(unregistered: Stack, start_app: StartApp) -> None:
    async with start_app() as app:
        await command(unregistered, "register", "--url", webhook_of(app))
        said = [await command(unregistered, "test", "--json") for _ in range(3)]
        assert [status for status, _ in said] == [0, 0, 1]
        assert json.loads(said[0][1])["status"] == "completed"
        assert "two a minute" in said[2][1]


async def test_a_test_that_does_not_end_is_given_up(unregistered: Stack) -> None:
    await command(unregistered, "register", "--url", "https://example.com/")
    unregistered.webhooks.pause = 60
    status, said = await command(unregistered, "test", "--patience", "1")
    assert (status, "the test event has not ended after 1 seconds" in said) == (1, True)
