"""The signers' certificates: fetched once, kept for a while, and never as often as strangers like."""

import asyncio
from collections.abc import Callable
from datetime import timedelta

import pytest
from aiohttp import web
from cryptography import x509

from local_stack.stand_ins.signing import Identity
from referral_fn.errors import RetryableError, SignatureError
from referral_fn.webhooks import certificates, signature
from tests.webhook_caller import BODY, Caller, CertificateHost, intermediate, root, signature_of, signer


async def check(caller: Caller, headers: dict[str, str], body: bytes = BODY) -> None:
    await caller.signers.check(body, signature.read_claim(headers, {caller.host.name, "127.0.0.1:9"}))


async def fate(caller: Caller, headers: dict[str, str]) -> str:
    """`accepted`, the check that failed, or the reason why it is not known."""
    try:
        await check(caller, headers)
    except SignatureError as error:
        return error.check
    except RetryableError as error:
        return error.reason
    return "accepted"


CONTENTS: dict[str, tuple[Callable[[], bytes | web.Response], str]] = {
    "a certificate": (lambda: signer().der, "accepted"),
    "a page": (lambda: b"<html>Sign in</html>", "certificate-encoding"),
    "too large": (lambda: signer().pem + b"\n" * 20_000, "certificate-encoding"),
    "without an end": (lambda: b"\n" * 1_000_000, "certificate-encoding"),
    "a redirect": (lambda: web.Response(status=302, headers={"Location": "https://127.0.0.1/"}), "certificate-fetch"),
    "not there": (lambda: web.Response(status=404), "certificate-fetch"),
    "a host that fails": (lambda: web.Response(status=500), "certificate-unavailable"),
    "a host that is down": (lambda: web.Response(status=503), "certificate-unavailable"),
    "a host that throttles": (lambda: web.Response(status=429), "certificate-unavailable"),
}


@pytest.mark.parametrize("case", CONTENTS)
async def test_what_the_host_answers_decides(caller: Caller, case: str) -> None:
    make, expected = CONTENTS[case]
    assert await fate(caller, caller.host.headers(x_ms_certificate_url=caller.host.publish(make()))) == expected
    assert len(caller.asked) == 1


async def test_a_host_that_cannot_be_reached_is_no_refusal(caller: Caller) -> None:
    headers = caller.host.headers(x_ms_certificate_url="https://127.0.0.1:9/cert/a.cer")
    with pytest.raises(RetryableError, match="ClientConnectorError") as raised:
        await check(caller, headers)
    assert raised.value.reason == "certificate-unavailable"


async def test_concurrent_first_notifications_fetch_the_certificate_once(caller: Caller) -> None:
    headers = caller.host.headers()
    assert await asyncio.gather(*(fate(caller, headers) for _ in range(50))) == ["accepted"] * 50
    assert len(caller.asked) == 1


async def test_the_default_port_makes_no_second_fetch(caller: Caller) -> None:
    claim = signature.read_claim(caller.host.headers(), {caller.host.name})
    for _ in range(2):
        await caller.signers.check(BODY, claim)
    assert len(caller.asked) == 1


