"""The checks of a notification's signature and of its signer's certificate. Pure functions: nothing is fetched or kept.

Source: "Partner Center webhooks", section "How to authenticate the callback", in Microsoft's documentation. Where it
leaves a question open, the stricter answer is implemented.
"""

import base64
import binascii
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID, NameOID
from cryptography.x509.verification import Criticality, ExtensionPolicy, Policy, PolicyBuilder, Store, VerificationError

from referral_fn.errors import SignatureError

MAX_CERTIFICATE = 16 * 1024
"""Bytes of a certificate. Real ones have two or three kilobytes."""

ISSUER_ORGANIZATION = "Microsoft Corporation"
MIN_KEY_BITS = 2048

_ALGORITHMS: dict[str, hashes.HashAlgorithm] = {
    "rsa-sha256": hashes.SHA256(),
    "rsa-sha384": hashes.SHA384(),
    "rsa-sha512": hashes.SHA512(),
}
_CERTIFICATE_URL = re.compile(
    r"https://(?P<host>[a-z0-9.-]+(?::[0-9]+)?)(?P<path>(?:/(?!\.)[A-Za-z0-9._-]+)+)", re.ASCII
)
"""No user info, query, fragment or percent-encoding: a path of plain names, as in the documentation."""

_SIGNATURE = re.compile(r"Signature +(?P<base64>[A-Za-z0-9+/=]+)", re.IGNORECASE | re.ASCII)
MAX_INTERMEDIATES = 3
"""Certificates between the signer and a root. Public chains have one or two."""

_PURPOSES = frozenset(
    {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE}
)
"""Partner Center's signer is, by its documented name and issuer, a certificate for TLS. Public authorities issue these
from intermediates for server authentication; older and private ones allow client authentication or state nothing."""

_UNREADABLE: tuple[type[Exception], ...] = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.ExtensionNotFound,
    x509.UnsupportedGeneralNameType,
)
"""What cryptography raises for bytes that are no certificate, and for malformed parts of one."""


@dataclass(frozen=True, slots=True)
class Claim:
    """What the headers claim: a signature, how it was made, and which certificate proves it."""

    certificate_url: str
    """Without the port if that is 443: one certificate has one URL."""
    algorithm: hashes.HashAlgorithm
    signature: bytes


@dataclass(frozen=True, slots=True)
class Signer:
    """The public key of a certificate that passed all checks."""

    key: rsa.RSAPublicKey
    not_after: datetime
    """When the certificate expires."""


def read_claim(headers: Mapping[str, str], hosts: Collection[str]) -> Claim:
    """Read the signature headers.

    Args:
        headers: by lower-case name. A header that was sent twice is one value with a comma.
        hosts: where a certificate may be; `name` means port 443, `name:port` that port.

    Raises:
        SignatureError: `header-missing`, `header-doubled`, `scheme`, `signature-encoding`, `algorithm`,
            `certificate-url`.
    """
    url = _header(headers, "x-ms-certificate-url")
    algorithm = _ALGORITHMS.get(_header(headers, "x-ms-signature-algorithm").lower())
    if algorithm is None:
        raise SignatureError("algorithm", f"the algorithm must be one of {', '.join(_ALGORITHMS)}")
    match = _CERTIFICATE_URL.fullmatch(url)
    host = match["host"].removesuffix(":443") if match else None
    if match is None or host not in hosts:
        raise SignatureError("certificate-url", "the certificate must be on a host of WEBHOOK_CERTIFICATE_HOSTS")
    return Claim(f"https://{host}{match['path']}", algorithm, _read_signature(headers))


def _header(headers: Mapping[str, str], name: str) -> str:
    value = headers.get(name, "").strip()
    if not value:
        raise SignatureError("header-missing", f"{name} is missing")
    if "," in value:
        raise SignatureError("header-doubled", f"{name} was sent twice")
    return value


def _read_signature(headers: Mapping[str, str]) -> bytes:
    """Read the signature from the header that the registration chose: `x-ms-signature` or `authorization`."""
    own = "x-ms-signature"
    other_scheme = not headers.get("authorization", "").lower().startswith("signature")
    value = _header(headers, own if own in headers and other_scheme else "authorization")
    if own in headers and headers[own].strip() != value:
        raise SignatureError("header-doubled", "authorization and x-ms-signature differ")
    match = _SIGNATURE.fullmatch(value)
    if not match:
        check = "signature-encoding" if value.lower().startswith("signature ") else "scheme"
        raise SignatureError(check, "the header must be Signature and base64")
    try:
        return base64.b64decode(match["base64"], validate=True)
    except binascii.Error:
        raise SignatureError("signature-encoding", "the signature must be base64") from None


def read_certificate(content: bytes) -> x509.Certificate:
    """Read one certificate, DER or PEM.

    Raises:
        SignatureError: `certificate-encoding`.
    """
    certificates: list[x509.Certificate] = []
    if len(content) <= MAX_CERTIFICATE:
        try:
            if content.lstrip().startswith(b"-----BEGIN"):
                certificates = x509.load_pem_x509_certificates(content)
            else:
                certificates = [x509.load_der_x509_certificate(content)]
        except _UNREADABLE:
            pass
    if len(certificates) != 1:
        raise SignatureError("certificate-encoding", "it must be one certificate, DER or PEM")
    return certificates[0]


