import dataclasses
import json
from itertools import product
from typing import Any

import jsonschema
import phonenumbers
import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_structured_event
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from referral_fn.referrals import events
from referral_fn.referrals.codes import STATUSES
from referral_fn.referrals.normalization import normalize
from referral_fn.referrals.referral_data import ReferralData
from referral_fn.referrals.wire import read_referral
from schemas import event_schemas as schemas
from tests.documents import COLLECTION, SEED_ID, encode, referral_documents, seed

CONTEXT = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "cause": "referral-updated"}
VALIDATOR = jsonschema.Draft202012Validator(
    schemas.schema_of(events.REFERRAL_TYPE), format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER
)


def event_of(document: dict[str, Any], **options: Any) -> events.Event[ReferralData]:
    return normalize(read_referral(encode(document), document["id"].lower()), collection=COLLECTION, **options)


def data_of(**changes: Any) -> Any:
    return event_of(seed(**changes)).data


def test_the_seed_becomes_this_event() -> None:
    made = json.loads(event_of(seed(), context=CONTEXT).encode())
    data = made.pop("data")
    assert made == {
        "specversion": "1.0",
        "id": f"{SEED_ID}@2018-09-26T22:50:17.981721Z",
        "source": COLLECTION,
        "type": "partnercenter.referral.v1",
        "datacontenttype": "application/json",
        "dataschema": "urn:referral-fn:schema:partnercenter.referral.v1",
        "subject": SEED_ID,
        "time": "2018-09-26T22:50:17.981721Z",
        "partitionkey": "5357cdc2-743e-4dd5-89c6-f3731f8b69ce",
        "sequence": "2018-09-26T22:50:17.981721Z",
        **CONTEXT,
    }
    assert data["expiresAt"] == "2018-10-04T00:00:00.000000Z"
    assert (data["status"], data["substatus"]) == ("Active", "Accepted")
    assert data["customer"]["size"] == {"code": "10to50employees", "min": 10, "max": 50}
    assert data["customer"]["address"] == {
        "lines": ["One Microsoft Way", "34"],
        "city": "Redmond",
        "state": "WA",
        "postalCode": "98052",
        "country": "US",
    }
    assert data["customer"]["contacts"][1] == {
        "firstName": "Joe",
        "lastName": "Hansen",
        "email": "joe.hansen@contoso.com",
        "phone": "+14035698759",
    }
    assert data["requirements"]["solutions"] == [
        {"id": "SOL-34104-EBA", "name": "Business Insights and Analytics", "type": "Name"}
    ]
    assert data["links"]["self"] == f"https://api.partner.microsoft.com/v2/referrals/{SEED_ID}"
    assert data["extra"]["attributes"] == {"objectType": "Referral"}
    assert "warnings" not in data


@given(referral_documents)
@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow])
def test_whatever_is_read_becomes_a_valid_event(document: dict[str, Any]) -> None:
    made = event_of(document)
    VALIDATOR.validate(json.loads(made.encode())["data"])
    message = HTTPMessage({"content-type": events.CONTENT_TYPE}, made.encode())
    assert from_structured_event(message).get_id() == made.id


@given(referral_documents, st.sampled_from(["full", "consented", "none"]))
@settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow])
def test_the_same_snapshot_has_the_same_id_under_every_policy(document: dict[str, Any], policy: Any) -> None:
    reordered = dict(reversed(document.items()))
    assert event_of(document).id == event_of(reordered, policy=policy, context=CONTEXT).id


@given(referral_documents)
@settings(max_examples=50, suppress_health_check=[HealthCheck.too_slow])
def test_a_changed_snapshot_has_another_id(document: dict[str, Any]) -> None:
    changed = {**document, "name": f"{document.get('name') or ''}!"}
    if document.get("eTag") and document["eTag"].strip():
        changed["eTag"] = document["eTag"] + "!"
    elif document.get("updatedDateTime"):
        changed["updatedDateTime"] = "2031-01-01T00:00:00Z"
    assert event_of(document).id != event_of(changed).id


@given(referral_documents)
@settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow])
def test_no_undeclared_top_level_field_is_dropped(document: dict[str, Any]) -> None:
    wire = read_referral(encode(document), document["id"])
    undeclared = {name for name, value in (wire.model_extra or {}).items() if value is not None}
    assert undeclared <= (event_of(document).data.get("extra") or {}).keys()


@pytest.mark.parametrize(
    ("etag", "version"),
    [
        ('"0100b2c5"', "0100b2c5"),
        ('W/"0100b2c5"', "0100b2c5"),
        ("0100b2c5", "0100b2c5"),
        ("", "2018-09-26T22:50:17.981721Z"),
        (None, "2018-09-26T22:50:17.981721Z"),
    ],
)
def test_the_version_is_the_entity_tag_or_the_time_of_update(etag: str | None, version: str) -> None:
    assert event_of(seed(eTag=etag)).id == f"{SEED_ID}@{version}"


def test_an_entity_tag_no_attribute_may_hold_is_hashed() -> None:
    one, other = (event_of(seed(eTag=tag)).id for tag in ('"\u7248"', '"\u672c"'))
    assert one != other
    assert one.isascii()


