"""What calls the webhook in tests: notifications with certificates of any kind, and the hosts to put these on."""

import base64
import dataclasses
import functools
import json
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from cryptography.hazmat.primitives import hashes

from local_stack.stack import Queues, Stack
from local_stack.stand_ins.certificates import Authority
from local_stack.stand_ins.serving import serving
from local_stack.stand_ins.signing import Identity
from local_stack.stand_ins.webhooks import notification
from referral_fn.api import handlers
from referral_fn.app import App
from referral_fn.settings import read_settings
from referral_fn.webhooks.certificates import Signers
from referral_fn.webhooks.intake import Intake
from tests.contract import check_answer
from tests.documents import SEED_ID

HOST = "3psostorageacct.blob.core.windows.net"
SHA256 = hashes.SHA256()
BODY = notification("referral-created", SEED_ID)


@functools.cache
def root() -> Identity:
    return Identity.authority()


@functools.cache
def intermediate() -> Identity:
    return Identity.authority(issuer=root())


@functools.cache
def signer() -> Identity:
    """A signer whose issuer is trusted as it is: no intermediate needs to be fetched."""
    return Identity.issue(root())


def signature_of(identity: Identity, body: bytes, algorithm: hashes.HashAlgorithm = SHA256) -> str:
    return "Signature " + base64.b64encode(identity.sign(body, algorithm)).decode()


class Clock:
    """A clock that a test moves, monotonic seconds and the time of day together."""

    def __init__(self) -> None:
        self.seconds = 1000.0
        self._start = datetime.now(UTC)

    def __call__(self) -> float:
        return self.seconds

    def now(self) -> datetime:
        return self._start + timedelta(seconds=self.seconds - 1000)

    def advance(self, seconds: float) -> None:
        self.seconds += seconds


@dataclasses.dataclass
class CertificateHost:
    """Serves what a test publishes, and records the requests."""

    scheme: str = "https"
    name: str = ""
    contents: dict[str, bytes | web.Response] = dataclasses.field(default_factory=dict)
    asked: list[str] = dataclasses.field(default_factory=list)

    async def answer(self, request: web.Request) -> web.Response:
        self.asked.append(request.path)
        content = self.contents.get(request.path, web.Response(status=404))
        return content if isinstance(content, web.Response) else web.Response(body=content)

    def publish(self, content: bytes | web.Response) -> str:
        """Put something under a path of its own. Returns the URL."""
        path = f"/cert/{len(self.contents)}.cer"
        self.contents[path] = content
        return f"{self.scheme}://{self.name}{path}"

    def site(self) -> web.Application:
        site = web.Application()
        site.router.add_get("/{path:.*}", self.answer)
        return site

    def headers(self, identity: Identity | None = None, body: bytes = BODY, **changes: str) -> dict[str, str]:
        """The headers of a correct notification signed by this identity, with changes. Publishes its certificate."""
        identity = identity or signer()
        correct = {
            "x-ms-certificate-url": changes.get("x_ms_certificate_url") or self.publish(identity.der),
            "x-ms-signature-algorithm": "rsa-sha256",
            "authorization": signature_of(identity, body),
        }
        return {**correct, **{name.replace("_", "-"): value for name, value in changes.items()}}


@dataclasses.dataclass
class Caller:
    """An intake with everything around it in this process: a certificate host, an issuers' host, a clock."""

    host: CertificateHost
    issuers: CertificateHost
    clock: Clock
    signers: Signers
    log: Callable[[], list[dict[str, Any]]]

    @property
    def asked(self) -> list[str]:
        return self.host.asked + self.issuers.asked

    def intake(self, max_age: float | None = None) -> Intake:
        hosts = (self.host.name, HOST, "127.0.0.1:9")
        return Intake(self.signers, hosts=hosts, max_age=max_age, now=self.clock.now)

    def refusals(self) -> list[str]:
        return [line["check"] for line in self.log() if line["event"] == "webhook.refused"]


def _log_of(caplog: pytest.LogCaptureFixture) -> Callable[[], list[dict[str, Any]]]:
    caplog.set_level("INFO", "referral_fn")
    return lambda: [json.loads(record.getMessage()) for record in caplog.records if record.name == "referral_fn"]


def _write_roots(folder: Path) -> Path:
    """A file of extra roots, the first of which cannot be read. It must not hide the next one."""
    unreadable = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
    file = folder / "roots.pem"
    file.write_bytes(unreadable + root().pem)
    return file


@pytest.fixture
async def caller(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> AsyncIterator[Caller]:
    tls = Authority(tmp_path)
    host, issuers, clock = CertificateHost(), CertificateHost("http"), Clock()
    async with (
        serving(host.site(), tls=tls.server_context()) as url,
        serving(issuers.site()) as issuers_url,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=tls.client_context())) as session,
    ):
        host.name, issuers.name = url.removeprefix("https://"), issuers_url.removeprefix("http://")
        signers = Signers(session, _write_roots(tmp_path), {issuers.name}, clock=clock, now=clock.now)
        yield Caller(host, issuers, clock, signers, _log_of(caplog))


@dataclasses.dataclass
class Attacked:
    """The app's webhook with real queues, called in this process."""

    app: App
    session: aiohttp.ClientSession
    host: CertificateHost
    queues: Queues
    environment: dict[str, str]
    log: Callable[[], list[dict[str, Any]]]

    async def post(self, headers: dict[str, str], body: bytes = BODY) -> handlers.Response:
        named = {"content-length": str(len(body)), **{name.lower(): value for name, value in headers.items()}}
        answer = await handlers.webhook(lambda: self.app, named, body)
        document = json.loads(answer.body) if answer.body else None
        check_answer("post", "/webhooks/partner-center", answer.status, answer.content_type, document)
        return answer


@pytest.fixture
async def attacked(
    stand_ins: Stack,
    bus_queues: Queues,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> AsyncIterator[Attacked]:
    monkeypatch.setenv("IDENTITY_ENDPOINT", f"{stand_ins.identity_url}/msi/token")
    monkeypatch.setenv("IDENTITY_HEADER", stand_ins.identity.secret)
    queues, host = bus_queues, CertificateHost()
    async with serving(host.site(), tls=stand_ins.authority.server_context()) as url:
        host.name = url.removeprefix("https://")
        environment = stand_ins.environment(
            queues,
            WEBHOOK_CERTIFICATE_HOSTS=f"{host.name},127.0.0.1:9",
            WEBHOOK_EXTRA_ROOTS=str(_write_roots(tmp_path)),
        )
        session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=stand_ins.authority.client_context()))
        app = App(read_settings(environment), session)
        yield Attacked(app, session, host, queues, environment, _log_of(caplog))
        await app.close()
