from typing import Any

import phonenumbers
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.documents import data_of


@pytest.mark.parametrize(
    ("number", "country", "expected"),
    [
        ("(403) 569-8759", "US", "+14035698759"),
        ("030 901820", "DEU", "+4930901820"),
        ("+49 30 901820", None, "+4930901820"),
        ("030 901820", None, "030 901820"),
        ("1234567890", "US", "1234567890"),
        ("(403) 569-8759 ext. 12", "US", "(403) 569-8759 ext. 12"),
        ("call me", "US", "call me"),
        ("+", None, "+"),
    ],
)
def test_phone_numbers_become_e164_where_nothing_is_lost(number: str, country: str | None, expected: str) -> None:
    profile = {"team": [{"phoneNumber": number}], "address": {"country": country}}
    assert data_of(customerProfile=profile)["customer"]["contacts"] == [{"phone": expected}]


@given(st.sampled_from(sorted(phonenumbers.SUPPORTED_REGIONS)), st.data())
def test_a_number_becomes_e164_exactly_where_it_is_valid(origin: str, data: st.DataObject) -> None:
    region = data.draw(st.sampled_from([origin, "US", "GB"]))  # a region that shares its calling code with others
    example = phonenumbers.example_number_for_type(origin, data.draw(st.sampled_from(range(11))))
    digits = list(str(example.national_number if example else 0))
    for place, digit in data.draw(
        st.dictionaries(st.integers(0, len(digits) - 1), st.integers(0, 9), max_size=3)
    ).items():
        digits[place] = str(digit)
    try:
        parsed = phonenumbers.parse("".join(digits), region)
    except phonenumbers.NumberParseException:
        return
    member = {"firstName": "A", "phoneNumber": "".join(digits)}
    profile = {"address": {"country": region}, "team": [member]}
    (contact,) = data_of(customerProfile=profile)["customer"]["contacts"]
    e164 = phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164)
    assert contact["phone"] == (e164 if phonenumbers.is_valid_number(parsed) else "".join(digits))


def contact(number: str, country: str | None) -> tuple[Any, list[str]]:
    """A contact with a telephone number, and the paths of the event's warnings."""
    data = data_of(customerProfile={"team": [{"phoneNumber": number}], "address": {"country": country}}, team=None)
    return data["customer"]["contacts"][0]["phone"], [finding["path"] for finding in data.get("warnings", ())]


@pytest.mark.parametrize(
    ("number", "country"),
    [("1234567890", "US"), ("call me", "US"), ("+", None), ("+1 234", "DE"), ("0" * 51, "US")],
)
def test_an_invalid_telephone_number_is_kept_with_a_warning(number: str, country: str | None) -> None:
    assert contact(number, country) == (number, ["/customer/contacts/0/phone"])


@pytest.mark.parametrize(
    ("number", "country"), [("030 901820", None), ("030 901820", "AQ"), ("(403) 569-8759 ext. 12", "US")]
)
def test_a_telephone_number_that_cannot_be_judged_or_converted_draws_no_warning(
    number: str, country: str | None
) -> None:
    assert contact(number, country) == (number, [])


def test_a_person_keeps_title_preferences_and_validation_states() -> None:
    member = {
        "firstName": "Li",
        "title": "Buyer",
        "emailValidationStatus": "Valid",
        "phoneValidationStatus": "NotChecked",
        "contactPreference": {"locale": "zh-CN", "disableNotifications": True},
    }
    assert data_of(team=[None, {}, member])["team"] == [
        {
            "firstName": "Li",
            "title": "Buyer",
            "emailValidationStatus": "Valid",
            "phoneValidationStatus": "NotChecked",
            "locale": "zh-CN",
            "notify": False,
        }
    ]
