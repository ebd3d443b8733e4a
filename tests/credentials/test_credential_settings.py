"""The settings that decide whose tokens are used."""

import pytest

from referral_fn.settings import SettingsError, read_credential_settings


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
