import json
from itertools import product
from typing import Any

import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_structured_event
from hypothesis import given
from hypothesis import strategies as st

from referral_fn.referrals import events
from referral_fn.referrals.codes import STATUSES
from referral_fn.referrals.normalization import normalize
from referral_fn.referrals.wire import InvalidReferralError, read_referral
from tests.contract import validator
from tests.documents import COLLECTION, SEED_ID, data_of, encode, event_of, referral_documents, seed

CONTEXT = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "cause": "referral-updated"}
VALIDATOR = validator(events.REFERRAL_SCHEMA)


def test_the_seed_becomes_this_event() -> None:
    event = json.loads(event_of(seed(), context=CONTEXT).encode())
    data = event.pop("data")
    assert event == {
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
    assert [finding["path"] for finding in data["warnings"]] == ["/customer/contacts/0/phone"]


@given(referral_documents)
def test_whatever_is_read_becomes_a_valid_event(document: dict[str, Any]) -> None:
    event = event_of(document)
    VALIDATOR.validate(json.loads(event.encode())["data"])
    message = HTTPMessage({"content-type": events.CONTENT_TYPE}, event.encode())
    assert from_structured_event(message).get_id() == event.id


@given(referral_documents, st.sampled_from(["full", "consented", "none"]))
def test_the_same_snapshot_has_the_same_id_under_every_policy(document: dict[str, Any], policy: Any) -> None:
    reordered = dict(reversed(document.items()))
    assert event_of(document).id == event_of(reordered, policy=policy, context=CONTEXT).id


@given(referral_documents)
def test_a_changed_snapshot_has_another_id(document: dict[str, Any]) -> None:
    changed = {**document, "name": f"{document.get('name') or ''}!"}
    if document.get("eTag") and document["eTag"].strip():
        changed["eTag"] = document["eTag"] + "!"
    elif document.get("updatedDateTime"):
        changed["updatedDateTime"] = "2031-01-01T00:00:00Z"
    assert event_of(document).id != event_of(changed).id


@given(referral_documents)
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


def test_an_entity_tag_that_no_attribute_may_contain_is_hashed() -> None:
    one, other = (event_of(seed(eTag=tag)).id for tag in ('"\u7248"', '"\u672c"'))
    assert one != other
    assert one.isascii()


def test_without_tag_or_time_the_version_is_a_hash_of_the_data() -> None:
    event, same, other = (
        event_of(seed(updatedDateTime=None, name=name)) for name in ("One deal", "One deal", "Another deal")
    )
    assert event.id == same.id != other.id
    assert len(event.id.split("@")[1]) == 64
    assert event.time is None
    assert "sequence" not in event.extensions


def test_without_a_usable_engagement_a_referral_is_its_own_partition() -> None:
    assert event_of(seed(engagementId=None)).extensions["partitionkey"] == SEED_ID
    assert event_of(seed(engagementId="a b")).extensions["partitionkey"] == SEED_ID


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
        ({"customerProfile": {"ids": [{"profileType": "Vat", "id": "5"}]}}, "/customer/ids/0/type"),
        ({"customerProfile": {"team": [None, {}, {"email": "sue"}]}}, "/customer/contacts/0/email"),
        ({"salesStage": "Dream"}, "/salesStage"),
        ({"inviteContext": {"assistanceRequestCode": "Magic"}}, "/invite/assistanceRequestCode"),
        ({"team": [{"email": "sue@localhost"}]}, "/team/0/email"),
        ({"details": {"requirements": {"solutions": [{"type": "Odd"}]}}}, "/requirements/solutions/0/type"),
        ({"links": {"self": {"uri": "http://["}}}, "/links/self"),
    ],
)
def test_what_is_odd_is_kept_with_a_warning_that_points_to_it(changes: dict[str, Any], path: str) -> None:
    data = data_of(**{"customerProfile": None, **changes})
    assert [finding["path"] for finding in data["warnings"]] == [path]
    kept: Any = data
    for key in path.split("/")[1:]:
        kept = kept[int(key) if key.isdecimal() else key]
    assert kept


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


def test_a_number_in_place_of_text_keeps_its_digits() -> None:
    body = f'{{"id": "{SEED_ID}", "externalReferenceId": 12345678901234567.890}}'.encode()
    data = normalize(read_referral(body, SEED_ID), collection=COLLECTION).data
    assert data["externalReferenceId"] == "12345678901234567.890"


def test_an_invitation_targets_and_consent_have_their_places() -> None:
    data = data_of(
        inviteContext={
            "notes": "Join us",
            "assistanceRequestCode": "QuotesOrLicensing",
            "invitedMpnId": "1234567",
            "invitedBy": {"organizationId": "p1", "organizationName": "Fabrikam"},
        },
        target=[None, {"type": "SolutionProfile"}, {"id": "loc-1", "type": "BusinessProfileLocation"}],
        consent={"consentToContact": False, "consentToShareReferralWithMicrosoftSellers": True},
    )
    assert data["invite"] == {
        "notes": "Join us",
        "assistanceRequestCode": "QuotesOrLicensing",
        "invitedMpnId": "1234567",
        "organizationId": "p1",
        "organizationName": "Fabrikam",
    }
    assert data["targets"] == [{"type": "BusinessProfileLocation", "id": "loc-1"}]
    assert data["consent"] == {"contact": False, "shareWithMicrosoftSellers": True}


@pytest.mark.parametrize(
    ("field", "value"),
    [("quality", {"score": 1}), ("tags", "urgent"), ("isSpam", "perhaps"), ("closedDateTime", "soon")],
)
def test_an_undocumented_field_of_an_unexpected_shape_is_kept_in_extra(field: str, value: Any) -> None:
    data = data_of(**{field: value})
    assert data["extra"][field] == value
    assert {"path": f"/extra/{field}", "rule": "has an unexpected shape, and is kept as sent"} in data["warnings"]


def test_an_undocumented_field_is_tolerated_wherever_it_is() -> None:
    requirements = {"solutions": [{"id": "1"}, {"id": "2", "price": []}], "offers": {"a": 1}}
    data = data_of(team=[{"firstName": "Li", "title": 5.5}], details={"requirements": requirements})
    assert data["team"] == [{"firstName": "Li", "title": "5.5"}]
    assert data["requirements"]["solutions"] == [{"id": "1"}, {"id": "2"}]
    assert data["extra"]["details"]["requirements"] == {"offers": {"a": 1}, "solutions": {"1": {"price": []}}}


def test_an_undocumented_field_is_never_the_reason_to_reject_a_referral() -> None:
    with pytest.raises(InvalidReferralError) as raised:
        event_of(seed(quality={}, name=[], team=[{"title": []}]))
    assert [finding["path"] for finding in raised.value.findings] == ["/name"]
