"""The services that the app depends on, and the app's host as a process."""

import asyncio
import contextlib
import os
import sys
import tempfile
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from local_stack.azurite import Azurite, AzuriteQueue, Tables
from local_stack.host.process import Host
from local_stack.stand_ins import service_bus
from local_stack.stand_ins.certificates import Authority
from local_stack.stand_ins.entra import APP_CLIENT_ID, Entra
from local_stack.stand_ins.identity import CLIENT_ID, IdentityEndpoint
from local_stack.stand_ins.partner_center import PartnerCenterServer
from local_stack.stand_ins.serving import serving
from local_stack.stand_ins.tokens import TENANT, Issuer
from local_stack.stand_ins.vault import Vault
from local_stack.stand_ins.webhooks import Webhooks

ROOT = Path(__file__).parent.parent
REFRESH_TOKEN_SECRET = "referrals-refresh-token"
_SUFFIX_LENGTH = 40


class Countable(Protocol):
    """Something that contains messages."""

    name: str

    async def count(self) -> int:
        """The number of messages, hidden ones included."""

    async def clear(self) -> None:
        """Remove all messages, hidden ones included."""


class AnyQueue(Countable, Protocol):
    """A queue of either kind, for tests and demonstrations."""

    url: str

    async def send(self, text: str) -> None:
        """Send a message unchanged."""

    async def texts(self) -> list[str]:
        """The first visible messages."""

    async def documents(self) -> list[Any]:
        """The visible messages, parsed as JSON."""

    async def peek(self) -> list[tuple[str, Any]]:
        """The first visible messages: their IDs, and what they say as JSON. They stay where they are."""

    async def take(self) -> Any | None:
        """Remove a message and return it as JSON; None if none is visible."""


STORAGE, SERVICE_BUS = "storage", "servicebus"


@dataclass(frozen=True)
class Queues:
    """The queues of one installation of the app."""

    events: AnyQueue
    rejects: AnyQueue
    requests: AnyQueue
    poison: Countable
    """The host's poison queue, or the broker's dead letters."""


