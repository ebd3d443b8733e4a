"""Which certificate paths are accepted. The cases follow RFC 5280, section 6, and the ideas of public test suites."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID as Purpose
from cryptography.x509.verification import Store, VerificationError

from local_stack.stand_ins.signing import SIGNER_NAME, Extensions, Identity, key_usage
from referral_fn.webhooks import signature

KEYS = [ec.generate_private_key(ec.SECP256R1()) for _ in range(5)]
SIGNER_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
ROOT = Identity.authority(key=KEYS[0])

SERVER_GATED = x509.ObjectIdentifier("1.3.6.1.4.1.311.10.3.3")
"""A purpose of its own that Microsoft's old authorities stated beside others."""

PURPOSES: dict[str, tuple[Sequence[x509.ObjectIdentifier] | None, bool]] = {
    "nothing": (None, True),
    "server": ([Purpose.SERVER_AUTH], True),
    "client": ([Purpose.CLIENT_AUTH], True),
    "server and client": ([Purpose.SERVER_AUTH, Purpose.CLIENT_AUTH], True),
    "any": ([Purpose.ANY_EXTENDED_KEY_USAGE], True),
    "server and OCSP": ([Purpose.SERVER_AUTH, Purpose.OCSP_SIGNING], True),
    "client and e-mail": ([Purpose.CLIENT_AUTH, Purpose.EMAIL_PROTECTION], True),
    "an empty list": ([], False),
    "code signing": ([Purpose.CODE_SIGNING], False),
    "e-mail": ([Purpose.EMAIL_PROTECTION], False),
    "OCSP": ([Purpose.OCSP_SIGNING], False),
    "time stamping": ([Purpose.TIME_STAMPING], False),
    "code signing and time stamping": ([Purpose.CODE_SIGNING, Purpose.TIME_STAMPING], False),
    "smart card": ([Purpose.SMARTCARD_LOGON], False),
    "server gated only": ([SERVER_GATED], False),
}


def purposes(stated: Sequence[x509.ObjectIdentifier] | None) -> Extensions:
    return {x509.ExtendedKeyUsage: None if stated is None else (x509.ExtendedKeyUsage(stated), False)}


def accepted(signer: Identity, *intermediates: Identity, roots: Sequence[Identity] = (ROOT,)) -> bool:
    store = Store([identity.certificate for identity in roots])
    authorities = [identity.certificate for identity in intermediates]
    try:
        signature.check_path(signer.certificate, authorities, store, datetime.now(UTC))
    except VerificationError:
        return False
    return True


def authority(issuer: Identity = ROOT, number: int = 1, extensions: Extensions | None = None) -> Identity:
    return Identity.authority(issuer=issuer, key=KEYS[number], extensions=extensions)


def signer(issuer: Identity, extensions: Extensions | None = None) -> Identity:
    return Identity.issue(issuer, key=SIGNER_KEY, extensions=extensions)


@pytest.mark.parametrize("stated", PURPOSES)
def test_an_intermediate_may_be_for_server_or_client_authentication(stated: str) -> None:
    stated_purposes, expected = PURPOSES[stated]
    issuing = authority(extensions=purposes(stated_purposes))
    assert accepted(signer(issuing), issuing) is expected


@pytest.mark.parametrize("stated", PURPOSES)
def test_a_root_may_be_for_server_or_client_authentication(stated: str) -> None:
    stated_purposes, expected = PURPOSES[stated]
    root = Identity.authority(key=KEYS[2], extensions=purposes(stated_purposes))
    issuing = authority(root)
    assert accepted(signer(issuing), issuing, roots=[root]) is expected


@pytest.mark.parametrize("stated", PURPOSES)
def test_a_signer_may_be_for_server_or_client_authentication(stated: str) -> None:
    stated_purposes, expected = PURPOSES[stated]
    issuing = authority()
    assert accepted(signer(issuing, purposes(stated_purposes)), issuing) is expected