def test_without_tag_or_time_the_version_is_a_hash_of_the_data() -> None:
    made, same, other = (
        event_of(seed(updatedDateTime=None, name=name)) for name in ("One deal", "One deal", "Another deal")
    )
    assert made.id == same.id != other.id
    assert len(made.id.split("@")[1]) == 64
    assert made.time is None
    assert "sequence" not in made.extensions


def test_without_a_usable_engagement_a_referral_is_its_own_partition() -> None:
    assert event_of(seed(engagementId=None)).extensions["partitionkey"] == SEED_ID
    assert event_of(seed(engagementId="a b")).extensions["partitionkey"] == SEED_ID


@pytest.mark.parametrize(
    ("type_", "qualification", "inviter", "category"),
    [
        ("Independent", "Direct", "msft", "MarketplaceLead"),
        ("Independent", "Direct", None, "MarketplaceLead"),
        ("Independent", "Direct", "MSFT", "MarketplaceLead"),
        ("Independent", "Direct", "partner-1", "Unknown"),
        ("Independent", "SalesQualified", "msft", "QualifiedLead"),
        ("Independent", "MarketingQualified", "msft", "QualifiedLead"),
        ("Independent", "MarketingQualified", "partner-1", "Unknown"),
        ("Independent", "MarketingQualified", None, "Unknown"),
        ("Independent", "SalesQualified", "partner-1", "CoSellOpportunity"),
        ("Shared", "SalesQualified", "partner-1", "CoSellOpportunity"),
        ("Shared", "None", "partner-1", "CoSellOpportunity"),
        ("Shared", None, "partner-1", "CoSellOpportunity"),
        ("Shared", "SalesQualified", "msft", "Unknown"),
        ("Shared", "SalesQualified", None, "Unknown"),
        (None, None, None, "Unknown"),
        ("New kind", "SalesQualified", "partner-1", "Unknown"),
    ],
)
def test_the_category_follows_from_three_fields(
    type_: str | None, qualification: str | None, inviter: str | None, category: str
) -> None:
    context = {"invitedBy": {"organizationId": inviter}}
    data = data_of(type=type_, qualification=qualification, inviteContext=context)
    assert data["category"] == category


def test_statuses_and_substatuses_that_do_not_go_together_are_kept_with_a_warning() -> None:
    substatuses = sorted(set().union(*STATUSES.values()) - {"None"})
    for status, substatus in product(STATUSES, substatuses):
        data = data_of(status=status, statusDetail=None, substatus=substatus)
        assert (data["status"], data["substatus"]) == (status, substatus)
        warned = {"path": "/substatus", "rule": "does not go with the status"} in data.get("warnings", [])
        assert warned is (substatus not in STATUSES[status])


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"status": "Paused"}, "/status"),
        ({"statusDetail": "Snoozed"}, "/substatus"),
        ({"qualification": "Super"}, "/qualification"),
        ({"type": "Joint"}, "/type"),
        ({"direction": "Sideways"}, "/direction"),
        ({"target": [{"id": "1", "type": "Planet"}]}, "/targets/0/type"),
        ({"customerProfile": {"size": "2employees"}}, "/customer/size/code"),
        ({"customerProfile": {"address": {"country": "Wonderland"}}}, "/customer/address/country"),
        ({"customerProfile": {"team": [None, {}, {"email": "sue"}]}}, "/customer/contacts/0/email"),
        ({"team": [{"email": "sue@localhost"}]}, "/team/0/email"),
        ({"details": {"requirements": {"solutions": [{"type": "Odd"}]}}}, "/requirements/solutions/0/type"),
        ({"links": {"self": {"uri": "http://["}}}, "/links/self"),
    ],
)
def test_what_is_odd_is_kept_with_a_warning_that_points_to_it(changes: dict[str, Any], path: str) -> None:
    data = data_of(**changes)
    assert [finding["path"] for finding in data["warnings"]] == [path]
    kept: Any = data
    for key in path.split("/")[1:]:
        kept = kept[int(key) if key.isdecimal() else key]
    assert kept


@pytest.mark.parametrize(
    ("country", "expected"), [("US", "US"), ("usa", "US"), ("DEU", "DE"), (" jp ", "JP"), ("Wonderland", "Wonderland")]
)
def test_countries_become_alpha_2(country: str, expected: str) -> None:
    data = data_of(customerProfile={"address": {"country": country}})
    assert data["customer"]["address"]["country"] == expected


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


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ("1to9employees", {"code": "1to9employees", "min": 1, "max": 9}),
        ("10001to20000employees", {"code": "10001to20000employees", "min": 10001, "max": 20000}),
        ("Morethan500employees", {"code": "Morethan500employees", "min": 501}),
        ("Morethan20000employees", {"code": "Morethan20000employees", "min": 20001}),
        ("many", {"code": "many"}),
    ],
)
def test_sizes_become_ranges(size: str, expected: dict[str, Any]) -> None:
    assert data_of(customerProfile={"size": size})["customer"]["size"] == expected


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        ([{"profileType": "Duns", "id": "795986822"}], [{"type": "Duns", "id": "795986822"}]),
        ([None, {}, {"id": 5}], [{"id": "5"}]),
        ({"profileType": "Duns", "id": "795986822"}, [{"type": "Duns", "id": "795986822"}]),
        ({"Duns": "795986822"}, [{"type": "Duns", "id": "795986822"}]),
    ],
)
def test_identifiers_come_as_a_list_or_an_object(ids: Any, expected: list[Any]) -> None:
    assert data_of(customerProfile={"ids": ids})["customer"]["ids"] == expected


