"""The services that tokens come from, in this process: no Azurite, no app."""

import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import aiohttp
import pytest

from local_stack.stand_ins.certificates import Authority
from local_stack.stand_ins.entra import APP_CLIENT_ID, Entra
from local_stack.stand_ins.identity import CLIENT_ID, IdentityEndpoint
from local_stack.stand_ins.serving import serving
from local_stack.stand_ins.tokens import TENANT, Issuer
from local_stack.stand_ins.vault import Vault
from referral_fn.credentials.entra import Tokens
from referral_fn.settings import CredentialSettings, read_credential_settings

SECRET = "referrals-refresh-token"
PARTNER_CENTER = "https://api.partner.microsoft.com/.default"


@dataclass
class Cloud:
    """The stand-ins, and how to reach them."""

    issuer: Issuer
    identity: IdentityEndpoint
    entra: Entra
    vault: Vault
    entra_url: str
    environment: dict[str, str]
    session: aiohttp.ClientSession
    opened: list[Tokens] = field(default_factory=list)

    def settings(self, auth: str, **changes: str) -> CredentialSettings:
        return read_credential_settings({**self.environment, "REFERRALS_AUTH": auth, **changes})

    def tokens(self, auth: str, **changes: str) -> Tokens:
        """Token sources of a mode, which are closed at the end of the test."""
        self.opened.append(Tokens(self.settings(auth, **changes), self.session))
        return self.opened[-1]


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session")
def issuer() -> Issuer:
    return Issuer()


@pytest.fixture
def trusted(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """What a client trusts: MSAL's and ours."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(authority.root))
    return authority.client_context()


@pytest.fixture
async def session(trusted: ssl.SSLContext) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=trusted)) as session:
        yield session


@pytest.fixture
async def cloud(
    authority: Authority, issuer: Issuer, session: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Cloud]:
    """Everything works: a user has consented, and the secret is there."""
    identity, entra, vault = IdentityEndpoint(issuer), Entra(issuer, CLIENT_ID), Vault(issuer)
    tls = authority.server_context()
    async with (
        serving(identity.app) as identity_url,
        serving(entra.app, tls=tls) as entra_url,
        serving(vault.app, tls=tls) as vault_url,
    ):
        monkeypatch.setenv("IDENTITY_ENDPOINT", f"{identity_url}/msi/token")
        monkeypatch.setenv("IDENTITY_HEADER", identity.secret)
        monkeypatch.setenv("AZURE_AUTHORITY_HOST", entra_url)
        environment = {
            "AZURE_CLIENT_ID": CLIENT_ID,
            "REFERRALS_APP_TENANT_ID": TENANT,
            "REFERRALS_APP_CLIENT_ID": APP_CLIENT_ID,
            "REFERRALS_REFRESH_TOKEN_SECRET": f"{vault_url}/secrets/{SECRET}",
        }
        vault.store(SECRET, entra.new_refresh_token())
        cloud = Cloud(issuer, identity, entra, vault, entra_url, environment, session)
        yield cloud
        for tokens in cloud.opened:
            await tokens.close()
