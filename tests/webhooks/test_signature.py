"""Which headers, certificates and signatures are accepted. Every attack, and the check that stops it; no network."""

import base64
import contextlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.verification import Store
from hypothesis import given, settings
from hypothesis import strategies as st

from local_stack.stand_ins.signing import Identity
from local_stack.stand_ins.webhooks import notification
from referral_fn.errors import SignatureError
from referral_fn.webhooks import signature
from referral_fn.webhooks.signature import Claim, Signer
from tests.documents import SEED_ID
from tests.webhook_caller import BODY, HOST, SHA256, intermediate, root, signature_of, signer

HASHES = (hashes.SHA256(), hashes.SHA384(), hashes.SHA512())
URL = f"https://{HOST}/cert/a.cer"
TOKEN = base64.b64encode(b"\x01" * 256).decode()


def correct_headers() -> dict[str, str]:
    return {
        "x-ms-certificate-url": URL,
        "x-ms-signature-algorithm": "rsa-sha256",
        "authorization": signature_of(signer(), BODY),
    }


def verify(headers: dict[str, str], body: bytes = BODY) -> None:
    claim = signature.read_claim(headers, {HOST})
    certificate = signature.read_certificate(signer().der)
    known = signature.check_signer(certificate, [], Store([root().certificate]), datetime.now(UTC))
    signature.check_signature(body, claim, known)


HEADERS: dict[str, tuple[dict[str, str | None], str]] = {
    "no certificate": ({"x-ms-certificate-url": None}, "header-missing"),
    "no algorithm": ({"x-ms-signature-algorithm": None}, "header-missing"),
    "no signature": ({"authorization": None}, "header-missing"),
    "blank signature": ({"authorization": " "}, "header-missing"),
    "two certificates": ({"x-ms-certificate-url": f"{URL},{URL}"}, "header-doubled"),
    "two algorithms": ({"x-ms-signature-algorithm": "rsa-sha256,rsa-sha256"}, "header-doubled"),
    "two signatures": ({"authorization": f"Signature {TOKEN},Signature {TOKEN}"}, "header-doubled"),
    "two signature headers that differ": ({"x-ms-signature": f"Signature {TOKEN}"}, "header-doubled"),
    "another scheme": ({"authorization": f"Bearer {TOKEN}"}, "scheme"),
    "no scheme": ({"authorization": TOKEN}, "scheme"),
    "nothing but the scheme": ({"authorization": "Signature"}, "scheme"),
    "sha1": ({"x-ms-signature-algorithm": "rsa-sha1"}, "algorithm"),
    "md5": ({"x-ms-signature-algorithm": "rsa-md5"}, "algorithm"),
    "no hash": ({"x-ms-signature-algorithm": "none"}, "algorithm"),
    "another family": ({"x-ms-signature-algorithm": "ecdsa-sha256"}, "algorithm"),
    "another hash than signed": ({"x-ms-signature-algorithm": "rsa-sha512"}, "signature"),
    "base64 cut short": ({"authorization": f"Signature {TOKEN[:-1]}"}, "signature-encoding"),
    "base64 with spaces": ({"authorization": f"Signature {TOKEN[:9]} {TOKEN[9:]}"}, "signature-encoding"),
    "url-safe base64": ({"authorization": "Signature _-_-"}, "signature-encoding"),
    "somebody's bytes": ({"authorization": f"Signature {TOKEN}"}, "signature"),
    "a signature of no length": ({"authorization": "Signature AA=="}, "signature"),
}


@pytest.mark.parametrize("attack", HEADERS)
def test_headers_that_prove_nothing_are_refused(attack: str) -> None:
    changes, check = HEADERS[attack]
    headers = {name: value for name, value in {**correct_headers(), **changes}.items() if value is not None}
    assert refusal(lambda: verify(headers)) == check


