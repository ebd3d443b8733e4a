from decimal import Decimal
from typing import Any

import pytest

from referral_fn import strict_json
from referral_fn.referrals.wire import InvalidReferralError, read_referral
from tests.documents import SEED_ID, encode, seed


def findings_of(document: Any) -> list[tuple[str, str]]:
    with pytest.raises(InvalidReferralError) as raised:
        read_referral(encode(document), SEED_ID)
    return [(finding["path"], finding["rule"]) for finding in raised.value.findings]


def test_the_seed_is_read() -> None:
    referral = read_referral(encode(seed()), SEED_ID)
    assert referral.customerProfile is not None
    assert referral.customerProfile.ids == []
    assert referral.statusDetail == "Accepted"


def test_the_id_may_come_in_any_case() -> None:
    assert read_referral(encode(seed(id=SEED_ID.upper())), SEED_ID).id == SEED_ID.upper()


def test_wrong_shapes_are_reported_by_path_and_rule_without_values() -> None:
    document = seed(
        createdDateTime="a secret",
        team=[{"firstName": ["a secret"]}],
        customerProfile="a secret",
        details={"dealValue": "a secret", "requirements": {"industries": "a secret"}},
        links={"self": 5},
        consent={"consentToContact": "a secret"},
    )
    findings = findings_of(document)
    assert sorted(findings) == [
        ("/consent/consentToContact", "must be true or false"),
        ("/createdDateTime", "must be an ISO 8601 timestamp"),
        ("/customerProfile", "must be a JSON object"),
        ("/details/dealValue", "must be a decimal number"),
        ("/details/requirements/industries", "must be a list"),
        ("/links/self", "must be a JSON object"),
        ("/team/0/firstName", "must be a string"),
    ]


@pytest.mark.parametrize(
    ("document", "path", "rule"),
    [
        ([], "", "must be a JSON object"),
        ("text", "", "must be a JSON object"),
        ({}, "/id", "is required"),
        ({"id": None}, "/id", "must be a string"),
        ({"id": "5"}, "/id", "must be a GUID"),
        ({"id": "5357cdc2-743e-4dd5-89c6-f3731f8b69ce"}, "/id", "must be the ID that was asked for"),
        ({"error": {"code": "itemNotFound"}}, "/id", "is required"),
    ],
)
def test_what_is_not_the_referral_asked_for_is_refused(document: Any, path: str, rule: str) -> None:
    assert findings_of(document) == [(path, rule)]


def test_of_a_thousand_wrong_fields_the_first_fifty_are_reported() -> None:
    assert len(findings_of(seed(team=[5] * 1000))) == 50


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0.1", "0.1"),
        ("100.50", "100.50"),
        ("12345678901234567890.12", "12345678901234567890.12"),
        ("1e3", "1E+3"),
        ('"99.90"', "99.90"),
        ("7", "7"),
    ],
)
def test_money_keeps_its_digits(text: str, value: str) -> None:
    body = f'{{"id": "{SEED_ID}", "details": {{"dealValue": {text}}}}}'.encode()
    details = read_referral(body, SEED_ID).details
    assert details is not None
    assert details.dealValue is not None
    assert str(details.dealValue) == value
    assert isinstance(details.dealValue, Decimal)


@pytest.mark.parametrize("text", ["1e400", "1e-401", "1e999", "1e999999999", '"NaN"', '"Infinity"', "true", "[]"])
def test_an_invalid_amount_is_refused(text: str) -> None:
    body = f'{{"id": "{SEED_ID}", "details": {{"dealValue": {text}}}}}'.encode()
    with pytest.raises(InvalidReferralError) as raised:
        read_referral(body, SEED_ID)
    assert [finding["path"] for finding in raised.value.findings] == ["/details/dealValue"]


@pytest.mark.parametrize("body", [b"", b"{", b'{"id": "x"', b"\xff", b"<html>", b"[1, Infinity]", b"[" * 9999])
def test_what_is_not_json_raises_another_error_than_what_is_not_a_referral(body: bytes) -> None:
    with pytest.raises(strict_json.InvalidJSONError):
        read_referral(body, SEED_ID)