def issuer_urls(certificate: x509.Certificate) -> list[str]:
    """The URLs at which the certificate says that its issuer's is (RFC 5280, section 4.2.2.1)."""
    try:
        access = certificate.extensions.get_extension_for_class(x509.AuthorityInformationAccess).value
    except _UNREADABLE:
        return []
    return [
        entry.access_location.value
        for entry in access
        if entry.access_method == AuthorityInformationAccessOID.CA_ISSUERS
        and isinstance(entry.access_location, x509.UniformResourceIdentifier)
    ]


def check_signer(
    certificate: x509.Certificate, intermediates: list[x509.Certificate], roots: Store, now: datetime
) -> Signer:
    """Check a certificate, and that a path leads from it to one of the roots.

    Raises:
        SignatureError: `certificate-encoding`, `certificate-not-yet-valid`, `certificate-expired`,
            `certificate-issuer`, `certificate-key`, `certificate-chain`. Only the last may have another answer with
            more intermediates.
    """
    try:
        if now < certificate.not_valid_before_utc:
            raise SignatureError("certificate-not-yet-valid", "the certificate is not valid yet")
        if now > certificate.not_valid_after_utc:
            raise SignatureError("certificate-expired", "the certificate has expired")
        organizations = certificate.issuer.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
        if [organization.value for organization in organizations] != [ISSUER_ORGANIZATION]:
            raise SignatureError("certificate-issuer", f"the issuer's organization must be {ISSUER_ORGANIZATION}")
        key = certificate.public_key()
        if not isinstance(key, rsa.RSAPublicKey) or key.key_size < MIN_KEY_BITS:
            raise SignatureError("certificate-key", f"the key must be RSA with {MIN_KEY_BITS} bits or more")
        check_path(certificate, intermediates, roots, now)
    except VerificationError as error:
        raise SignatureError("certificate-chain", f"no path to a trusted root: {error}") from None
    except _UNREADABLE:
        raise SignatureError("certificate-encoding", "a part of the certificate cannot be read") from None
    return Signer(key, certificate.not_valid_after_utc)


def check_path(
    certificate: x509.Certificate, intermediates: list[x509.Certificate], roots: Store, now: datetime
) -> None:
    """Check that a path leads from a certificate to a root, by the rules of the Web's certificates.

    Different from these, the certificate needs no particular name, and each certificate may be for server or for client
    authentication (`_PURPOSES`): a signer is neither, and authorities limit themselves to one of them or to none.

    Raises:
        VerificationError: there is no such path.
    """
    authority = ExtensionPolicy.webpki_defaults_ca()
    authority = authority.may_be_present(x509.ExtendedKeyUsage, Criticality.AGNOSTIC, _check_purpose)
    signer = ExtensionPolicy.permit_all()
    signer = signer.may_be_present(x509.BasicConstraints, Criticality.AGNOSTIC, _check_is_no_authority)
    signer = signer.may_be_present(x509.KeyUsage, Criticality.AGNOSTIC, _check_may_sign)
    signer = signer.may_be_present(x509.ExtendedKeyUsage, Criticality.AGNOSTIC, _check_purpose)
    signer = signer.require_not_present(x509.NameConstraints)
    builder = PolicyBuilder().store(roots).time(now).max_chain_depth(MAX_INTERMEDIATES)
    builder = builder.extension_policies(ca_policy=authority, ee_policy=signer)
    # A server verifier would want a name to match. A client verifier's own purpose is what the policies replace.
    builder.build_client_verifier().verify(certificate, intermediates)


def _check_is_no_authority(_: Policy, __: x509.Certificate, constraints: x509.BasicConstraints | None) -> None:
    if constraints and constraints.ca:
        raise ValueError("the signer is an authority")


def _check_may_sign(_: Policy, __: x509.Certificate, usage: x509.KeyUsage | None) -> None:
    if usage and (usage.key_cert_sign or not usage.digital_signature):
        raise ValueError("the signer's key is not for signatures of data, or also for those of certificates")


def _check_purpose(_: Policy, __: x509.Certificate, purposes: x509.ExtendedKeyUsage | None) -> None:
    if purposes is not None and _PURPOSES.isdisjoint(purposes):
        raise ValueError("a certificate is for neither server nor client authentication")


def check_signature(body: bytes, claim: Claim, signer: Signer) -> None:
    """Check the signature: RSASSA-PKCS1-v1_5 over the exact bytes of the body.

    Raises:
        SignatureError: `signature`.
    """
    try:
        signer.key.verify(claim.signature, body, padding.PKCS1v15(), claim.algorithm)
    except InvalidSignature:
        raise SignatureError("signature", "the signature is not that of this body") from None


def check_age(changed_at: datetime | None, max_age: float, now: datetime) -> None:
    """Check that a notification is at most `max_age` seconds old.

    Raises:
        SignatureError: `notification-age`: it is older, or does not state when the referral changed.
    """
    if changed_at is None or (now - changed_at).total_seconds() > max_age:
        raise SignatureError("notification-age", "the notification is older than WEBHOOK_MAX_AGE allows")
