"""Whether the webhook registration still leads to the app."""

import json
import logging
from dataclasses import dataclass, field
from typing import Any

import pytest

from referral_fn.referrals.request import REFERRAL_EVENTS
from referral_fn.state.webhook_watch import KEY, PARTITION, WebhookWatch
from referral_fn.webhooks.registration import Registration, RegistrationError
from tests.state.memory_table import MemoryTable

URL = "https://app.azurewebsites.net/api/webhooks/partner-center"
OURS = Registration(f"{URL}?code=key", REFERRAL_EVENTS, own_header=True)
ANOTHER = Registration("https://crm.example.com/hook", REFERRAL_EVENTS, own_header=None)


@dataclass
class Client:
    registration: Registration | None
    error: RegistrationError | None = None

    async def show(self) -> Registration | None:
        if self.error:
            raise self.error
        return self.registration


@dataclass
class World:
    client: Client
    table: MemoryTable = field(default_factory=MemoryTable)
    is_configured: bool = True

    async def check(self) -> str | None:
        """Check, and return what another instance would show."""
        client: Any = self.client
        await WebhookWatch(client, self.table, URL, is_configured=self.is_configured).check()
        return await WebhookWatch(client, self.table, URL, is_configured=self.is_configured).drift()


def events(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [json.loads(record.getMessage())["event"] for record in caplog.records if record.name == "referral_fn"]


async def test_a_registration_of_the_app_is_fine(caplog: pytest.LogCaptureFixture) -> None:
    assert await World(Client(OURS)).check() is None
    assert events(caplog) == []


@pytest.mark.parametrize(
    ("registration", "drift"),
    [
        (ANOTHER, "names another URL"),
        (Registration(URL, REFERRAL_EVENTS[1:], own_header=True), f"lacks {REFERRAL_EVENTS[0]}"),
    ],
)
async def test_another_url_or_missing_events_are_logged_to_alarm_on_and_shown(
    registration: Registration, drift: str, caplog: pytest.LogCaptureFixture
) -> None:
    shown = await World(Client(registration)).check()
    assert shown is not None
    assert drift in shown
    assert events(caplog) == ["webhook.drifted"]


async def test_a_registration_that_is_gone_has_drifted_one_that_never_was_has_not() -> None:
    world = World(Client(None))
    assert await world.check() is None
    world.client.registration = OURS
    assert await world.check() is None
    world.client.registration = None
    assert await world.check() == "there is no registration any more"
    world.client.registration = OURS
    assert await world.check() is None


async def test_an_account_that_never_led_to_this_app_is_left_alone(caplog: pytest.LogCaptureFixture) -> None:
    """Without `WEBHOOK_URL`, an installation may take requests from its queue only."""
    world = World(Client(ANOTHER), is_configured=False)
    assert [await world.check() for _ in range(2)] == [None, None]
    assert events(caplog) == []


async def test_a_registration_that_led_to_this_app_once_has_drifted_if_it_names_another_url() -> None:
    world = World(Client(Registration(URL, (), own_header=True)), is_configured=False)
    assert "lacks" in (await world.check() or "")
    world.client.registration = ANOTHER
    assert await world.check() == "the registration names another URL"


async def test_credentials_that_do_not_allow_it_are_no_drift(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    assert await World(Client(None, RegistrationError("denied"))).check() is None
    assert events(caplog) == ["webhook.unchecked"]


async def test_a_table_in_trouble_leaves_health_alone() -> None:
    world = World(Client(OURS))
    world.table.is_down = True
    assert await world.check() is None


@pytest.mark.parametrize("values", [{}, {"Drift": 5}, {"Drift": None, "WasOurs": True}])
async def test_a_malformed_row_shows_no_drift_is_logged_and_is_written_anew(
    values: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    world = World(Client(ANOTHER))
    world.table.put(PARTITION, KEY, values)
    client: Any = world.client
    assert await WebhookWatch(client, world.table, URL, is_configured=True).drift() is None
    assert events(caplog) == ["state.unavailable"]
    assert await world.check() is not None