@pytest.mark.parametrize("ids", [{}, [], None])
def test_no_identifiers_are_absent(ids: Any) -> None:
    assert "customer" not in data_of(customerProfile={"ids": ids})


@pytest.mark.parametrize(
    ("digits", "micros"), [("", "000000"), (".9", "900000"), (".981", "981000"), (".9817213", "981721")]
)
def test_timestamps_have_six_digits_and_are_utc(digits: str, micros: str) -> None:
    data = data_of(createdDateTime=f"2018-09-27T00:20:17{digits}+01:30", closingDateTime=None)
    assert data["createdAt"] == f"2018-09-26T22:50:17.{micros}Z"


def test_the_newer_status_fields_win_and_the_older_are_kept() -> None:
    data = data_of(substatus="Won", statusDetail="Accepted", status="Closed", statusReason="Price")
    assert (data["substatus"], data["statusReason"]) == ("Won", "Price")
    assert data["extra"]["statusDetail"] == "Accepted"


@given(st.sampled_from(sorted(phonenumbers.SUPPORTED_REGIONS)), st.data())
def test_a_number_becomes_e164_exactly_where_it_is_valid(region: str, data: st.DataObject) -> None:
    example = phonenumbers.example_number_for_type(region, data.draw(st.sampled_from(range(11))))
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


def test_links_are_absolute_and_their_misspelling_is_mended() -> None:
    links = {
        "self": {"uri": f"https://api.partner.microsoft.com/v1.0/engagments/referrals/{SEED_ID}"},
        "relatedReferrals": f"?$filter=engagementId eq '{SEED_ID}'",
    }
    assert data_of(links=links)["links"] == {
        "self": f"https://api.partner.microsoft.com/v1.0/engagements/referrals/{SEED_ID}",
        "related": f"{COLLECTION}?$filter=engagementId%20eq%20'{SEED_ID}'",
    }


def test_undeclared_fields_are_kept_where_upstream_has_them() -> None:
    document = seed(referralSource="Campaign", trackingInfo=None, links=None, attributes=None)
    document["customerProfile"]["address"]["floor"] = 3
    document["team"] = [{}, {"role": "Seller"}]
    document["details"]["requirements"]["solutions"] = [{"id": "1", "weight": 1.5}]
    assert event_of(document).data["extra"] == {
        "referralSource": "Campaign",
        "customerProfile": {"address": {"floor": 3}},
        "team": {"1": {"role": "Seller"}},
        "details": {"requirements": {"solutions": {"0": {"weight": 1.5}}}},
    }


def test_undeclared_numbers_keep_their_digits() -> None:
    number = "12345678901234567.89"
    body = f'{{"id": "{SEED_ID}", "score": {number}, "details": {{"margins": [{{"value": {number}}}]}}}}'.encode()
    encoded = normalize(read_referral(body, SEED_ID), collection=COLLECTION).encode().decode()
    assert f'"extra":{{"score":{number},"details":{{"margins":[{{"value":{number}}}]}}}}' in encoded


def test_a_number_in_place_of_text_keeps_its_digits() -> None:
    body = f'{{"id": "{SEED_ID}", "externalReferenceId": 12345678901234567.890}}'.encode()
    data = normalize(read_referral(body, SEED_ID), collection=COLLECTION).data
    assert data["externalReferenceId"] == "12345678901234567.890"


def test_a_deal_and_an_invitation_have_their_places() -> None:
    data = data_of(
        details={"dealValue": 1200.5, "currency": "EUR", "closingDateTime": "2026-12-31T00:00:00Z"},
        inviteContext={"notes": "Join us", "invitedBy": {"organizationId": "p1", "organizationName": "Fabrikam"}},
        target=[None, {"id": "loc-1", "type": "BusinessProfileLocation"}],
        team=[{"firstName": "Li", "contactPreference": {"locale": "zh-CN", "disableNotifications": True}}],
        consent={"consentToContact": False},
    )
    assert data["deal"] == {"value": "1200.5", "currency": "EUR", "closesAt": "2026-12-31T00:00:00.000000Z"}
    assert data["invite"] == {"notes": "Join us", "organizationId": "p1", "organizationName": "Fabrikam"}
    assert data["targets"] == [{"type": "BusinessProfileLocation", "id": "loc-1"}]
    assert data["team"] == [{"firstName": "Li", "locale": "zh-CN", "notify": False}]
    assert data["consent"] == {"contact": False}


def test_events_are_values() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        event_of(seed()).id = "another"  # type: ignore[misc]