class TestKeeping:
    """How long a certificate is trusted without another look."""

    async def test_a_certificate_is_kept_for_a_day(self, caller: Caller) -> None:
        headers = caller.host.headers()
        for seconds in (0, certificates.MAX_AGE - 1, 1):
            caller.clock.advance(seconds)
            assert await fate(caller, headers) == "accepted"
        assert len(caller.asked) == 2

    async def test_a_certificate_that_expires_while_kept_is_not_trusted(self, caller: Caller) -> None:
        brief = Identity.issue(root(), key=signer().key, valid=(timedelta(days=-1), timedelta(hours=1)))
        headers = caller.host.headers(brief)
        assert await fate(caller, headers) == "accepted"
        caller.clock.advance(3700)
        assert await fate(caller, headers) == "certificate-expired"

    async def test_a_replaced_certificate_is_noticed_after_a_minute(self, caller: Caller) -> None:
        headers = caller.host.headers()
        assert await fate(caller, headers) == "accepted"
        successor = Identity.issue(root())
        caller.host.contents["/cert/0.cer"] = successor.der
        renewed = {**headers, "authorization": signature_of(successor, BODY)}
        assert await fate(caller, renewed) == "signature"
        assert len(caller.asked) == 1
        caller.clock.advance(certificates.ROTATION_CHECK)
        assert await fate(caller, renewed) == "accepted"
        assert await fate(caller, headers) == "signature"
        assert len(caller.asked) == 2

    async def test_the_certificate_that_was_not_used_for_longest_is_forgotten(
        self, caller: Caller, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(certificates, "MAX_SIGNERS", 2)
        first, second, third = (caller.host.headers() for _ in range(3))
        for headers in (first, second, first, third, first):
            assert await fate(caller, headers) == "accepted"
        assert len(caller.asked) == 3
        assert await fate(caller, second) == "accepted"
        assert len(caller.asked) == 4


@pytest.mark.e2e  # not by what it uses: more than a thousand calls
class TestStrangers:
    """What anybody can make the app fetch: they can name any URL on the certificates' host."""

    async def test_1331_unknown_urls_cause_few_fetches(self, caller: Caller) -> None:
        calls = [caller.host.headers(x_ms_certificate_url=stranger_url(caller.host, n)) for n in range(1331)]
        fates = [await fate(caller, headers) for headers in calls]
        assert len(caller.asked) == certificates.UNKNOWN_BURST
        assert set(fates[: certificates.UNKNOWN_BURST]) == {"certificate-fetch"}
        assert set(fates[certificates.UNKNOWN_BURST :]) == {"certificate-unavailable"}

    async def test_concurrent_unknown_urls_cause_as_few(self, caller: Caller) -> None:
        calls = [caller.host.headers(x_ms_certificate_url=stranger_url(caller.host, n)) for n in range(1331)]
        await asyncio.gather(*(fate(caller, headers) for headers in calls))
        assert len(caller.asked) == certificates.UNKNOWN_BURST

    async def test_in_the_course_of_a_day_the_fetches_stay_few(self, caller: Caller) -> None:
        for number in range(1331):
            caller.clock.advance(1)
            await fate(caller, caller.host.headers(x_ms_certificate_url=stranger_url(caller.host, number)))
        assert len(caller.asked) <= certificates.UNKNOWN_BURST + 1331 / certificates.UNKNOWN_INTERVAL

    async def test_a_known_signer_is_verified_in_the_midst_of_strangers(self, caller: Caller) -> None:
        headers = caller.host.headers()
        assert await fate(caller, headers) == "accepted"
        for number in range(100):
            await fate(caller, caller.host.headers(x_ms_certificate_url=stranger_url(caller.host, number)))
        assert await fate(caller, headers) == "accepted"
        caller.clock.advance(certificates.MAX_AGE)  # known, though due for another look
        for number in range(100, 200):
            await fate(caller, caller.host.headers(x_ms_certificate_url=stranger_url(caller.host, number)))
        assert await fate(caller, headers) == "accepted"

    async def test_an_exhausted_budget_says_when_it_refills(self, caller: Caller) -> None:
        for number in range(certificates.UNKNOWN_BURST):
            await fate(caller, caller.host.headers(x_ms_certificate_url=stranger_url(caller.host, number)))
        headers = caller.host.headers()
        with pytest.raises(RetryableError) as raised:
            await check(caller, headers)
        assert raised.value.retry_after == certificates.UNKNOWN_INTERVAL
        caller.clock.advance(raised.value.retry_after)
        assert await fate(caller, headers) == "accepted"

    async def test_a_refused_url_is_not_fetched_again_at_once(self, caller: Caller) -> None:
        headers = caller.host.headers(x_ms_certificate_url=stranger_url(caller.host, 0))
        for _ in range(500):
            assert await fate(caller, headers) == "certificate-fetch"
        assert len(caller.asked) == 1
        caller.clock.advance(certificates.REFUSAL_AGE)
        caller.host.contents["/cert/stranger-0.cer"] = signer().der
        assert await fate(caller, headers) == "accepted"

    async def test_a_failing_host_is_not_asked_again_at_once(self, caller: Caller) -> None:
        headers = caller.host.headers(x_ms_certificate_url=caller.host.publish(web.Response(status=503)))
        for _ in range(500):
            assert await fate(caller, headers) == "certificate-unavailable"
        assert len(caller.asked) == 1
        caller.clock.advance(certificates.OUTAGE_AGE)
        caller.host.contents[caller.asked[0]] = signer().der
        assert await fate(caller, headers) == "accepted"

    async def test_false_signatures_with_a_known_url_cause_a_fetch_a_minute(self, caller: Caller) -> None:
        headers = caller.host.headers()
        assert await fate(caller, headers) == "accepted"
        false = {**headers, "authorization": signature_of(intermediate(), BODY)}
        for _ in range(600):
            caller.clock.advance(1)
            assert await fate(caller, false) == "signature"
        assert len(caller.asked) <= 1 + 600 / certificates.ROTATION_CHECK

    async def test_false_signatures_cause_as_few_while_the_host_fails(self, caller: Caller) -> None:
        headers = caller.host.headers()
        assert await fate(caller, headers) == "accepted"
        caller.host.contents[caller.asked[0]] = web.Response(status=404)
        caller.clock.advance(certificates.ROTATION_CHECK)
        false = {**headers, "authorization": signature_of(intermediate(), BODY)}
        for _ in range(500):
            assert await fate(caller, false) == "certificate-fetch"
        assert len(caller.asked) == 2
        assert await fate(caller, headers) == "accepted"  # the kept certificate still holds

    async def test_only_so_many_refusals_are_remembered(self, caller: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(certificates, "MAX_FAILURES", 2)
        urls = [caller.host.headers(x_ms_certificate_url=stranger_url(caller.host, number)) for number in range(3)]
        for headers in (*urls, urls[2], urls[0]):
            assert await fate(caller, headers) == "certificate-fetch"
        assert caller.asked == [f"/cert/stranger-{number}.cer" for number in (0, 1, 2, 0)]


def stranger_url(host: CertificateHost, number: int) -> str:
    return f"https://{host.name}/cert/stranger-{number}.cer"


class TestIssuers:
    """Intermediates, fetched from where a certificate says its issuer's is, if that is a host of Microsoft's."""

    async def check(self, caller: Caller, identity: Identity) -> None:
        await check(caller, caller.host.headers(identity))

    async def test_an_intermediate_is_fetched(self, caller: Caller) -> None:
        url = caller.issuers.publish(intermediate().der)
        await self.check(caller, Identity.issue(intermediate(), issuer_url=url))
        assert len(caller.issuers.asked) == 1

    async def test_two_are_fetched(self, caller: Caller) -> None:
        lower = Identity.issue(
            intermediate(), is_authority=True, name="CA", issuer_url=caller.issuers.publish(intermediate().der)
        )
        await self.check(caller, Identity.issue(lower, issuer_url=caller.issuers.publish(lower.der)))
        assert len(caller.issuers.asked) == 2

    @pytest.mark.parametrize(
        "constraints",
        [(x509.BasicConstraints(ca=False, path_length=None), True), None],
        ids=["that says it is no authority", "that does not say what it is"],
    )
    async def test_an_intermediate_that_is_no_authority_is_refused(
        self, caller: Caller, constraints: tuple[x509.ExtensionType, bool] | None
    ) -> None:
        false = Identity.authority(issuer=root(), extensions={x509.BasicConstraints: constraints})
        with pytest.raises(SignatureError) as raised:
            await self.check(caller, Identity.issue(false, issuer_url=caller.issuers.publish(false.der)))
        assert raised.value.check == "certificate-chain"

    @pytest.mark.parametrize(
        "url",
        [
            "http://169.254.169.254/metadata/identity",
            "http://127.0.0.1:10001/devstoreaccount1",
            "http://www.microsoft.com@127.0.0.1/pkiops/certs/a.crt",
            "http://www.microsoft.com:8080/pkiops/certs/a.crt",
            "http://{host}/a.crt?to=http://127.0.0.1",
            "http://{host}/a.crt#b",
            "http://{host}/a.crt\r\nHost: 127.0.0.1",
            "http://{host}",
            "ldap://www.microsoft.com/cn=a",
            "http://[",
            "file:///etc/passwd",
        ],
    )
    async def test_an_issuer_elsewhere_is_not_fetched(self, caller: Caller, url: str) -> None:
        issuer_url = url.replace("{host}", caller.issuers.name)
        with pytest.raises(SignatureError) as raised:
            await self.check(caller, Identity.issue(intermediate(), key=signer().key, issuer_url=issuer_url))
        assert raised.value.check == "certificate-chain"
        assert caller.issuers.asked == []

    async def test_a_chain_without_end_is_given_up(self, caller: Caller) -> None:
        loop = Identity.issue(
            Identity.authority(), is_authority=True, issuer_url=f"http://{caller.issuers.name}/cert/0.cer"
        )
        url = caller.issuers.publish(loop.der)
        with pytest.raises(SignatureError) as raised:
            await self.check(caller, Identity.issue(loop, issuer_url=url))
        assert raised.value.check == "certificate-chain"
        assert len(caller.issuers.asked) == signature.MAX_INTERMEDIATES

    async def test_an_issuers_host_that_fails_is_no_refusal(self, caller: Caller) -> None:
        url = caller.issuers.publish(web.Response(status=503))
        with pytest.raises(RetryableError):
            await self.check(caller, Identity.issue(intermediate(), issuer_url=url))


async def test_extra_roots_are_logged(caller: Caller) -> None:
    await check(caller, caller.host.headers())
    assert [line["extra"] for line in caller.log() if line["event"] == "webhook.roots"] == [1]
