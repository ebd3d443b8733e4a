import base64
import copy
import json
import re
import unicodedata
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local_stack.stand_ins.referrals import today
from referral_fn.referrals.contact_policy import ALLOWED, Allowed
from referral_fn.referrals.events import REFERRAL_TYPE
from referral_fn.referrals.formats import Format
from tests.contract import ROOT, SCHEMAS
from tests.documents import COLLECTION, SEED_ID, event_of, seed

AGREED = {"consentToContact": True, "consentToToShareInfoWithOthers": True}
PERSONAL = ["Zelda", "Quux", "zelda.quux@contoso.com", "0170 1234567", "1234567", "\u738b\u5c0f\u660e", "Ngo Bright"]
LEFT_OUT = {
    *("/name", "/statusReason", "/createdVia", "/lastModifiedVia", "/tags/*", "/notes", "/team", "/extra"),
    *("/customer/address/lines/*", "/customer/contacts", "/requirements/solutions/*/name", "/invite/notes"),
}
"""The fields that never appear where people may not: about people, or free text."""


def gossip(consent: dict[str, bool] | None = None) -> dict[str, Any]:
    """A referral that mentions its contacts wherever it can."""
    everything = "Zelda Quux (zelda.quux@contoso.com, +49 170 123-4567), \u738b\u5c0f\u660e\u5148\u751f or Ngo Bright"
    return seed(
        name=f"Deal with {everything}",
        externalReferenceId="crm-zelda.quux@contoso.com",
        statusReason=everything,
        organizationName=everything,
        customerProfile={
            "name": "Wingtip & Sons",
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
    return event_of(document, policy=policy).encode().decode()


@pytest.mark.parametrize(
    ("policy", "consent", "appear"),
    [
        ("full", None, True),
        ("contactable", None, False),
        ("contactable", {"consentToToShareInfoWithOthers": True}, False),
        ("contactable", {"consentToContact": True}, True),
        ("consented", None, False),
        ("consented", {"consentToContact": True}, False),
        ("consented", {"consentToToShareInfoWithOthers": True}, False),
        ("consented", AGREED | {"consentToContact": False}, False),
        ("consented", AGREED, True),
        ("none", None, False),
        ("none", AGREED, False),
    ],
)
def test_people_appear_as_policy_and_consent_say(policy: str, consent: Any, *, appear: bool) -> None:
    document = gossip(consent)
    text = published(document, policy)
    words = {"Zelda", "zelda.quux@contoso.com", "+491701234567", "Ngo Bright"} if appear else PERSONAL
    assert [word for word in words if (word.casefold() in text.casefold()) is not appear] == []
    assert ("omitted" in json.loads(text)["data"]) is not appear


def test_what_the_customer_did_not_agree_to_is_left_out_and_listed() -> None:
    data = json.loads(published(gossip(), "none"))["data"]
    assert data["omitted"] == [
        *("/name", "/externalReferenceId", "/organization/name", "/statusReason", "/solutionArea"),
        *("/customer/address/lines", "/customer/contacts", "/notes", "/requirements/solutions/*/name"),
        *("/team", "/invite/notes", "/invite/organizationName", "/extra"),
    ]
    assert data["customer"] == {"name": "Wingtip & Sons", "address": {"city": "Berlin", "country": "DE"}}
    assert data["links"] == {"self": f"{COLLECTION}/{SEED_ID}"}
    assert "warnings" not in data


def test_all_that_is_known_to_be_about_the_deal_is_kept() -> None:
    document = today("Shared")
    complete: Any = event_of(document).data
    data: Any = event_of(document, policy="none").data
    for name in ("name", "statusReason", "createdVia", "lastModifiedVia", "tags", "notes", "team", "extra", "links"):
        complete.pop(name)
    complete["customer"].pop("contacts")
    complete["customer"]["address"].pop("lines")
    complete["customer"]["address"].pop("region")
    complete["invite"].pop("notes")
    complete["requirements"]["solutions"][0].pop("name")
    assert data.pop("omitted") == [
        *("/name", "/statusReason", "/createdVia", "/lastModifiedVia", "/tags", "/customer/address/lines"),
        *("/customer/address/region", "/customer/contacts", "/notes", "/requirements/solutions/*/name", "/team"),
        *("/invite/notes", "/extra"),
    ], "a field that may not appear where people may not belongs in this list and above; any other in ALLOWED"
    engagement = document["engagementId"]
    assert data.pop("links") == {
        "self": f"{COLLECTION}/{document['id']}",
        "related": f"{COLLECTION}?$filter=engagementId%20eq%20'{engagement}'",
    }
    assert data == complete


def test_a_person_called_like_a_code_or_a_country_changes_neither() -> None:
    document = seed(team=[{"firstName": "Active", "lastName": "US"}, {"firstName": "Won", "lastName": "msft"}])
    data = event_of(document, policy="none").data
    assert (data["status"], data["substatus"]) == ("Active", "Accepted")
    assert data["customer"]["address"]["country"] == "US"  # type: ignore[index]
    assert data["organization"] == {"id": "msft", "name": "Microsoft"}


def test_warnings_stay_only_about_fields_that_stay() -> None:
    document = seed(salesStage="Dream", direction="Sideways", team=[{"email": "nobody"}], acceptedDateTime=None)
    document["customerProfile"]["ids"] = [{"profileType": "Vat", "id": "DE-1"}]
    document["status"], document["statusDetail"] = "New", "Won"
    document["links"]["self"] = "http://["
    data = event_of(document, policy="none").data
    assert [finding["path"] for finding in data["warnings"] or ()] == ["/substatus"]
    assert {"/salesStage", "/direction", "/customer/ids/*/type"} <= set(data["omitted"] or ())


@pytest.mark.parametrize("value", ["+4917012345678", "01701234567", "403-569-8759", "John-Smith-2", "john.smith1"])
def test_an_id_that_partners_write_is_no_place_for_a_person(value: str) -> None:
    document = seed()
    document["customerProfile"]["ids"] = [{"profileType": "External", "id": value}]
    data: Any = event_of(document, policy="none").data
    assert data["customer"]["ids"] == [{"type": "External"}]
    assert "/customer/ids/*/id" in data["omitted"]


@pytest.mark.parametrize(
    "value",
    [
        *(
            "Zelda",
            "Zelda Quux",
            "zelda.quux@contoso.com",
            "+49 170 1234567",
            "01701234567",
            "crm-zelda",
            "mycrmid1234",
        ),
        *("Zelda_Quux_42", "\u738b\u5c0f\u660e", "5357cdc2-743e-4dd5-89c6-f3731f8b69ceZ", "006" + "z" * 16),
    ],
)
def test_an_external_reference_stays_only_as_an_id_of_a_known_kind(value: str) -> None:
    assert "externalReferenceId" not in event_of(seed(externalReferenceId=value), policy="none").data


@pytest.mark.parametrize("value", ["5357CDC2-743e-4dd5-89c6-f3731f8b69ce", "0064x00000AbCdE", "00Q4x00000AbCdEAAV"])
def test_an_external_reference_of_a_known_kind_stays(value: str) -> None:
    assert event_of(seed(externalReferenceId=value), policy="none").data["externalReferenceId"] == value


def test_where_the_engagement_may_not_appear_the_referral_is_its_own_partition() -> None:
    event = event_of(seed(engagementId="zelda.quux"), policy="none")
    assert event.extensions["partitionkey"] == SEED_ID


# Properties


_letters = st.characters(categories=("Lu", "Ll", "Lt", "Lo", "Mn", "Mc"))
_digits = st.lists(st.integers(0, 9), min_size=9, max_size=14)
_people = st.fixed_dictionaries(
    {
        "firstName": st.text(_letters, min_size=5, max_size=12),
        "lastName": st.text(st.one_of(_letters, st.sampled_from(" '\u2019-.")), min_size=6, max_size=16),
        "email": st.builds("{}@{}.example".format, st.text(_letters, min_size=5, max_size=9), st.sampled_from("abc")),
        "phoneNumber": st.builds(
            lambda digits, joint: "+" + joint.join(map(str, digits)), _digits, st.sampled_from(["", " ", "-", ".", "/"])
        ),
    }
)


def _nfc(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def _nfd(text: str) -> str:
    return unicodedata.normalize("NFD", text)


def spellings(text: str) -> Iterator[str]:
    """The ways in which a text may be written in a message."""
    for form in (text, _nfc(text), _nfd(text)):
        for cased in (form, form.upper(), form.lower()):
            raw = cased.encode("utf-8", "replace")
            yield cased
            yield json.dumps(cased)[1:-1]
            yield quote(cased)
            yield quote_plus(cased)
            yield base64.b64encode(raw).decode().rstrip("=")
            yield base64.urlsafe_b64encode(raw).decode().rstrip("=")
            yield cased.replace(" ", "_")


def planted(document: dict[str, Any], person: dict[str, str]) -> dict[str, Any]:
    """The document with a person in every field of free text, and in unknown fields in all parts."""
    mention = " / ".join(person.values())
    written = iter(sorted({form for text in (*person.values(), mention) for form in spellings(text)}))

    def gossiping(part: Any) -> Any:
        if isinstance(part, list):
            return [gossiping(item) for item in part]
        if not isinstance(part, dict):
            return part
        unknown = {f"unknown {next(written, mention)}": next(written, mention), "unknownList": [{mention: [mention]}]}
        return {name: gossiping(value) for name, value in part.items()} | unknown

    copied: dict[str, Any] = gossiping(copy.deepcopy(document))
    copied |= {"name": mention, "statusReason": next(written, mention), "tags": [mention, {"id": person["firstName"]}]}
    copied |= {"createdVia": person["lastName"], "lastModifiedVia": person["firstName"], "lastRunId": mention}
    copied |= {
        "externalReferenceId": person["email"],
        "solutionArea": mention,
        "status": mention,
        "salesStage": mention,
    }
    copied |= {"team": [person, {"title": mention}], "engagementId": copied["engagementId"]}
    copied["customerProfile"] |= {"team": [person | {"title": mention}], "size": mention, "ids": [{"id": mention}]}
    copied["customerProfile"]["address"] |= {"addressLine1": mention, "addressLine2": mention, "region": mention}
    copied["details"] |= {"notes": next(written, mention)}
    copied["details"]["requirements"]["solutions"][0] |= {"name": mention, "type": mention}
    copied["inviteContext"] = {"notes": mention, "assistanceRequestCode": mention, **person}
    copied["links"] = {"self": {"uri": f"/v1/{quote(mention)}"}, "relatedReferrals": f"?$filter={quote(mention)}"}
    return copied


@given(person=_people, shape=st.sampled_from([seed(), today("Today")]), policy=st.sampled_from(["none", "consented"]))
def test_nothing_of_a_person_is_in_a_message_in_any_spelling(
    person: dict[str, str], shape: dict[str, Any], policy: str
) -> None:
    nobody = dict.fromkeys(person, "")
    message, without_people = (
        [form(published(planted(shape, who) | {"consent": {}}, policy)) for form in (str, str.casefold, _nfc, _nfd)]
        for who in (person, nobody)
    )
    leaks = [
        spelling
        for text in person.values()
        for spelling in spellings(text)
        if any(spelling in form for form in message)
        and not any(spelling in form for form in without_people)  # "ealse" is in dealSensitivity
    ]
    assert leaks == []


@given(people=st.tuples(_people, _people), shape=st.sampled_from([seed(), today("Today")]))
def test_a_message_does_not_depend_on_who_the_people_are(
    people: tuple[dict[str, str], dict[str, str]], shape: dict[str, Any]
) -> None:
    one, other = (published(planted(shape, person), "none") for person in people)
    assert one == other


# Documentation


def formats(allowed: Allowed, path: str = "") -> Iterator[tuple[str, str]]:
    """The allowed fields with the descriptions of their formats."""
    if isinstance(allowed, Format):
        yield path, allowed.description
    elif isinstance(allowed, list):
        yield from formats(allowed[0], f"{path}/*")
    else:
        for name, inner in allowed.items():
            yield from formats(inner, f"{path}/{name}")


def schema_fields(schema: dict[str, Any], path: str = "") -> Iterator[str]:
    """The fields of the published schema that hold a value."""
    schema = SCHEMAS[REFERRAL_TYPE]["definitions"][schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
    if "items" in schema:
        yield from schema_fields(schema["items"], f"{path}/*")
    elif "properties" in schema:
        for name, inner in schema["properties"].items():
            yield from schema_fields(inner, f"{path}/{name}")
    else:
        yield path


def test_every_field_is_either_allowed_or_left_out_on_purpose() -> None:
    allowed = {path for path, _ in formats(ALLOWED)}
    fields = set(schema_fields(SCHEMAS[REFERRAL_TYPE]))
    built = {path for path in fields if path.startswith(("/links/", "/omitted", "/warnings/"))}
    people = {path for path in fields if path.startswith(("/team/", "/customer/contacts/"))}
    assert allowed <= fields
    left_out = {path for path in LEFT_OUT if path not in ("/team", "/customer/contacts")}
    assert fields - allowed - built - people == left_out, (
        "may these fields appear where people may not? If they are about the deal and have a format, add them to "
        "ALLOWED in referral_fn/referrals/contact_policy.py; if a person may have written them, to LEFT_OUT here"
    )


def test_the_page_on_security_lists_the_allowed_fields_and_their_formats() -> None:
    page = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`/[^|]+`) \| (.+) \|$", page, re.MULTILINE)
    listed = {(path, description) for paths, description in rows for path in re.findall(r"`(.+?)`", paths)}
    assert listed == set(formats(ALLOWED)), "docs/security.md has a table of the allowed fields: bring it up to date"
    (sentence,) = re.findall(r"^Left out: (.+?)\.$", page, re.MULTILINE | re.DOTALL)
    assert set(re.findall(r"`(/.+?)`", sentence)) == LEFT_OUT | {"/externalReferenceId"}, (
        "docs/security.md lists what is left out: bring it up to date"
    )
