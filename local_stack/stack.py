"""Everything the app needs around it, and the app's own host as a process."""

import asyncio
import contextlib
import os
import sys
import tempfile
import uuid
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

from local_stack.azurite import Azurite, Queue
from local_stack.certificates import Authority
from local_stack.entra import APP_CLIENT_ID, Entra
from local_stack.identity import CLIENT_ID, IdentityEndpoint
from local_stack.partner_center import PartnerCenter
from local_stack.serving import serving
from local_stack.tokens import TENANT, Issuer
from local_stack.vault import Vault
from local_stack.webhooks import Webhooks

ROOT = Path(__file__).parent.parent
REFRESH_TOKEN_SECRET = "referrals-refresh-token"
_START_SECONDS = 60
_TELLING = 40
_LINES = 50_000
"""Lines of its log that a host is remembered by."""


class HostError(RuntimeError):
    """The Functions host did not come up; the message ends with what it said."""


@dataclass(frozen=True)
class Queues:
    """The queues of one installation of the app."""

    events: Queue
    rejects: Queue
    requests: Queue
    poison: Queue


class Host:
    """A running Functions host."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._lines: deque[str] = deque(maxlen=_LINES)
        self.heard: Callable[[str], None] = lambda _: None
        """Called with each line of its log."""
        self._grown = asyncio.Condition()
        self._reading = asyncio.create_task(self._read())
        self.url = ""

    @property
    def log(self) -> str:
        """What it has said so far."""
        return "".join(self._lines)

    async def ready(self) -> None:
        """Wait until it serves.

        Raises:
            HostError: it ended instead, or took too long.
        """
        try:
            async with asyncio.timeout(_START_SECONDS):
                line = (await self._process.stdout.readline()).decode()  # type: ignore[union-attr]
        except TimeoutError:
            line = ""
        if not line.startswith("ready "):
            await self.kill()
            raise HostError("The Functions host did not start:\n" + "".join(list(self._lines)[-15:]))
        self.url = line.removeprefix("ready ").strip()

    async def says(self, text: str) -> None:
        """Wait until its log holds the text."""
        async with self._grown:
            await self._grown.wait_for(lambda: text in self.log)

    async def stop(self) -> None:
        """Stop it in an orderly way."""
        await self._end(self._process.terminate)

    async def kill(self) -> None:
        """End it at once."""
        await self._end(self._process.kill)

    @property
    def peak_memory(self) -> int:
        """Bytes: the most it ever held at once; 0 where the system does not say."""
        with contextlib.suppress(OSError, StopIteration):
            lines = Path(f"/proc/{self._process.pid}/status").read_text().splitlines()
            return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) * 1024
        return 0

    def kill_now(self) -> None:
        """End it at once, without waiting for its end."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()

    async def ended(self) -> None:
        """Wait until it has ended."""
        await self._process.wait()

    async def _end(self, signal: Callable[[], None]) -> None:
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                signal()
        await self._process.wait()
        await self._reading

    async def _read(self) -> None:
        while line := await self._process.stderr.readline():  # type: ignore[union-attr]
            async with self._grown:
                self._lines.append(line.decode(errors="replace"))
                self.heard(self._lines[-1])
                self._grown.notify_all()


@dataclass
class Stack:
    """The running stand-ins."""

    authority: Authority
    issuer: Issuer
    identity: IdentityEndpoint
    partner_center: PartnerCenter
    webhooks: Webhooks
    entra: Entra
    vault: Vault
    azurite: Azurite
    identity_url: str
    partner_center_url: str
    entra_url: str
    vault_url: str

    def leaked(self, text: str) -> bool:
        """Whether a text holds the end of any token that was given out; a signature, if it is a signed one."""
        return any(secret[-_TELLING:] in text for secret in self.issuer.secrets)

    async def queues(self, prefix: str = "") -> Queues:
        """Make the queues of one installation: `{prefix}referral-events` and so on."""
        made = Queues(
            *(
                Queue(self.azurite, f"{prefix}{name}")
                for name in ("referral-events", "referral-rejects", "referral-requests", "referral-requests-poison")
            )
        )
        for queue in (made.events, made.rejects, made.requests, made.poison):
            await queue.client.create_queue()
        return made

    async def fresh_queues(self) -> Queues:
        """Queues that nobody else uses."""
        return await self.queues(f"q{uuid.uuid4().hex[:12]}-")

    def environment(self, queues: Queues, **overrides: str) -> dict[str, str]:
        """The app settings, and what the machine's identity is reached by. An empty override unsets."""
        settings = {
            "REFERRALS_URL": f"{self.partner_center_url}/v1/referrals/{{referralId}}",
            "REFERRALS_AUTH": "managed-identity",
            "AZURE_CLIENT_ID": CLIENT_ID,
            "EVENTS_URL": queues.events.url,
            "REJECTS_URL": queues.rejects.url,
            "REQUESTS_URL": queues.requests.url,
            "REFERRAL_REQUESTS_QUEUE": queues.requests.name,
            "ReferralRequests__queueServiceUri": self.azurite.account_url,
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

    @contextlib.asynccontextmanager
    async def host(self, environment: dict[str, str], port: int = 0, *options: str) -> AsyncIterator[Host]:
        """The app under the Functions host, as a process with these settings and options, until left.

        Raises:
            HostError: it did not come up.
        """
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "local_stack.functions_host", "--root", str(ROOT), "--port", str(port)),
            *options,
            cwd=ROOT,
            env=_inherited() | environment,
            stdin=asyncio.subprocess.DEVNULL,
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
        """Run `python -m referral_fn` with these settings. Returns its exit status, and what it said."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "referral_fn", *arguments),
            cwd=ROOT,
            env=_inherited() | environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        said, _ = await process.communicate()
        return process.returncode or 0, said.decode()


def _inherited() -> dict[str, str]:
    """What a process of ours takes from this one's environment; the rest of its own is settings."""
    kept = {"PATH", "HOME", "LANG"}
    return {name: value for name, value in os.environ.items() if name in kept or name.startswith("COVERAGE_")}


@contextlib.asynccontextmanager
async def running(azurite_port: int = 0, *, on_disk: bool = False) -> AsyncIterator[Stack]:
    """Start the stand-ins, and stop them when left.

    Args:
        azurite_port: where Azurite should listen.
        on_disk: whether it keeps its queues on disk, so that it can be started again with them.

    Raises:
        AzuriteError: Azurite is not installed, or does not start.
    """
    with tempfile.TemporaryDirectory(prefix="referral-fn-") as folder:
        authority = Authority(Path(folder))
        issuer = Issuer()
        identity, partner_center = IdentityEndpoint(issuer), PartnerCenter(issuer)
        webhooks = Webhooks(issuer, partner_center)
        entra, vault = Entra(issuer, CLIENT_ID), Vault(issuer)
        (Path(folder) / "signing-root.pem").write_bytes(webhooks.root.pem)
        tls = authority.server_context()
        async with (
            serving(identity.app) as identity_url,
            serving(partner_center.app, tls=tls) as partner_center_url,
            serving(webhooks.certificates, tls=tls) as certificates_url,
            serving(entra.app, tls=tls) as entra_url,
            serving(vault.app, tls=tls) as vault_url,
            Azurite(authority, Path(folder) / "azurite" if on_disk else None, azurite_port) as azurite,
        ):
            webhooks.certificate_host = certificates_url.removeprefix("https://")
            urls = identity_url, partner_center_url, entra_url, vault_url
            yield Stack(authority, issuer, identity, partner_center, webhooks, entra, vault, azurite, *urls)
