"""Partner Center's signatures: whether a notification is signed by Microsoft. Fetches nothing and keeps nothing.

Source: "Partner Center webhooks", section on authenticating the callback, in Microsoft's documentation; and where that
leaves a question open, the stricter answer.
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
from cryptography.x509.oid import AuthorityInformationAccessOID, NameOID
from cryptography.x509.verification import Criticality, ExtensionPolicy, Policy, PolicyBuilder, Store, VerificationError

from referral_fn.errors import SignatureError

MAX_CERTIFICATE = 16 * 1024
"""Bytes of a certificate; real ones have two or three kilobytes."""

ISSUER = "Microsoft Corporation"
SMALLEST_KEY = 2048
"""Bits of an RSA key."""

_ALGORITHMS: dict[str, hashes.HashAlgorithm] = {
    "rsa-sha256": hashes.SHA256(),
    "rsa-sha384": hashes.SHA384(),
    "rsa-sha512": hashes.SHA512(),
}
_URL = re.compile(r"https://(?P<host>[a-z0-9.-]+(?::[0-9]+)?)(?:/(?!\.)[A-Za-z0-9._-]+)+")
"""Neither user info, nor query, nor fragment, nor anything encoded: a path of plain names, as documented."""

_SIGNATURE = re.compile(r"Signature +(?P<base64>[A-Za-z0-9+/=]+)", re.IGNORECASE)
_LONGEST_CHAIN = 4
_BROKEN: tuple[type[Exception], ...] = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.ExtensionNotFound,
    x509.UnsupportedGeneralNameType,
)
"""What cryptography raises for certificates that are none, or parts of which are not what they should be."""


@dataclass(frozen=True, slots=True)
class Claim:
    """What the headers claim: a signature, how it was made, and whose certificate proves it."""

    certificate_url: str
    algorithm: hashes.HashAlgorithm
    signature: bytes


@dataclass(frozen=True, slots=True)
class Signer:
    """A certificate's key, once the certificate has been checked."""

    key: rsa.RSAPublicKey
    not_after: datetime


def read_claim(headers: Mapping[str, str], hosts: Collection[str]) -> Claim:
    """Read the signature headers.

    Args:
        headers: by lower-case name. A header sent twice comes as one value with a comma.
        hosts: where a certificate may lie; `name` means port 443, `name:port` that port.

    Raises:
        SignatureError: `header-missing`, `header-doubled`, `scheme`, `signature-encoding`, `algorithm`,
            `certificate-url`.
    """
    url = _header(headers, "x-ms-certificate-url")
    algorithm = _ALGORITHMS.get(_header(headers, "x-ms-signature-algorithm").lower())
    if algorithm is None:
        raise SignatureError("algorithm", f"the algorithm must be one of {', '.join(_ALGORITHMS)}")
    match = _URL.fullmatch(url)
    if not match or match["host"].removesuffix(":443") not in hosts:
        raise SignatureError("certificate-url", "the certificate must lie on a host of WEBHOOK_CERTIFICATE_HOSTS")
    return Claim(url, algorithm, _read_signature(headers))


def _header(headers: Mapping[str, str], name: str) -> str:
    value = headers.get(name, "").strip()
    if not value:
        raise SignatureError("header-missing", f"{name} is missing")
    if "," in value:
        raise SignatureError("header-doubled", f"{name} is there twice")
    return value


def _read_signature(headers: Mapping[str, str]) -> bytes:
    """The signature, from whichever of its two headers the registration chose."""
    own = "x-ms-signature"
    other_scheme = not headers.get("authorization", "").lower().startswith("signature")
    given = _header(headers, own if own in headers and other_scheme else "authorization")
    if own in headers and headers[own].strip() != given:
        raise SignatureError("header-doubled", "authorization and x-ms-signature differ")
    match = _SIGNATURE.fullmatch(given)
    if not match:
        scheme = "signature-encoding" if given.lower().startswith("signature ") else "scheme"
        raise SignatureError(scheme, "the header must be Signature and base64")
    try:
        return base64.b64decode(match["base64"], validate=True)
    except binascii.Error:
        raise SignatureError("signature-encoding", "the signature must be base64") from None