def test_purposes_may_be_critical() -> None:
    critical: Extensions = {x509.ExtendedKeyUsage: (x509.ExtendedKeyUsage([Purpose.SERVER_AUTH]), True)}
    issuing = authority(extensions=critical)
    assert accepted(signer(issuing, critical), issuing)


def constraints(*, ca: bool, path_length: int | None = None, critical: bool = True) -> Extensions:
    return {x509.BasicConstraints: (x509.BasicConstraints(ca, path_length), critical)}


UNKNOWN = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.55555.1"), b"\x05\x00")


def names(*, permitted: str | None = None, excluded: str | None = None) -> Extensions:
    def subtree(name: str | None) -> list[x509.GeneralName] | None:
        return [x509.DNSName(name)] if name else None

    return {x509.NameConstraints: (x509.NameConstraints(subtree(permitted), subtree(excluded)), True)}


AUTHORITIES: dict[str, tuple[Extensions, bool]] = {
    "an unlimited path": (constraints(ca=True), True),
    "a path of no further intermediate": (constraints(ca=True, path_length=0), True),
    "no authority": (constraints(ca=False), False),
    "no basic constraints": ({x509.BasicConstraints: None}, False),
    "basic constraints that are not critical": (constraints(ca=True, critical=False), False),
    "a key that signs no certificates": ({x509.KeyUsage: (key_usage(signs_data=True), True)}, False),
    "no key usage": ({x509.KeyUsage: None}, False),
    "no subject key identifier": ({x509.SubjectKeyIdentifier: None}, True),
    "no authority key identifier": ({x509.AuthorityKeyIdentifier: None}, True),
    "an unknown critical extension": ({x509.UnrecognizedExtension: (UNKNOWN, True)}, False),
    "an unknown extension": ({x509.UnrecognizedExtension: (UNKNOWN, False)}, True),
    "names that include the signer's": (names(permitted="microsoft.com"), True),
    "names that do not include the signer's": (names(permitted="contoso.com"), False),
    "names that exclude the signer's": (names(excluded="microsoft.com"), False),
}


@pytest.mark.parametrize("case", AUTHORITIES)
def test_what_an_intermediate_must_be(case: str) -> None:
    extensions, expected = AUTHORITIES[case]
    issuing = authority(extensions=extensions)
    assert accepted(signer(issuing), issuing) is expected


SIGNERS: dict[str, tuple[Extensions, bool]] = {
    "an authority": (constraints(ca=True), False),
    "no basic constraints": ({x509.BasicConstraints: None}, True),
    "a key that signs no data": ({x509.KeyUsage: (key_usage(), True)}, False),
    "a key that also signs certificates": (
        {x509.KeyUsage: (key_usage(signs_data=True, signs_certificates=True), True)},
        False,
    ),
    "constraints on names": (names(permitted="microsoft.com"), False),
    "no key usage": ({x509.KeyUsage: None}, True),
    "no names": ({x509.SubjectAlternativeName: None}, True),
    "another name": (
        {x509.SubjectAlternativeName: (x509.SubjectAlternativeName([x509.DNSName("a.test")]), False)},
        True,
    ),
    "an unknown critical extension": ({x509.UnrecognizedExtension: (UNKNOWN, True)}, False),
}


@pytest.mark.parametrize("case", SIGNERS)
def test_what_a_signer_must_be(case: str) -> None:
    extensions, expected = SIGNERS[case]
    issuing = authority()
    assert accepted(signer(issuing, extensions), issuing) is expected


def chain(*extensions: Extensions) -> list[Identity]:
    """Intermediates below the root, each with the extensions of its place."""
    authorities: list[Identity] = []
    for number, own in enumerate(extensions, 1):
        above = authorities[-1] if authorities else ROOT
        authorities.append(
            Identity.issue(
                above,
                name=f"CA {number}",
                is_authority=True,
                key=KEYS[number],
                extensions={**purposes(None), **own},
            )
        )
    return authorities