def refusal(check: Callable[[], object]) -> str:
    with pytest.raises(SignatureError) as raised:
        check()
    return raised.value.check


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
    "a digit of another script in the port": f"https://{HOST}:44\u0663/cert/a.cer",
    "percent-encoding in the host": f"https://{HOST.replace('.', '%2e')}/cert/a.cer",
    "percent-encoding in the path": f"https://{HOST}/cert/%2e%2e/a.cer",
    "a fragment": f"https://{HOST}/cert/a.cer#b",
    "a query": f"https://{HOST}/cert/a.cer?comp=list",
    "dot segments": f"https://{HOST}/cert/../evil/a.cer",
    "backslashes": f"https:\\\\{HOST}\\cert\\a.cer",
    "no path": f"https://{HOST}",
    "a line break": f"https://{HOST}\n/cert/a.cer",
    "another scheme": "file:///etc/passwd",
    "nothing": "x",
}


@pytest.mark.parametrize("attack", URLS)
def test_certificate_urls_that_are_not_microsofts_are_refused(attack: str) -> None:
    headers = {**correct_headers(), "x-ms-certificate-url": URLS[attack]}
    assert refusal(lambda: signature.read_claim(headers, {HOST})) == "certificate-url"


def test_the_default_port_makes_no_other_certificate_url() -> None:
    headers = {**correct_headers(), "x-ms-certificate-url": f"https://{HOST}:443/cert/a.cer"}
    assert signature.read_claim(headers, {HOST}).certificate_url == URL


@pytest.mark.parametrize("algorithm", HASHES)
@pytest.mark.parametrize("header", ["authorization", "x-ms-signature"])
def test_a_correct_signature_is_accepted_in_either_header(algorithm: hashes.HashAlgorithm, header: str) -> None:
    headers = {
        "x-ms-certificate-url": URL,
        "x-ms-signature-algorithm": f"RSA-{algorithm.name.upper()}",
        header: signature_of(signer(), BODY, algorithm),
    }
    verify(headers)


def test_a_proxy_of_the_operator_may_use_authorization() -> None:
    headers = correct_headers()
    own = {"x-ms-signature": headers["authorization"]}
    verify({**headers, **own, "authorization": "Bearer of-the-proxy"})
    verify({**headers, **own})


def test_a_signature_is_that_of_the_exact_bytes() -> None:
    for body in (flipped(BODY), BODY + b" ", BODY.replace(b": ", b":"), b"", notification("referral-updated", SEED_ID)):
        assert refusal(lambda body=body: verify(correct_headers(), body)) == "signature"  # type: ignore[misc]
    tampered = base64.b64encode(flipped(signer().sign(BODY, SHA256))).decode()
    assert refusal(lambda: verify({**correct_headers(), "authorization": f"Signature {tampered}"})) == "signature"