def read_certificate(content: bytes) -> x509.Certificate:
    """Read one certificate, DER or PEM.

    Raises:
        SignatureError: `certificate-encoding`.
    """
    pem = content.lstrip().startswith(b"-----BEGIN")
    try:
        found = x509.load_pem_x509_certificates(content) if pem else [x509.load_der_x509_certificate(content)]
    except _BROKEN:
        found = []
    if len(found) != 1 or len(content) > MAX_CERTIFICATE:
        raise SignatureError("certificate-encoding", "it must be one certificate, DER or PEM")
    return found[0]


def issuer_urls(certificate: x509.Certificate) -> list[str]:
    """Where the certificate says that its issuer's lies (RFC 5280, section 4.2.2.1)."""
    try:
        access = certificate.extensions.get_extension_for_class(x509.AuthorityInformationAccess).value
    except _BROKEN:
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
    """Check a certificate, and its chain up to one of the roots.

    Raises:
        SignatureError: `certificate-encoding`, `certificate-not-yet-valid`, `certificate-expired`,
            `certificate-issuer`, `certificate-key`, `certificate-chain`.
    """
    try:
        if now < certificate.not_valid_before_utc:
            raise SignatureError("certificate-not-yet-valid", "the certificate is not valid yet")
        if now > certificate.not_valid_after_utc:
            raise SignatureError("certificate-expired", "the certificate has expired")
        organizations = certificate.issuer.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
        if [organization.value for organization in organizations] != [ISSUER]:
            raise SignatureError("certificate-issuer", f"the issuer's organization must be {ISSUER}")
        key = certificate.public_key()
        if not isinstance(key, rsa.RSAPublicKey) or key.key_size < SMALLEST_KEY:
            raise SignatureError("certificate-key", f"the key must be RSA with {SMALLEST_KEY} bits or more")
        _verifier(roots, now).verify(certificate, intermediates)
    except VerificationError as error:
        raise SignatureError("certificate-chain", f"no chain to a trusted root: {error}") from None
    except _BROKEN:
        raise SignatureError("certificate-encoding", "a part of the certificate cannot be read") from None
    return Signer(key, certificate.not_valid_after_utc)


def check_signature(body: bytes, claim: Claim, signer: Signer) -> None:
    """Check the signature: RSASSA-PKCS1-v1_5 over the exact bytes of the body.

    Raises:
        SignatureError: `signature`.
    """
    try:
        signer.key.verify(claim.signature, body, padding.PKCS1v15(), claim.algorithm)
    except InvalidSignature:
        raise SignatureError("signature", "the signature is not that of this body") from None


def check_age(changed_at: datetime | None, oldest: float | None, now: datetime) -> None:
    """Check that a notification is at most `oldest` seconds old; without that limit, any age will do.

    Raises:
        SignatureError: `notification-age`.
    """
    if oldest is not None and (changed_at is None or (now - changed_at).total_seconds() > oldest):
        raise SignatureError("notification-age", "the notification is older than WEBHOOK_MAX_AGE allows")


def _verifier(roots: Store, now: datetime) -> x509.verification.ClientVerifier:
    """Path validation as for the Web's certificates; the signer itself need not be named for a server or a client."""
    signer = ExtensionPolicy.permit_all().may_be_present(x509.BasicConstraints, Criticality.AGNOSTIC, _no_authority)
    signer = signer.may_be_present(x509.KeyUsage, Criticality.AGNOSTIC, _may_sign)
    authorities = ExtensionPolicy.webpki_defaults_ca()
    builder = PolicyBuilder().store(roots).time(now).max_chain_depth(_LONGEST_CHAIN)
    return builder.extension_policies(ca_policy=authorities, ee_policy=signer).build_client_verifier()


def _no_authority(_: Policy, __: x509.Certificate, constraints: x509.BasicConstraints | None) -> None:
    if constraints and constraints.ca:
        raise ValueError("the signer is an authority")


def _may_sign(_: Policy, __: x509.Certificate, usage: x509.KeyUsage | None) -> None:
    if usage and not usage.digital_signature:
        raise ValueError("the signer's key is not for signatures")
