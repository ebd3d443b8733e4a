"""Who may make the app fetch a referral: nobody but Microsoft. Every attack, and the check that stops it."""

import base64
import contextlib
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from aiohttp import web
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from local_stack.stack import Stack
from local_stack.stand_ins.signing import Identity
from local_stack.stand_ins.webhooks import notification
from referral_fn.app import App
from referral_fn.errors import SignatureError
from referral_fn.referrals.request import MAX_NOTIFICATION
from referral_fn.settings import read_settings
from referral_fn.webhooks import signature
from tests.documents import SEED_ID
from tests.webhook_caller import BODY, HOST, SHA256, Attacked, intermediate, refused_after, root, signer


@pytest.fixture
def app(attacked: Attacked) -> Attacked:
    return attacked


def key(bits: int) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


def days(first: int, last: int) -> tuple[timedelta, timedelta]:
    return timedelta(days=first), timedelta(days=last)


def flipped(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


SIGNATURE = base64.b64encode(b"\x01" * 256).decode()
HEADERS: dict[str, tuple[dict[str, str | None], str]] = {
    "no certificate": ({"x_ms_certificate_url": None}, "header-missing"),
    "no algorithm": ({"x_ms_signature_algorithm": None}, "header-missing"),
    "no signature": ({"authorization": None}, "header-missing"),
    "blank signature": ({"authorization": " "}, "header-missing"),
    "two certificates": (
        {"x_ms_certificate_url": f"https://{HOST}/cert/a.cer,https://{HOST}/cert/b.cer"},
        "header-doubled",
    ),
    "two algorithms": ({"x_ms_signature_algorithm": "rsa-sha256,rsa-sha256"}, "header-doubled"),
    "two signatures": ({"authorization": f"Signature {SIGNATURE},Signature {SIGNATURE}"}, "header-doubled"),
    "two signature headers that differ": ({"x_ms_signature": f"Signature {SIGNATURE}"}, "header-doubled"),
    "another scheme": ({"authorization": f"Bearer {SIGNATURE}"}, "scheme"),
    "no scheme": ({"authorization": SIGNATURE}, "scheme"),
    "nothing but the scheme": ({"authorization": "Signature"}, "scheme"),
    "sha1": ({"x_ms_signature_algorithm": "rsa-sha1"}, "algorithm"),
    "md5": ({"x_ms_signature_algorithm": "rsa-md5"}, "algorithm"),
    "no hash": ({"x_ms_signature_algorithm": "none"}, "algorithm"),
    "another family": ({"x_ms_signature_algorithm": "ecdsa-sha256"}, "algorithm"),
    "another hash than signed": ({"x_ms_signature_algorithm": "rsa-sha512"}, "signature"),
    "base64 cut short": ({"authorization": f"Signature {SIGNATURE[:-1]}"}, "signature-encoding"),
    "base64 with spaces": ({"authorization": f"Signature {SIGNATURE[:9]} {SIGNATURE[9:]}"}, "signature-encoding"),
    "url-safe base64": ({"authorization": "Signature _-_-"}, "signature-encoding"),
    "somebody's bytes": ({"authorization": f"Signature {SIGNATURE}"}, "signature"),
    "a signature of no length": ({"authorization": "Signature AA=="}, "signature"),
}


@pytest.mark.parametrize("attack", HEADERS)
async def test_headers_that_prove_nothing(app: Attacked, attack: str) -> None:
    changes, check = HEADERS[attack]
    headers = {**app.headers(), **{name.replace("_", "-"): value for name, value in changes.items()}}
    await refused(app, {name: value for name, value in headers.items() if value is not None}, check=check)


URLS = {
    "http": f"http://{HOST}/cert/a.cer",
    "user info": f"https://user@{HOST}/cert/a.cer",
    "user info that looks like the host": f"https://{HOST}@evil.example/cert/a.cer",
    "another port": f"https://{HOST}:8443/cert/a.cer",
    "an IP literal": "https://20.60.1.2/cert/a.cer",
    "an IPv6 literal": "https://[::1]/cert/a.cer",
    "the metadata service": "https://169.254.169.254/metadata/instance",
    "this machine": "https://localhost/cert/a.cer",
    "the host as a prefix": f"https://{HOST}.evil.example/cert/a.cer",
    "the host as a suffix": f"https://evil{HOST}/cert/a.cer",
    "a look-alike": "https://3psostorageacct.blob.core.windows.net.co/cert/a.cer",
    "a letter of another script": "https://3psost\u043eragea\u0441\u0441t.blob.core.windows.net/cert/a.cer",
    "another account": "https://evil.blob.core.windows.net/cert/a.cer",
    "a trailing dot": f"https://{HOST}./cert/a.cer",
    "upper case": f"https://{HOST.upper()}/cert/a.cer",
    "percent-encoding in the host": f"https://{HOST.replace('.', '%2e')}/cert/a.cer",
    "percent-encoding in the path": f"https://{HOST}/cert/%2e%2e/a.cer",
    "a fragment": f"https://{HOST}/cert/a.cer#b",
    "a query": f"https://{HOST}/cert/a.cer?comp=list",
    "dot segments": f"https://{HOST}/cert/../evil/a.cer",
    "backslashes": f"https:\\\\{HOST}\\cert\\a.cer",
    "no path": f"https://{HOST}",
    "a line break": f"https://{HOST}/cert/a.cer\n",
    "another scheme": "file:///etc/passwd",
    "nothing": "x",
}


@pytest.mark.parametrize("attack", URLS)
async def test_addresses_that_are_not_microsofts(app: Attacked, attack: str) -> None:
    url = URLS[attack]
    headers = app.headers(x_ms_certificate_url=url)
    if url.endswith("\n"):  # what surrounds a header's value is no part of it, within the value it is
        headers["x-ms-certificate-url"] = url.replace("/cert", "\n/cert")
    await refused(app, headers, check="certificate-url")
    assert app.host.asked == []


def expired() -> Identity:
    return Identity.issue(root(), valid=days(-30, -1))


CERTIFICATES: dict[str, tuple[Callable[[], Identity], str]] = {
    "self-signed": (lambda: Identity.issue(None), "certificate-chain"),
    "expired": (expired, "certificate-expired"),
    "not yet valid": (lambda: Identity.issue(root(), valid=days(1, 30)), "certificate-not-yet-valid"),
    "of another organization": (lambda: Identity.issue(Identity.authority("Contoso")), "certificate-issuer"),
    "of Microsoft, by another": (
        lambda: Identity.issue(Identity.authority("Contoso"), organization="Microsoft Corporation"),
        "certificate-issuer",
    ),
    "of a look-alike": (lambda: Identity.issue(Identity.authority("Microsoft Corporation ")), "certificate-issuer"),
    "of a root nobody trusts": (lambda: Identity.issue(Identity.authority()), "certificate-chain"),
    "an authority": (intermediate, "certificate-chain"),
    "issued by a signer": (lambda: Identity.issue(signer()), "certificate-chain"),
    "whose key is not for signatures": (lambda: Identity.issue(root(), may_sign=False), "certificate-chain"),
    "with a key of 1024 bits": (lambda: Identity.issue(root(), key=key(1024)), "certificate-key"),
    "with an EC key": (lambda: Identity.issue(root(), key=ec.generate_private_key(ec.SECP256R1())), "certificate-key"),
}


@pytest.mark.parametrize("attack", CERTIFICATES)
async def test_certificates_that_prove_nothing(app: Attacked, attack: str) -> None:
    make, check = CERTIFICATES[attack]
    await refused(app, app.headers(make()), check=check)


CONTENTS: dict[str, tuple[Callable[[], bytes | web.Response], str]] = {
    "several in one PEM": (lambda: signer().pem + root().pem, "certificate-encoding"),
    "something behind the DER": (lambda: signer().der + b"x", "certificate-encoding"),
    "too large": (lambda: signer().pem + b"\n" * 20_000, "certificate-encoding"),
    "a page": (lambda: b"<html>Sign in</html>", "certificate-encoding"),
    "nothing": (lambda: b"", "certificate-encoding"),
    "noise": (lambda: b"\x30\x82\x01\x00" + b"\xff" * 300, "certificate-encoding"),
    "a redirect": (lambda: web.Response(status=302, headers={"Location": "https://127.0.0.1/"}), "certificate-fetch"),
    "not there": (lambda: web.Response(status=404), "certificate-fetch"),
}


@pytest.mark.parametrize("attack", CONTENTS)
async def test_contents_that_are_no_certificate(app: Attacked, attack: str) -> None:
    make, check = CONTENTS[attack]
    await refused(app, app.headers(x_ms_certificate_url=app.host.publish(make())), check=check)
    assert len(app.host.asked) == 1


async def refused(app: Attacked, headers: dict[str, str], body: bytes = BODY, *, check: str) -> None:
    """Every refusal is the same to the caller, its reason is in the log, and nothing is queued."""
    answer = await app.post(headers, body)
    problem = json.loads(answer.body)
    assert (answer.status, answer.content_type) == (401, "application/problem+json")
    assert problem == {
        "type": "urn:referral-fn:problem:signature-invalid",
        "title": "The notification is not signed by Microsoft",
        "status": 401,
        "detail": "the log of the app says which check failed",
    }
    assert [line["check"] for line in app.log() if line["event"] == "webhook.refused"] == [check]
    assert await app.queues.requests.count() == 0


async def test_a_signature_is_of_the_exact_bytes(app: Attacked) -> None:
    headers = app.headers()
    for body in (flipped(BODY), BODY + b" ", BODY.replace(b": ", b":"), b"", notification("referral-updated", SEED_ID)):
        assert (await app.post(headers, body)).status == 401
    signed = signer().sign(BODY, SHA256)
    tampered = base64.b64encode(flipped(signed)).decode()
    assert (await app.post(app.headers(authorization=f"Signature {tampered}"))).status == 401
    assert (await app.post(headers)).status == 202


BODIES = {
    "over the limit": (b" " * (MAX_NOTIFICATION + 1), 413),
    "not UTF-8": (BODY[:-1] + b"\xff", 400),
    "not JSON": (b"EventName=referral-created", 400),
    "no object": (b"[]", 400),
    "no event": (b"{}", 400),
    "an event twice": (BODY[:-1] + b', "EventName": "referral-updated"}', 400),
    "deep nesting": (b'{"a":' * 100 + b"1" + b"}" * 100, 400),
    "no ID": (notification("referral-created", "latest"), 400),
    "two IDs": (notification("referral-created", f"{SEED_ID}/{SEED_ID}"), 400),
    "no URI": (json.dumps({"EventName": "referral-created"}).encode(), 400),
    "no time": (BODY.replace(b'"ResourceChangeUtcDate": "', b'"ResourceChangeUtcDate": "x'), 400),
}


@pytest.mark.parametrize("attack", BODIES)
async def test_bodies_that_name_no_referral_though_signed(app: Attacked, attack: str) -> None:
    body, status = BODIES[attack]
    answer = await app.post(app.headers(body=body), body)
    assert answer.status == status
    assert await app.queues.requests.count() == 0


async def test_an_oversized_body_is_refused_before_anything_else(app: Attacked) -> None:
    assert (await app.post({}, b" " * (MAX_NOTIFICATION + 1))).status == 413
    assert app.host.asked == []


@pytest.mark.parametrize("algorithm", [hashes.SHA256(), hashes.SHA384(), hashes.SHA512()])
@pytest.mark.parametrize("header", ["authorization", "x-ms-signature"])
@pytest.mark.parametrize("form", ["der", "pem"])
async def test_a_correct_notification_is_queued_with_its_cause(
    app: Attacked, algorithm: hashes.HashAlgorithm, header: str, form: str
) -> None:
    signature = base64.b64encode(signer().sign(BODY, algorithm)).decode()
    headers = {
        "X-MS-Certificate-Url": app.host.publish(getattr(signer(), form)),
        "X-MS-Signature-Algorithm": f"RSA-{algorithm.name.upper()}",
        header: f"Signature {signature}",
    }
    answer = await app.post(headers)
    assert (answer.status, answer.body) == (202, b"")
    (request,) = await app.queues.requests.documents()
    assert (request["referralId"], request["cause"], request["attempt"]) == (SEED_ID, "referral-created", 0)
    assert request["changedAt"].startswith(str(datetime.now(UTC).year))


async def test_a_front_of_the_apps_own_may_use_authorization(app: Attacked) -> None:
    correct = app.headers()
    headers = {**correct, "x-ms-signature": correct["authorization"], "authorization": "Bearer of-the-front"}
    assert (await app.post(headers)).status == 202
    assert (await app.post({**correct, "x-ms-signature": correct["authorization"]})).status == 202


@pytest.mark.parametrize(
    ("event", "status", "queued"),
    [
        ("referral-created", 202, 1),
        ("referral-updated", 202, 1),
        ("related-referral-created", 202, 1),
        ("related-referral-updated", 202, 1),
        ("test-created", 200, 0),
        ("subscription-updated", 204, 0),
        ("Sue Smith", 204, 0),
    ],
)
async def test_each_event_has_its_answer(app: Attacked, event: str, status: int, queued: int) -> None:
    body = notification(event, SEED_ID)
    assert (await app.post(app.headers(body=body), body)).status == status
    assert await app.queues.requests.count() == queued


async def test_old_notifications_are_welcome_unless_a_limit_is_set(app: Attacked, stack: Stack) -> None:
    old = BODY.replace(str(datetime.now(UTC).year).encode(), b"2018")
    assert (await app.post(app.headers(body=old), old)).status == 202
    limited = stack.environment(
        app.queues,
        WEBHOOK_CERTIFICATE_HOSTS=app.host.name,
        WEBHOOK_EXTRA_ROOTS=str(app.roots),
        WEBHOOK_MAX_AGE="3600",
    )
    app.app = App(read_settings(limited), app.session)
    await refused_after(app, app.headers(body=old), "signature")
    assert (await app.post(app.headers(body=old), old)).status == 401
    assert app.log()[-1]["check"] == "notification-age"
    assert (await app.post(app.headers())).status == 202
    await app.app.close()


_header_values = st.text(max_size=60) | st.sampled_from(
    [f"https://{HOST}/cert/a.cer", "rsa-sha256", "Signature AAAA", "Signature", f"Signature {SIGNATURE}"]
)


@given(
    st.dictionaries(
        st.sampled_from(["x-ms-certificate-url", "x-ms-signature-algorithm", "authorization", "x-ms-signature"]),
        _header_values,
    )
)
@settings(max_examples=300)
def test_no_headers_make_the_reading_of_them_raise_anything_else(headers: dict[str, str]) -> None:
    with contextlib.suppress(SignatureError):
        assert signature.read_claim(headers, {HOST}).certificate_url.startswith(f"https://{HOST}/")


@given(body=st.binary(max_size=300))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_no_signed_body_raises_past_the_webhook(app: Attacked, body: bytes) -> None:
    assert (await app.post(app.headers(body=body), body)).status in (200, 202, 204, 400)


@given(content=st.binary(max_size=300))
@settings(max_examples=200)
def test_no_content_makes_the_reading_of_a_certificate_raise_anything_else(content: bytes) -> None:
    with contextlib.suppress(SignatureError):
        signature.read_certificate(content)