def flipped(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


def key(bits: int) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


def days(first: int, last: int) -> tuple[timedelta, timedelta]:
    return timedelta(days=first), timedelta(days=last)


CERTIFICATES: dict[str, tuple[Callable[[], Identity], str]] = {
    "self-signed": (lambda: Identity.issue(None), "certificate-chain"),
    "expired": (lambda: Identity.issue(root(), valid=days(-30, -1)), "certificate-expired"),
    "not yet valid": (lambda: Identity.issue(root(), valid=days(1, 30)), "certificate-not-yet-valid"),
    "of another organization": (lambda: Identity.issue(Identity.authority("Contoso")), "certificate-issuer"),
    "of Microsoft, by another": (
        lambda: Identity.issue(Identity.authority("Contoso"), organization="Microsoft Corporation"),
        "certificate-issuer",
    ),
    "of a look-alike": (lambda: Identity.issue(Identity.authority("Microsoft Corporation ")), "certificate-issuer"),
    "of a root nobody trusts": (lambda: Identity.issue(Identity.authority()), "certificate-chain"),
    "issued by a signer": (lambda: Identity.issue(signer()), "certificate-chain"),
    "an authority": (intermediate, "certificate-chain"),
    "with a key of 1024 bits": (lambda: Identity.issue(root(), key=key(1024)), "certificate-key"),
    "with an EC key": (lambda: Identity.issue(root(), key=ec.generate_private_key(ec.SECP256R1())), "certificate-key"),
}


@pytest.mark.parametrize("attack", CERTIFICATES)
def test_certificates_that_prove_nothing_are_refused(attack: str) -> None:
    make, check = CERTIFICATES[attack]
    assert refusal(lambda: check_signer(make())) == check


def check_signer(identity: Identity, *intermediates: Identity) -> Signer:
    authorities = [authority.certificate for authority in intermediates]
    return signature.check_signer(identity.certificate, authorities, Store([root().certificate]), datetime.now(UTC))


CONTENTS: dict[str, bytes] = {
    "several in one PEM": signer().pem + root().pem,
    "something behind the DER": signer().der + b"x",
    "too large": signer().pem + b"\n" * 20_000,
    "a page": b"<html>Sign in</html>",
    "nothing": b"",
    "noise": b"\x30\x82\x01\x00" + b"\xff" * 300,
    "a broken PEM": signer().pem.replace(b"MII", b"AII", 1),
}


@pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS)
def test_contents_that_are_no_certificate_are_refused(content: bytes) -> None:
    assert refusal(lambda: signature.read_certificate(content)) == "certificate-encoding"


@pytest.mark.parametrize("form", ["der", "pem"])
def test_a_certificate_is_read_in_either_encoding(form: str) -> None:
    assert signature.read_certificate(getattr(signer(), form)) == signer().certificate


def test_the_urls_of_issuers_are_read_where_there_are_any() -> None:
    url = "http://www.microsoft.com/pkiops/certs/a.crt"
    assert signature.issuer_urls(Identity.issue(root(), key=signer().key, issuer_url=url).certificate) == [url]
    assert signature.issuer_urls(signer().certificate) == []
    assert signature.issuer_urls(root().certificate) == []


def test_a_notification_without_a_time_or_older_than_the_limit_is_refused() -> None:
    now = datetime(2026, 1, 2, tzinfo=UTC)
    signature.check_age(now - timedelta(seconds=60), 60, now)
    assert refusal(lambda: signature.check_age(now - timedelta(seconds=61), 60, now)) == "notification-age"
    assert refusal(lambda: signature.check_age(None, 60, now)) == "notification-age"


_header_values = st.text(max_size=60) | st.sampled_from([URL, "rsa-sha256", "Signature AAAA", f"Signature {TOKEN}"])


@given(
    st.dictionaries(
        st.sampled_from(["x-ms-certificate-url", "x-ms-signature-algorithm", "authorization", "x-ms-signature"]),
        _header_values,
    )
)
@settings(max_examples=60)
def test_reading_headers_raises_nothing_but_a_signature_error(headers: dict[str, str]) -> None:
    with contextlib.suppress(SignatureError):
        assert signature.read_claim(headers, {HOST}).certificate_url == URL


@given(content=st.binary(max_size=300))
@settings(max_examples=50)
def test_reading_a_certificate_raises_nothing_but_a_signature_error(content: bytes) -> None:
    with contextlib.suppress(SignatureError):
        signature.read_certificate(content)


@given(token=st.binary(max_size=600))
@settings(max_examples=50)
def test_no_bytes_but_the_signature_are_the_signature(token: bytes) -> None:
    known = check_signer(signer())
    with contextlib.suppress(SignatureError):
        signature.check_signature(BODY, Claim(URL, SHA256, token), known)
        assert token == signer().sign(BODY, SHA256)


def test_x509_is_not_asked_for_names_of_the_signer() -> None:
    """The subject is not checked: which one Partner Center uses is not documented."""
    nameless: dict[type[x509.ExtensionType], None] = {x509.SubjectAlternativeName: None}
    check_signer(Identity.issue(root(), organization="Contoso", key=signer().key, extensions=nameless))
