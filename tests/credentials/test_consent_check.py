"""The check of a user's consent, for health."""

import asyncio

import pytest

from referral_fn.credentials import consent_check
from referral_fn.credentials.consent_check import INTERVAL, ConsentCheck
from referral_fn.credentials.vault import Secret
from tests.credentials.conftest import SECRET, Cloud

pytestmark = pytest.mark.usefixtures("short_pauses")


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(consent_check, "time", clock)
    return clock


@pytest.fixture
def check(cloud: Cloud, clock: Clock) -> ConsentCheck:
    identity = cloud.tokens("managed-identity").identity
    return ConsentCheck(Secret(cloud.environment["REFERRALS_REFRESH_TOKEN_SECRET"], cloud.session, identity))


async def test_a_recent_consent_is_in_place(check: ConsentCheck) -> None:
    assert await check.reason() is None


async def test_a_missing_consent_is_named_with_what_to_do(cloud: Cloud, check: ConsentCheck) -> None:
    cloud.vault.versions.clear()
    assert "does not exist: run `referral-fn consent`" in (await check.reason() or "")


async def test_a_secret_that_the_app_may_not_read_is_named(cloud: Cloud, check: ConsentCheck) -> None:
    cloud.vault.failure = 403
    assert "Key Vault Secrets Officer" in (await check.reason() or "")


@pytest.mark.parametrize(("days", "warned", "lapsed"), [(79.9, False, False), (80.1, True, False), (90.1, False, True)])
async def test_an_old_consent_is_a_warning_and_then_lapsed(
    cloud: Cloud, check: ConsentCheck, caplog: pytest.LogCaptureFixture, days: float, warned: bool, lapsed: bool
) -> None:
    cloud.vault.store(SECRET, "token", age_days=days)
    assert (await check.reason() == "the consent has not been used for 90 days: run `referral-fn consent`") is (lapsed)
    assert ('"event":"consent.expiring"' in caplog.text) is warned


async def test_a_vault_that_is_down_does_not_count_against_the_consent(
    cloud: Cloud, check: ConsentCheck, caplog: pytest.LogCaptureFixture
) -> None:
    cloud.vault.failure = 400
    assert await check.reason() is None
    assert '"event":"consent.unchecked"' in caplog.text


async def test_a_thousand_probes_ask_key_vault_once_in_five_minutes_and_entra_id_never(
    cloud: Cloud, check: ConsentCheck, clock: Clock
) -> None:
    await asyncio.gather(*(check.reason() for _ in range(1000)))
    clock.now += INTERVAL - 1
    await check.reason()
    assert cloud.vault.reads == 1
    clock.now += 1
    cloud.vault.versions.clear()
    assert await check.reason()
    assert cloud.vault.reads == 2
    assert not cloud.entra.requests
