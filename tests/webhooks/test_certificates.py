"""The certificates that notifications are signed with: fetched once, kept for a while, and from nowhere else."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
from aiohttp import web

from local_stack.stand_ins.serving import serving
from local_stack.stand_ins.signing import Identity
from referral_fn.errors import RetryableError, SignatureError
from referral_fn.webhooks import certificates, signature
from referral_fn.webhooks.certificates import Signers
from tests.webhook_caller import (
    BODY,
    SHA256,
    Attacked,
    CertificateHost,
    intermediate,
    refused_after,
    root,
)


@pytest.fixture
def app(attacked: Attacked) -> Attacked:
    return attacked


@pytest.mark.parametrize("status", [500, 503, 429, None])
async def test_a_certificate_host_in_trouble_is_no_refusal(app: Attacked, status: int | None) -> None:
    url = app.host.publish(web.Response(status=status)) if status else "https://127.0.0.1:9/cert/a.cer"
    answer = await app.post(app.headers(x_ms_certificate_url=url))
    assert answer.status == 503
    assert json.loads(answer.body)["type"] == "urn:referral-fn:problem:certificate-unavailable"
    assert await app.queues.requests.count() == 0


async def test_concurrent_first_notifications_fetch_the_certificate_once(app: Attacked) -> None:
    headers = app.headers()
    answers = await asyncio.gather(*(app.post(headers) for _ in range(50)))
    assert {answer.status for answer in answers} == {202}
    assert len(app.host.asked) == 1


async def test_a_replaced_certificate_is_noticed(app: Attacked, monkeypatch: pytest.MonkeyPatch) -> None:
    headers = app.headers()
    assert (await app.post(headers)).status == 202
    successor = Identity.issue(root())
    app.host.contents["/cert/0.cer"] = successor.der
    renewed = {**headers, "authorization": "Signature " + base64.b64encode(successor.sign(BODY, SHA256)).decode()}
    assert (await app.post(renewed)).status == 401  # not at every attacker's whim
    assert len(app.host.asked) == 1
    monkeypatch.setattr(certificates, "ROTATION_CHECK", 0)
    assert (await app.post(renewed)).status == 202
    assert (await app.post(headers)).status == 401


@pytest.mark.parametrize("limit", ["LONGEST_KEPT", "MOST_KEPT"])
async def test_certificates_are_kept_for_a_day_and_few(
    app: Attacked, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    monkeypatch.setattr(certificates, limit, 1 if limit == "MOST_KEPT" else 0)
    first, second = app.headers(), app.headers()
    for headers in (first, second, first):
        assert (await app.post(headers)).status == 202
    assert len(app.host.asked) == 3


async def test_a_certificate_that_expires_while_kept_is_not_believed(app: Attacked) -> None:
    brief = Identity.issue(root(), valid=(timedelta(days=-1), timedelta(seconds=2)))
    headers = app.headers(brief)
    assert (await app.post(headers)).status == 202
    while datetime.now(UTC) <= brief.certificate.not_valid_after_utc:
        await asyncio.sleep(0.05)
    await refused_after(app, headers, "certificate-expired")


class TestIssuers:
    """Intermediates, fetched from where a certificate says its issuer's lies, if that is Microsoft's."""

    @pytest.fixture
    async def issuers(self) -> AsyncIterator[CertificateHost]:
        host = CertificateHost("")
        site = web.Application()
        site.router.add_get("/{path:.*}", host.answer)
        async with serving(site) as url:
            host.name = url.removeprefix("http://")
            yield host

    async def check(self, app: Attacked, issuers: CertificateHost, identity: Identity) -> None:
        claim = signature.read_claim(app.headers(identity), {app.host.name})
        known = Signers(app.session, app.roots, {issuers.name})
        await known.check(BODY, claim)

    def publish(self, issuers: CertificateHost, identity: Identity) -> str:
        return issuers.publish(identity.der).replace("https:", "http:")

    async def test_an_intermediate_is_fetched(self, app: Attacked, issuers: CertificateHost) -> None:
        url = self.publish(issuers, intermediate())
        await self.check(app, issuers, Identity.issue(intermediate(), issuer_url=url))
        assert len(issuers.asked) == 1

    async def test_two_are_fetched(self, app: Attacked, issuers: CertificateHost) -> None:
        url = self.publish(issuers, intermediate())
        lower = Identity.issue(intermediate(), organization="Microsoft Corporation", is_authority=True, issuer_url=url)
        await self.check(app, issuers, Identity.issue(lower, issuer_url=self.publish(issuers, lower)))
        assert len(issuers.asked) == 2

    @pytest.mark.parametrize(
        "is_authority", [False, None], ids=["that says it is no authority", "that does not say what it is"]
    )
    async def test_an_intermediate_that_is_no_authority(
        self,
        app: Attacked,
        issuers: CertificateHost,
        is_authority: bool | None,
    ) -> None:
        false = Identity.issue(root(), is_authority=is_authority)
        with pytest.raises(SignatureError) as raised:
            await self.check(app, issuers, Identity.issue(false, issuer_url=self.publish(issuers, false)))
        assert raised.value.check == "certificate-chain"

    @pytest.mark.parametrize(
        "url",
        [
            "http://169.254.169.254/metadata/identity",
            "http://127.0.0.1:10001/devstoreaccount1",
            "http://www.microsoft.com@127.0.0.1/pkiops/certs/a.crt",
            "http://www.microsoft.com:8080/pkiops/certs/a.crt",
            "ldap://www.microsoft.com/cn=a",
            "http://[",
            "file:///etc/passwd",
        ],
    )
    async def test_an_issuer_that_lies_inside_is_not_fetched(
        self, app: Attacked, issuers: CertificateHost, url: str
    ) -> None:
        with pytest.raises(SignatureError) as raised:
            await self.check(app, issuers, Identity.issue(intermediate(), issuer_url=url))
        assert raised.value.check == "certificate-chain"
        assert issuers.asked == []

    async def test_a_chain_without_end_is_given_up(self, app: Attacked, issuers: CertificateHost) -> None:
        other = Identity.authority()
        loop = Identity.issue(other, is_authority=True, issuer_url=f"http://{issuers.name}/cert/0.cer")
        url = self.publish(issuers, loop)
        with pytest.raises(SignatureError):
            await self.check(app, issuers, Identity.issue(loop, issuer_url=url))
        assert len(issuers.asked) == 3

    async def test_an_issuer_in_trouble_is_no_refusal(self, app: Attacked, issuers: CertificateHost) -> None:
        url = issuers.publish(web.Response(status=503)).replace("https:", "http:")
        with pytest.raises(RetryableError):
            await self.check(app, issuers, Identity.issue(intermediate(), issuer_url=url))


async def test_only_so_many_certificates_are_fetched_at_once(app: Attacked, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(certificates, "MOST_KEPT", 2)
    answers = await asyncio.gather(*(app.post(app.headers()) for _ in range(5)))
    assert sorted(answer.status for answer in answers) == [202, 202, 503, 503, 503]
