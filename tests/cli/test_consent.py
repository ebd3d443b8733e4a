"""`consent`: a user signs in, and their refresh token is stored and never printed."""

import gc
import html
import re
import uuid
from collections.abc import Iterator
from http import HTTPStatus
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest

from local_stack.stack import REFRESH_TOKEN_SECRET
from local_stack.stand_ins.entra import USER
from local_stack.stand_ins.tokens import TENANT
from tests.cli.conftest import Cli, Result

pytestmark = pytest.mark.e2e  # MSAL polls once a second


@pytest.fixture(autouse=True)
def _connections_are_closed() -> Iterator[None]:
    """MSAL leaves its connections to the garbage collector; those still open hold up the stand-ins' end."""
    yield
    gc.collect()


@pytest.fixture
def visited(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A browser that opens Entra ID's page and submits its form. Returns the list of addresses it is sent to."""
    addresses: list[str] = []

    def open_page(address: str) -> bool:
        addresses.append(address)
        with urlopen(address, context=cli.stack.authority.client_context()) as response:  # noqa: S310 - the stand-in's
            page = html.unescape(response.read().decode())
        fields = dict(re.findall(r'name="(\w+)" value="([^"]*)"', page))
        action = re.findall(r'action="([^"]*)"', page)[0]
        with urlopen(action, data=urlencode(fields).encode()) as response:  # noqa: S310
            return bool(response.status == HTTPStatus.OK)

    monkeypatch.setattr("webbrowser.open", open_page)
    return addresses


async def consent(cli: Cli, **changes: str) -> Result:
    return await cli("consent", "--flow", "device", "--auth", "managed-identity", **changes)


async def test_the_user_is_named_and_the_token_is_stored(cli: Cli) -> None:
    before = cli.stack.vault.newest(REFRESH_TOKEN_SECRET)
    result = await consent(cli)
    assert (result.status, f"{USER} of tenant {TENANT} has signed in." in result.out) == (0, True)
    assert result.out.splitlines()[-1] == "The consent is stored in Key Vault."
    after = cli.stack.vault.newest(REFRESH_TOKEN_SECRET)
    assert after != before
    assert after in cli.stack.issuer.secrets


async def test_the_user_signs_in_with_a_browser_by_default(cli: Cli, visited: list[str]) -> None:
    result = await cli("consent", "--auth", "managed-identity")
    assert (result.status, result.out.splitlines()[-1]) == (0, "The consent is stored in Key Vault.")
    assert [f"Sign in in the browser window that opens, or at {url}" for url in visited] == result.out.splitlines()[:1]
    assert len(cli.stack.vault.versions[REFRESH_TOKEN_SECRET]) == 2


async def test_a_single_factor_is_refused(cli: Cli) -> None:
    cli.stack.entra.methods = ["pwd"]
    result = await consent(cli)
    assert (result.status, "without multi-factor authentication" in result.err) == (1, True)
    assert len(cli.stack.vault.versions[REFRESH_TOKEN_SECRET]) == 1


async def test_a_sign_in_that_proves_nothing_is_stored_with_a_warning(cli: Cli) -> None:
    cli.stack.entra.methods = None
    result = await consent(cli)
    assert (result.status, "does not say whether this was with multi-factor" in result.err) == (0, True)
    assert len(cli.stack.vault.versions[REFRESH_TOKEN_SECRET]) == 2


async def test_a_user_of_another_tenant_is_refused(cli: Cli) -> None:
    cli.stack.entra.home_tenant = str(uuid.uuid4())
    result = await consent(cli)
    assert (result.status, f"Failed: the user is of tenant {cli.stack.entra.home_tenant}" in result.err) == (1, True)
    assert len(cli.stack.vault.versions[REFRESH_TOKEN_SECRET]) == 1


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"REFERRALS_APP_TENANT_ID": ""}, "REFERRALS_APP_TENANT_ID is required by REFERRALS_AUTH=app-user"),
        ({"REFERRALS_REFRESH_TOKEN_SECRET": "https://v/secrets/a/b"}, "REFERRALS_REFRESH_TOKEN_SECRET must be"),
        (
            {"REFERRALS_APP_TENANT_ID": str(uuid.uuid4())},
            "Entra ID cannot be reached, or has no tenant REFERRALS_APP_TENANT_ID",
        ),
        ({"REFERRALS_APP_CLIENT_ID": str(uuid.uuid4())}, "AADSTS700016"),
    ],
)
async def test_a_failure_is_a_sentence(cli: Cli, changes: dict[str, str], sentence: str) -> None:
    result = await consent(cli, **changes)
    assert (result.status, sentence in result.err) == (1, True)


async def test_a_vault_that_does_not_store_it_is_named_with_the_role_needed(cli: Cli) -> None:
    cli.stack.vault.read_only = True
    result = await consent(cli)
    assert (result.status, "Key Vault Secrets Officer" in result.err.splitlines()[0]) == (1, True)