@dataclass
class Stack:
    """The running stand-ins."""

    authority: Authority
    issuer: Issuer
    identity: IdentityEndpoint
    partner_center: PartnerCenterServer
    webhooks: Webhooks
    entra: Entra
    vault: Vault
    azurite: Azurite
    tables: Tables
    service_bus: service_bus.ServiceBus
    identity_url: str
    partner_center_url: str
    entra_url: str
    vault_url: str

    def leaked(self, text: str) -> bool:
        """Whether a text contains the end of any issued token (of a signed one, part of its signature)."""
        return any(secret[-_SUFFIX_LENGTH:] in text for secret in self.issuer.secrets)

    async def queues(
        self,
        prefix: str = "",
        *,
        inbound: str = STORAGE,
        outbound: str = STORAGE,
        dedup_seconds: float = 0,
        **options: Any,
    ) -> Queues:
        """Create the queues of one installation: `{prefix}referral-events` and so on.

        Args:
            prefix: of their names.
            inbound: the kind of the requests queue.
            outbound: the kind of the other two.
            dedup_seconds: the duplicate detection window of Service Bus's events queue.
            options: of Service Bus's requests queue, such as `sessions`.
        """
        events = await self._queue(outbound, f"{prefix}referral-events", dedup_seconds=dedup_seconds)
        rejects = await self._queue(outbound, f"{prefix}referral-rejects", max_delivery_count=2000)
        requests = await self._queue(inbound, f"{prefix}referral-requests", **options)
        if isinstance(requests, service_bus.BusQueue):
            return Queues(events, rejects, requests, service_bus.DeadLetters(requests))
        return Queues(events, rejects, requests, await self._queue(STORAGE, f"{prefix}referral-requests-poison"))

    async def _queue(self, kind: str, name: str, **options: Any) -> AnyQueue:
        if kind == SERVICE_BUS:
            return service_bus.BusQueue(self.service_bus, service_bus.Entity(name, **options))
        queue = AzuriteQueue(self.azurite, name)
        await queue.client.create_queue()
        return queue

    async def fresh_queues(self, **kinds: Any) -> Queues:
        """Create queues for one test only."""
        return await self.queues(f"q{uuid.uuid4().hex[:12]}-", **kinds)

    async def fresh_table(self) -> str:
        """Create a table for one test only. Returns its URL, for `STATE_URL`."""
        return await self.tables.create(f"t{uuid.uuid4().hex}", self.issuer)

    def environment(self, queues: Queues, **overrides: str) -> dict[str, str]:
        """The app settings and the managed identity's variables. An empty override removes a setting."""
        settings = {
            "REFERRALS_URL": f"{self.partner_center_url}/v1.0/engagements/referrals/{{referralId}}",
            "REFERRALS_AUTH": "managed-identity",
            "AZURE_CLIENT_ID": CLIENT_ID,
            "EVENTS_URL": queues.events.url,
            "REJECTS_URL": queues.rejects.url,
            "REQUESTS_URL": queues.requests.url,
            "REFERRAL_REQUESTS_QUEUE": queues.requests.name,
            **self._connection(queues.requests),
            "ReferralRequests__credential": "managedidentity",
            "ReferralRequests__clientId": CLIENT_ID,
            "IDENTITY_ENDPOINT": f"{self.identity_url}/msi/token",
            "IDENTITY_HEADER": self.identity.secret,
            "SSL_CERT_FILE": str(self.authority.root),
            "REQUESTS_CA_BUNDLE": str(self.authority.root),
            "AZURE_AUTHORITY_HOST": self.entra_url,
            "REFERRALS_APP_TENANT_ID": TENANT,
            "REFERRALS_APP_CLIENT_ID": APP_CLIENT_ID,
            "REFERRALS_REFRESH_TOKEN_SECRET": f"{self.vault_url}/secrets/{REFRESH_TOKEN_SECRET}",
            "WEBHOOK_CERTIFICATE_HOSTS": self.webhooks.certificate_host,
            "WEBHOOK_EXTRA_ROOTS": str(self.authority.root.with_name("signing-root.pem")),
        }
        return {name: value for name, value in {**settings, **overrides}.items() if value}

    def _connection(self, requests: AnyQueue) -> dict[str, str]:
        """How the host reaches the requests queue."""
        if requests.url.startswith("sb://"):
            return {"ReferralRequests__fullyQualifiedNamespace": self.service_bus.namespace}
        return {"ReferralRequests__queueServiceUri": self.azurite.account_url}

    @contextlib.asynccontextmanager
    async def host(
        self, environment: dict[str, str], port: int = 0, *options: str, root: Path = ROOT
    ) -> AsyncIterator[Host]:
        """Run the app under the Functions host, as a process with these settings and options; or the app of `root`.

        Raises:
            HostError: it did not come up.
        """
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "local_stack.host.functions_host", "--root", str(root), "--port", str(port)),
            *("--until-stdin-ends", *options),
            cwd=ROOT,
            env=_inherited() | environment,
            stdin=asyncio.subprocess.PIPE,  # kept open: the host exits when it is closed
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        host = Host(process)
        try:
            await host.ready()
            yield host
        finally:
            await host.stop()

    async def run_command(self, environment: dict[str, str], *arguments: str) -> tuple[int, str]:
        """Run `python -m referral_fn` with these settings. Returns its exit status and its output."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "referral_fn", *arguments),
            cwd=ROOT,
            env=_inherited() | environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await process.communicate()
        return process.returncode or 0, output.decode()


def _inherited() -> dict[str, str]:
    """The variables that a child process inherits; all others are settings."""
    kept = {"PATH", "HOME", "LANG"}
    return {name: value for name, value in os.environ.items() if name in kept or name.startswith("COVERAGE_")}


@contextlib.asynccontextmanager
async def running(azurite_port: int = 0, *, on_disk: bool = False, with_azurite: bool = True) -> AsyncIterator[Stack]:
    """Start the stand-ins and Azurite; stop them on exit.

    Args:
        azurite_port: where Azurite should listen.
        on_disk: whether it keeps its queues on disk, so that it can be restarted with them.
        with_azurite: False leaves Azurite for the caller to start. Until then all queues are on Service Bus, whose
            stand-in, like all others, runs in this process.

    Raises:
        AzuriteError: Azurite is not installed, or does not start.
    """
    with tempfile.TemporaryDirectory(prefix="referral-fn-") as folder:
        authority = Authority(Path(folder))
        issuer = Issuer()
        identity, partner_center = IdentityEndpoint(issuer), PartnerCenterServer(issuer)
        webhooks = Webhooks(issuer, partner_center)
        entra, vault, bus = Entra(issuer, CLIENT_ID), Vault(issuer), service_bus.ServiceBus(issuer)
        (Path(folder) / "signing-root.pem").write_bytes(webhooks.trusted)
        tls = authority.server_context()
        async with (
            serving(identity.app) as identity_url,
            serving(partner_center.app, tls=tls) as partner_center_url,
            serving(webhooks.certificates, tls=tls) as certificates_url,
            serving(entra.app, tls=tls) as entra_url,
            serving(vault.app, tls=tls) as vault_url,
            serving(bus.app, tls=tls) as bus.url,
            contextlib.AsyncExitStack() as optional,
        ):
            azurite = Azurite(authority, Path(folder) / "azurite" if on_disk else None, azurite_port)
            if with_azurite:
                await optional.enter_async_context(azurite)
            tables = Tables(authority, Path(folder) / "tables" if on_disk else None)
            optional.push_async_callback(tables.stop)
            webhooks.certificate_host = certificates_url.removeprefix("https://")
            urls = identity_url, partner_center_url, entra_url, vault_url
            yield Stack(
                authority, issuer, identity, partner_center, webhooks, entra, vault, azurite, tables, bus, *urls
            )
