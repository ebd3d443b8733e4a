"""Whoever calls the webhook, with certificates of their own making and a host to put them on."""

import base64
import dataclasses
import functools
import json
import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from cryptography.hazmat.primitives import hashes

from local_stack.stack import Queues, Stack
from local_stack.stand_ins.serving import serving
from local_stack.stand_ins.signing import Identity
from local_stack.stand_ins.webhooks import notification
from referral_fn.api import handlers
from referral_fn.app import App
from referral_fn.settings import read_settings
from tests.contract import check_answer
from tests.documents import SEED_ID

HOST = "3psostorageacct.blob.core.windows.net"
SHA256 = hashes.SHA256()
BODY = notification("referral-created", SEED_ID)


@functools.cache
def root() -> Identity:
    return Identity.authority()


@functools.cache
def signer() -> Identity:
    return Identity.issue(root())


@functools.cache
def intermediate() -> Identity:
    return Identity.authority(issuer=root())


@dataclasses.dataclass
class CertificateHost:
    """Serves what a test puts there, on https; counts what it is asked for."""

    name: str
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
        return f"https://{self.name}{path}"


@dataclasses.dataclass
class Attacked:
    """The app's webhook, called in this process."""

    app: App
    session: aiohttp.ClientSession
    host: CertificateHost
    queues: Queues
    roots: Path
    log: Callable[[], list[dict[str, Any]]]

    async def post(self, headers: dict[str, str], body: bytes = BODY) -> handlers.Response:
        named = {"content-length": str(len(body)), **{name.lower(): value for name, value in headers.items()}}
        answer = await handlers.webhook(lambda: self.app, named, body)
        said = json.loads(answer.body) if answer.body else None
        check_answer("post", "/webhooks/partner-center", answer.status, answer.content_type, said)
        return answer

    def headers(self, identity: Identity | None = None, body: bytes = BODY, **changes: str) -> dict[str, str]:
        """The headers of a correct notification of this identity's, with changes."""
        identity = identity or signer()
        signature = base64.b64encode(identity.sign(body, SHA256)).decode()
        correct = {
            "x-ms-certificate-url": self.host.publish(identity.der),
            "x-ms-signature-algorithm": "rsa-sha256",
            "authorization": f"Signature {signature}",
        }
        return {**correct, **{name.replace("_", "-"): value for name, value in changes.items()}}


@pytest.fixture
async def attacked(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> AsyncIterator[Attacked]:
    monkeypatch.setenv("IDENTITY_ENDPOINT", f"{stack.identity_url}/msi/token")
    monkeypatch.setenv("IDENTITY_HEADER", stack.identity.secret)
    caplog.set_level("INFO", "referral_fn")
    roots = tmp_path / "roots.pem"
    odd = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"  # must not take the next one with it
    roots.write_bytes(odd + root().pem)
    queues = await stack.fresh_queues()
    host = CertificateHost("")
    site = web.Application()
    site.router.add_get("/{path:.*}", host.answer)
    context = ssl.create_default_context(cafile=stack.authority.root)
    async with serving(site, tls=stack.authority.server_context()) as url:
        host.name = url.removeprefix("https://")
        environment = stack.environment(
            queues, WEBHOOK_CERTIFICATE_HOSTS=f"{host.name},{HOST},127.0.0.1:9", WEBHOOK_EXTRA_ROOTS=str(roots)
        )
        session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context))
        opened = App(read_settings(environment), session)

        def log() -> list[dict[str, Any]]:
            return [json.loads(record.getMessage()) for record in caplog.records if record.name == "referral_fn"]

        yield Attacked(opened, session, host, queues, roots, log)
        await opened.close()


async def refused_after(app: Attacked, headers: dict[str, str], check: str) -> None:
    assert (await app.post(headers)).status == 401
    assert app.log()[-1]["check"] == check
