"""`consent`: a user signs in, and their refresh token is stored and never printed."""

import uuid

import pytest

from local_stack.stack import REFRESH_TOKEN_SECRET
from local_stack.stand_ins.entra import USER
from local_stack.stand_ins.tokens import TENANT
from tests.cli.conftest import Cli, Result


async def consent(cli: Cli, **changes: str) -> Result:
    return await cli("consent", "--auth", "managed-identity", **changes)


async def test_the_user_is_named_and_the_token_is_stored(cli: Cli) -> None:
    before = cli.stack.vault.newest(REFRESH_TOKEN_SECRET)
    result = await consent(cli)
    assert (result.status, f"{USER} of tenant {TENANT} has signed in." in result.out) == (0, True)
    assert result.out.splitlines()[-1] == "The consent is stored in Key Vault."
    after = cli.stack.vault.newest(REFRESH_TOKEN_SECRET)
    assert after != before
    assert after in cli.stack.issuer.secrets


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
        ({"REFERRALS_APP_TENANT_ID": str(uuid.uuid4())}, "Entra ID cannot be reached, or has no such tenant"),
        ({"REFERRALS_APP_CLIENT_ID": str(uuid.uuid4())}, "REFERRALS_APP_CLIENT_ID is not an app of the tenant"),
    ],
)
async def test_a_failure_is_a_sentence(cli: Cli, changes: dict[str, str], sentence: str) -> None:
    result = await consent(cli, **changes)
    assert (result.status, sentence in result.err) == (1, True)


async def test_a_vault_that_does_not_store_it_is_named_with_the_role_needed(cli: Cli) -> None:
    cli.stack.vault.read_only = True
    result = await consent(cli)
    assert (result.status, "Key Vault Secrets Officer" in result.err.splitlines()[0]) == (1, True)
