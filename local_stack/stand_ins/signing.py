"""Certificates like those that Partner Center signs notifications with, issued by an authority created for each run.

The extensions are those that public authorities put into their certificates (Baseline Requirements of the CA/Browser
Forum, section 7.1.2). Intermediates and the signer are for server authentication only; roots state no purpose.
"""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID, NameOID

Key = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
Extensions = Mapping[type[x509.ExtensionType], tuple[x509.ExtensionType, bool] | None]
"""Extensions by type, each with its criticality; None omits an extension."""

MICROSOFT = "Microsoft Corporation"
SIGNER_NAME = "pcnotifications-dispatch.microsoft.com"
_CRL = "http://www.microsoft.com/pkiops/crl/stand-in.crl"
_OCSP = "http://oneocsp.microsoft.com/ocsp"
_ORGANIZATION_VALIDATED = x509.ObjectIdentifier("2.23.140.1.2.2")
"""The CA/Browser Forum's policy for certificates of organizations that the authority has validated."""


class Identity:
    """A certificate and its private key."""

    def __init__(self, certificate: x509.Certificate, key: Key) -> None:
        self.certificate = certificate
        self.key = key

    @classmethod
    def authority(
        cls,
        organization: str = MICROSOFT,
        *,
        issuer: "Identity | None" = None,
        key: Key | None = None,
        extensions: Extensions | None = None,
    ) -> Self:
        """Create a root, or an intermediate if there is an issuer."""
        name = f"{organization} {'TLS CA' if issuer else 'Root CA'}"
        changes = extensions or {}
        return cls.issue(issuer, organization=organization, name=name, is_authority=True, key=key, extensions=changes)

    @classmethod
    def issue(  # noqa: PLR0913 - one for each property that tests vary
        cls,
        issuer: "Identity | None",
        *,
        organization: str = MICROSOFT,
        name: str = SIGNER_NAME,
        key: Key | None = None,
        is_authority: bool = False,
        valid: tuple[timedelta, timedelta] = (timedelta(days=-1), timedelta(days=30)),
        issuer_url: str | None = None,
        extensions: Extensions | None = None,
        algorithm: hashes.SHA224 | hashes.SHA256 | None = None,
    ) -> Self:
        """Issue a certificate.

        Args:
            issuer: who signs it; None makes it self-signed.
            organization: the organization of its subject.
            name: the common name of its subject.
            key: its key; a new RSA key of 2048 bits if there is none.
            is_authority: whether it gets the extensions of an authority or those of a signer.
            valid: from when to when, relative to now.
            issuer_url: the issuer certificate's URL in its extensions.
            extensions: these replace the usual ones of their types.
            algorithm: the hash of its signature; SHA-256 if there is none.
        """
        key = key or rsa.generate_private_key(public_exponent=65537, key_size=2048)
        subject = _name(organization, name)
        now = datetime.now(UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer.certificate.subject if issuer else subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + valid[0])
            .not_valid_after(now + valid[1])
        )
        signer = issuer.key if issuer else key
        usual = {type(extension): (extension, critical) for extension, critical in _key_extensions(key, signer)}
        usual |= {type(extension): (extension, critical) for extension, critical in _role_extensions(is_authority)}
        if issuer:
            services = _issuer_services(issuer_url, None if is_authority else name)
            usual |= {type(extension): (extension, False) for extension in services}
        for extension in {**usual, **(extensions or {})}.values():
            if extension:
                builder = builder.add_extension(*extension)
        return cls(builder.sign(signer, algorithm or hashes.SHA256()), key)

    def sign(self, body: bytes, algorithm: hashes.HashAlgorithm) -> bytes:
        """Sign a body as Partner Center does."""
        if not isinstance(self.key, rsa.RSAPrivateKey):
            return self.key.sign(body, ec.ECDSA(algorithm))
        return self.key.sign(body, padding.PKCS1v15(), algorithm)

    @property
    def der(self) -> bytes:
        """The certificate in DER."""
        return self.certificate.public_bytes(Encoding.DER)

    @property
    def pem(self) -> bytes:
        """The certificate in PEM."""
        return self.certificate.public_bytes(Encoding.PEM)


def key_usage(*, signs_data: bool = False, signs_certificates: bool = False) -> x509.KeyUsage:
    """Create a key usage extension; one that allows neither is for encryption."""
    return x509.KeyUsage(
        digital_signature=signs_data,
        content_commitment=False,
        key_encipherment=not (signs_data or signs_certificates),
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _name(organization: str, name: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.COUNTRY_NAME, "US"),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization),
            x509.NameAttribute(NameOID.COMMON_NAME, name),
        ]
    )


def _key_extensions(key: Key, signer: Key) -> Iterator[tuple[x509.ExtensionType, bool]]:
    yield x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False
    yield x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), False


def _role_extensions(is_authority: bool) -> Iterator[tuple[x509.ExtensionType, bool]]:  # noqa: FBT001 - private
    yield x509.BasicConstraints(is_authority, None), True
    yield key_usage(signs_data=True, signs_certificates=is_authority), True


def _issuer_services(issuer_url: str | None, dns_name: str | None) -> Iterator[x509.ExtensionType]:
    """Extensions of issued certificates: purpose, policy, and the URLs of the issuer's services."""
    services = [(AuthorityInformationAccessOID.OCSP, _OCSP)]
    if issuer_url:
        services.append((AuthorityInformationAccessOID.CA_ISSUERS, issuer_url))
    yield x509.AuthorityInformationAccess(
        [x509.AccessDescription(method, x509.UniformResourceIdentifier(url)) for method, url in services]
    )
    yield x509.CRLDistributionPoints([x509.DistributionPoint([x509.UniformResourceIdentifier(_CRL)], None, None, None)])
    yield x509.CertificatePolicies([x509.PolicyInformation(_ORGANIZATION_VALIDATED, None)])
    yield x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
    if dns_name:
        yield x509.SubjectAlternativeName([x509.DNSName(dns_name)])
