import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from referral_fn.referrals.contact_policy import REDACTED, restrict
from referral_fn.referrals.normalization import normalize
from referral_fn.referrals.wire import read_referral
from tests.documents import COLLECTION, SEED_ID, encode, seed

AGREED = {"consentToContact": True, "consentToToShareInfoWithOthers": True}
PERSONAL = ["Zelda", "Quux", "zelda.quux@contoso.com", "0170 1234567", "1234567", "\u738b\u5c0f\u660e", "Ngo Bright"]


def gossip(consent: dict[str, bool] | None = None) -> dict[str, Any]:
    """A referral that mentions its contacts wherever it can."""
    everything = "Zelda Quux (zelda.quux@contoso.com, +49 170 123-4567), \u738b\u5c0f\u660e\u5148\u751f or Ngo Bright"
    return seed(
        name=f"Deal with {everything}",
        externalReferenceId="crm-zelda.quux@contoso.com",
        statusReason=everything,
        organizationName=everything,
        customerProfile={
            "name": "Quux & Sons",
            "team": [
                {"firstName": "Zelda", "lastName": "Quux", "email": "zelda.quux@contoso.com"},
                {"phoneNumber": "0170 1234567", "firstName": "\u738b\u5c0f\u660e"},
                {"note": everything},
            ],
            "address": {"addressLine1": f"c/o {everything}", "city": "Berlin", "country": "DE"},
        },
        team=[{"firstName": "Ngo Bright", "email": "not an address"}],
        details={"notes": everything, "requirements": {"solutions": [{"id": "1", "name": everything}]}},
        inviteContext={"notes": everything, "invitedBy": {"organizationName": everything}},
        links={"self": {"uri": "/v1/referrals?email=zelda.quux@contoso.com"}},
        solutionArea="Security for Zelda",
        trackingInfo={"by": everything},
        consent=consent,
    )


def published(document: dict[str, Any], policy: Any) -> str:
    made = normalize(read_referral(encode(document), SEED_ID), collection=COLLECTION, policy=policy)
    return made.encode().decode()


@pytest.mark.parametrize(
    ("policy", "consent"),
    [
        ("none", None),
        ("none", AGREED),
        ("consented", None),
        ("consented", {"consentToContact": True}),
        ("consented", {"consentToToShareInfoWithOthers": True}),
        ("consented", AGREED | {"consentToContact": False}),
    ],
)
def test_where_people_may_not_appear_no_name_address_or_number_is_left(policy: str, consent: Any) -> None:
    text = published(gossip(consent), policy)
    assert [word for word in PERSONAL if word.casefold() in text.casefold()] == []


@pytest.mark.parametrize(("policy", "consent"), [("full", None), ("consented", AGREED)])
def test_where_people_may_appear_all_of_them_do(policy: str, consent: Any) -> None:
    text = published(gossip(consent), policy)
    assert all(word in text for word in ["Zelda", "zelda.quux@contoso.com", "+491701234567", "Ngo Bright"])
    assert REDACTED not in text


def test_what_is_no_person_stays() -> None:
    document = gossip()
    data = json.loads(published(document, "none"))["data"]
    assert data["customer"]["address"]["city"] == "Berlin"
    assert data["customer"]["name"] == f"{REDACTED} & Sons"
    assert data["solutionArea"] == f"Security for {REDACTED}"
    assert data["status"] == "Active"
    assert data["requirements"]["solutions"][0]["id"] == "1"
    assert not {"notes", "team", "warnings"} & data.keys()


def test_a_person_called_like_a_status_changes_no_status() -> None:
    document = seed(team=[{"firstName": "Active", "lastName": "Accepted"}], name="An Active deal")
    data = json.loads(published(document, "none"))["data"]
    assert (data["status"], data["substatus"], data["name"]) == ("Active", "Accepted", f"An {REDACTED} deal")


def test_short_words_are_matched_as_words() -> None:
    document = seed(team=[{"firstName": "Al", "lastName": "J"}], name="Alabama for Al, not J")
    assert json.loads(published(document, "none"))["data"]["name"] == f"Alabama for {REDACTED}, not J"


def test_without_contacts_there_is_nothing_to_redact() -> None:
    document = seed(team=None, customerProfile={"name": "Contoso"}, inviteContext={"notes": "Hi"})
    data = json.loads(published(document, "none"))["data"]
    assert data["customer"] == {"name": "Contoso"}
    assert "invite" not in data


@given(st.text(max_size=20), st.text(max_size=20), st.text(max_size=20), st.text(max_size=40))
def test_no_contact_makes_redaction_fail(first: str, last: str, phone: str, name: str) -> None:
    contact: Any = {"firstName": first, "lastName": last, "phone": phone, "email": f"{first}@{last}"}
    data: Any = {"referralId": SEED_ID, "category": "Unknown", "name": name + first, "team": [contact]}
    assert "team" not in restrict(data, "none")


def test_redaction_takes_time_in_proportion() -> None:
    data: Any = {"referralId": SEED_ID, "category": "Unknown", "name": "1" * 200_000, "team": [{"phone": "9876543210"}]}
    assert restrict(data, "none")["name"] == data["name"]
