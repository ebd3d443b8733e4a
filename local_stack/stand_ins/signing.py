"""Certificates like those that Partner Center signs notifications with, of an authority made for one run."""

from datetime import UTC, datetime, timedelta
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import AuthorityInformationAccessOID, NameOID

Key = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
MICROSOFT = "Microsoft Corporation"


class Identity:
    """A certificate and its key."""

    def __init__(self, certificate: x509.Certificate, key: Key) -> None:
        self.certificate = certificate
        self.key = key

    @classmethod
    def authority(cls, organization: str = MICROSOFT, *, issuer: "Identity | None" = None) -> Self:
        """An authority, a root where it has no issuer."""
        return cls.issue(issuer, organization=organization, name=f"{organization} CA", is_authority=True)

    @classmethod
    def issue(
        cls,
        issuer: "Identity | None",
        *,
        organization: str = MICROSOFT,
        name: str = "Signer",
        key: Key | None = None,
        is_authority: bool | None = False,
        valid: tuple[timedelta, timedelta] = (timedelta(days=-1), timedelta(days=30)),
        issuer_url: str | None = None,
        may_sign: bool = True,
    ) -> Self:
        """Issue a certificate; self-signed where there is no issuer.

        Args:
            issuer: who signs it.
            organization: the subject's.
            name: the subject's common name.
            key: a new RSA key of 2048 bits where there is none.
            is_authority: its basic constraint; None leaves the extension out.
            valid: from when to when, from now.
            issuer_url: where it says that its issuer's certificate lies.
            may_sign: whether its key is for signatures.
        """
        key = key or rsa.generate_private_key(public_exponent=65537, key_size=2048)
        subject = x509.Name(
            [
                x509.NameAttribute(NameOID.COUNTRY_NAME, "US"),
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization),
                x509.NameAttribute(NameOID.COMMON_NAME, name),
            ]
        )
        signer = issuer.key if issuer else key
        now = datetime.now(UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer.certificate.subject if issuer else subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + valid[0])
            .not_valid_after(now + valid[1])
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
            .add_extension(_usage(is_authority=bool(is_authority), may_sign=may_sign), critical=True)
        )
        if is_authority is not None:
            builder = builder.add_extension(x509.BasicConstraints(is_authority, None), critical=True)
        if issuer_url:
            where = x509.UniformResourceIdentifier(issuer_url)
            access = x509.AccessDescription(AuthorityInformationAccessOID.CA_ISSUERS, where)
            builder = builder.add_extension(x509.AuthorityInformationAccess([access]), critical=False)
        return cls(builder.sign(signer, hashes.SHA256()), key)

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


def _usage(*, is_authority: bool, may_sign: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=may_sign,
        content_commitment=False,
        key_encipherment=not may_sign,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=is_authority,
        crl_sign=is_authority,
        encipher_only=False,
        decipher_only=False,
    )