LENGTHS: dict[str, tuple[list[int | None], bool]] = {
    "one": ([None], True),
    "two": ([None, None], True),
    "three": ([None, None, None], True),
    "more than a public path has": ([None, None, None, None], False),
    "as long as the first allows": ([1, None], True),
    "longer than the first allows": ([0, None], False),
    "longer than the second allows": ([None, 0, None], False),
    "an authority that allows itself more": ([0, 5], False),
}


@pytest.mark.parametrize("case", LENGTHS)
def test_how_long_a_path_may_be(case: str) -> None:
    lengths, expected = LENGTHS[case]
    authorities = chain(*(constraints(ca=True, path_length=length) for length in lengths))
    assert accepted(signer(authorities[-1]), *authorities) is expected


def test_intermediates_may_come_in_any_order_and_with_others() -> None:
    first, second = chain({}, {})
    other = authority(Identity.authority("Contoso", key=KEYS[4]), 3)
    assert accepted(signer(second), second, other, first, first)
    assert not accepted(signer(second), second, other)
    assert not accepted(signer(second), first)


def test_an_issuer_is_known_by_its_signature_not_by_its_name() -> None:
    issuing = authority()
    impostor = authority(number=2)  # the same name, another key
    assert issuing.certificate.subject == impostor.certificate.subject
    assert accepted(signer(issuing), impostor, issuing)
    assert not accepted(signer(issuing), impostor)


def test_a_circle_of_authorities_leads_nowhere() -> None:
    def issue(issuer: Identity | None, number: int) -> Identity:
        return Identity.issue(issuer, name=f"CA {number}", is_authority=True, key=KEYS[number])

    one, two = issue(issue(None, 2), 1), issue(issue(None, 1), 2)
    assert not accepted(signer(one), one, two)
    assert not accepted(signer(one), one, two, issue(None, 1), issue(None, 2))


def test_many_authorities_of_one_name_and_key_end_in_a_refusal() -> None:
    lost = Identity.issue(None, name="lost", is_authority=True, key=KEYS[4])
    crowd = [Identity.issue(lost, name="lost", is_authority=True, key=KEYS[4]) for _ in range(30)]
    assert not accepted(signer(lost), *crowd)


def test_an_intermediate_must_be_in_date() -> None:
    for valid in ((timedelta(days=-9), timedelta(days=-1)), (timedelta(days=1), timedelta(days=9))):
        issuing = Identity.issue(ROOT, name="CA", is_authority=True, key=KEYS[1], valid=valid)
        assert not accepted(signer(issuing), issuing)


def test_a_root_must_be_in_date() -> None:
    root = Identity.issue(None, is_authority=True, key=KEYS[2], valid=(timedelta(days=-9), timedelta(days=-1)))
    assert not accepted(signer(root), roots=[root])


SHORT = rsa.generate_private_key(public_exponent=65537, key_size=1024)  # noqa: S505 - to be refused
WEAK: dict[str, Callable[[], Identity]] = {
    "a key of 1024 bits": lambda: Identity.authority(issuer=ROOT, key=SHORT),
    "an unusual curve": lambda: Identity.authority(issuer=ROOT, key=ec.generate_private_key(ec.SECP256K1())),
    "a signature with SHA-224": lambda: Identity.issue(ROOT, is_authority=True, key=KEYS[1], algorithm=hashes.SHA224()),
}


@pytest.mark.parametrize("case", WEAK)
def test_an_intermediate_must_be_strong(case: str) -> None:
    issuing = WEAK[case]()
    assert not accepted(signer(issuing), issuing)


def test_an_operator_may_trust_one_signer_without_an_issuer() -> None:
    alone = Identity.issue(None, key=SIGNER_KEY)
    assert accepted(alone, roots=[alone])
    assert not accepted(alone, roots=[ROOT])


def test_the_names_of_the_signer_come_from_its_certificate() -> None:
    """Guards the table above: its name constraints mean the name that the signer really has."""
    names_extension = signer(ROOT).certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert names_extension.value.get_values_for_type(x509.DNSName) == [SIGNER_NAME]
