"""The secret in Key Vault."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from aiohttp import web

from local_stack.stand_ins.certificates import Authority
from local_stack.stand_ins.serving import serving
from referral_fn.credentials.vault import MAX_ANSWER, Secret, UnusableSecretError, audience
from referral_fn.errors import RetryableError
from tests.credentials.conftest import SECRET, Cloud

pytestmark = pytest.mark.usefixtures("short_pauses")


def secret(cloud: Cloud, url: str | None = None) -> Secret:
    url = url or cloud.environment["REFERRALS_REFRESH_TOKEN_SECRET"]
    return Secret(url, cloud.session, cloud.tokens("managed-identity").identity)


async def test_the_newest_version_is_read_with_its_age(cloud: Cloud) -> None:
    cloud.vault.store(SECRET, "newest", age_days=3)
    version = await secret(cloud).read()
    assert version.value == "newest"
    assert version.stored_at
    assert (datetime.now(UTC) - version.stored_at).days == 3
    assert "newest" not in repr(version)


async def test_a_value_is_stored_as_a_new_version(cloud: Cloud) -> None:
    await secret(cloud).write("new")
    assert [version.value for version in cloud.vault.versions[SECRET]][1:] == ["new"]


@pytest.mark.parametrize(
    ("change", "sentence", "lasts"),
    [
        ({"failure": 503}, "Key Vault's secret referrals-refresh-token is unavailable (503)", False),
        ({"failure": 403}, "its identity needs the role Key Vault Secrets Officer", True),
        ({"versions": {}}, "does not exist: run `referral-fn consent`", True),
    ],
)
async def test_a_failure_is_explained_in_a_sentence(
    cloud: Cloud, change: dict[str, Any], sentence: str, lasts: bool
) -> None:
    for name, value in change.items():
        setattr(cloud.vault, name, value)
    with pytest.raises(RetryableError) as raised:
        await secret(cloud).read()
    assert sentence in str(raised.value)
    assert isinstance(raised.value, UnusableSecretError) is lasts


async def test_a_vault_that_cannot_be_reached_is_named(cloud: Cloud) -> None:
    with pytest.raises(RetryableError, match="secret token cannot be reached: ClientConnectorError"):
        await secret(cloud, "https://127.0.0.1:9/secrets/token").read()


def answering(handler: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> web.Application:
    app = web.Application()
    app.router.add_get("/secrets/a", handler)
    return app


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b'{"value": null}',
        b'{"value": 42}',
        b'{"value": ""}',
        b"\xff",
        b'{"value": "a"',
        b"[" * 100_000,
        b'{"value": "' + b"a" * MAX_ANSWER + b'"}',
    ],
    ids=lambda body: repr(body[:16]),
)
async def test_an_answer_that_is_not_a_secret_is_a_retryable_error(
    cloud: Cloud, authority: Authority, body: bytes
) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=body)

    async with serving(answering(answer), tls=authority.server_context()) as url:
        with pytest.raises(RetryableError, match="returned an unexpected response"):
            await secret(cloud, f"{url}/secrets/a").read()


async def test_an_endless_answer_is_not_read_to_its_end(cloud: Cloud, authority: Authority) -> None:
    hung_up = asyncio.Event()

    async def answer(request: web.Request) -> web.StreamResponse:
        stream = web.StreamResponse()
        await stream.prepare(request)
        try:
            while True:
                await stream.write(b"a" * 65536)
                await asyncio.sleep(0)
        finally:
            hung_up.set()

    async with serving(answering(answer), tls=authority.server_context()) as url:
        with pytest.raises(RetryableError, match="returned an unexpected response"):
            await secret(cloud, f"{url}/secrets/a").read()
        await hung_up.wait()


@pytest.mark.parametrize("created", [None, "soon", -(10**30), 10**30, [], True])
async def test_an_odd_age_counts_as_unknown_or_old(cloud: Cloud, authority: Authority, created: Any) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.json_response({"value": "a", "attributes": {"created": created}})

    async with serving(answering(answer), tls=authority.server_context()) as url:
        version = await secret(cloud, f"{url}/secrets/a").read()
    assert version.stored_at is None or version.stored_at.timestamp() < time.time()


@pytest.mark.parametrize(
    ("url", "scope"),
    [
        ("https://leads.vault.azure.net/secrets/a", "https://vault.azure.net/.default"),
        ("https://leads.vault.usgovcloudapi.net/secrets/a", "https://vault.usgovcloudapi.net/.default"),
        ("https://leads.vault.azure.cn/secrets/a", "https://vault.azure.cn/.default"),
        ("https://127.0.0.1:8443/secrets/a", "https://vault.azure.net/.default"),
        ("https://leads.example.com/secrets/a", "https://vault.azure.net/.default"),
    ],
)
def test_the_audience_follows_from_the_vaults_cloud(url: str, scope: str) -> None:
    assert audience(url) == scope
