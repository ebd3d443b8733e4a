"""Referral documents for tests: the seed's, and whatever hypothesis makes of the wire model."""

import copy
import json
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from referral_fn.referrals.events import Event
from referral_fn.referrals.normalization import normalize
from referral_fn.referrals.referral_data import ReferralData
from referral_fn.referrals.wire import read_referral

SEED_ID = "fa2ebe8d-754c-4d43-baa1-c31688a9c8ff"
COLLECTION = "https://api.partner.microsoft.com/v1/referrals"

_SEED: dict[str, Any] = json.loads(
    (Path(__file__).parent.parent / "local_stack" / "stand_ins" / "seed_referral.json").read_text(encoding="utf-8")
)


def seed(**changes: Any) -> dict[str, Any]:
    """The seed's referral, with some top-level fields replaced."""
    return copy.deepcopy(_SEED) | changes


def event_of(document: dict[str, Any], **options: Any) -> Event[ReferralData]:
    """The event of a referral, in process."""
    return normalize(read_referral(encode(document), document["id"].lower()), collection=COLLECTION, **options)


def data_of(**changes: Any) -> Any:
    """The data of the event of the seed's referral, with some top-level fields replaced."""
    return event_of(seed(**changes)).data


def encode(document: Any) -> bytes:
    return json.dumps(document).encode()


_characters = st.characters(exclude_categories=())  # lone surrogates too: JSON can spell them
_text = st.text(_characters, max_size=12)
_numbers = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
json_values = st.recursive(
    st.none() | st.booleans() | _numbers | _text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_text, inner, max_size=3),
    max_leaves=6,
)


def _maybe(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | strategy


def _object(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """An object with any of the fields, any of them null, and fields nobody knows."""
    known = st.fixed_dictionaries({}, optional={name: _maybe(strategy) for name, strategy in fields.items()})
    unknown = st.dictionaries(_text.filter(lambda name: name not in fields), json_values, max_size=2)
    return st.builds(lambda a, b: {**b, **a}, known, unknown)


_times = st.datetimes().flatmap(
    lambda time: st.sampled_from(["", "Z", "+00:00", "+05:30", "-11:00"]).map(lambda offset: time.isoformat() + offset)
) | st.sampled_from(
    ["2018-09-26T22:50:17.9817213Z", "2018-10-04T00:00:00Z", "0001-01-01T00:00:00Z", "2018-09-26T22:50:17.5Z", ""]
)
_amounts = _numbers.filter(lambda n: abs(n) < 1e29) | st.sampled_from(["0", "12.50", "1e3", "-0.001", 1e-7])
_member = _object(
    firstName=_text,
    lastName=_text,
    title=_text,
    emailValidationStatus=_text,
    phoneNumber=_text | st.from_regex(r"\+?[0-9 ()-]{5,15}(x[0-9]{1,4})?", fullmatch=True),
    email=_text | st.emails(),
    contactPreference=_object(locale=_text, disableNotifications=st.booleans()),
)
_requirement = _object(id=_text)
_solution = _object(
    id=_text,
    name=_text,
    type=_text | st.sampled_from(["None", "Category", "Name"]),
    price=_amounts,
    publisherName=_text,
    closingDateTime=_times,
)
_link = _text | _object(uri=_text | st.sampled_from(["/v2/referrals/x", "https://x/engagments/y", "http://[", "//"]))
_ids = (
    st.lists(_maybe(_object(profileType=_text, id=_text)), max_size=3)
    | st.dictionaries(_text, _maybe(_text), max_size=2).filter(lambda ids: not {"id", "profileType"} & ids.keys())
    | st.fixed_dictionaries({"id": _text}, optional={"profileType": _maybe(_text), "note": json_values})
)


def _list(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(_maybe(strategy), max_size=3) | st.just({})


def _enumeration(*values: str) -> st.SearchStrategy[str]:
    return st.sampled_from(values) | _text


referral_documents = st.builds(
    lambda document, identifier: {**document, "id": identifier},
    _object(
        engagementId=_text | st.uuids().map(str),
        name=_text,
        externalReferenceId=_text,
        organizationId=_text,
        organizationName=_text,
        createdDateTime=_times,
        updatedDateTime=_times,
        expirationDateTime=_times,
        acceptedDateTime=_times,
        status=_enumeration("None", "New", "Active", "Closed"),
        substatus=_enumeration("None", "Pending", "Accepted", "Won", "Lost"),
        statusDetail=_enumeration("None", "Pending", "Accepted", "Won", "Lost"),
        statusReason=_text,
        qualification=_enumeration("None", "Direct", "MarketingQualified", "SalesQualified"),
        type=_enumeration("Shared", "Independent"),
        direction=_enumeration("Incoming", "Outgoing"),
        eTag=_text | st.uuids().map(lambda tag: f'"{tag}"'),
        customerProfile=_object(
            name=_text,
            address=_object(
                addressLine1=_text,
                addressLine2=_text,
                city=_text,
                state=_text,
                postalCode=_text | st.integers(),
                region=_text,
                country=_text | st.sampled_from(["US", "usa", "DEU", "jp", "Wonderland"]),
            ),
            size=_enumeration("1to9employees", "Morethan500employees", "10001to20000employees"),
            team=_list(_member),
            ids=_ids,
        ),
        consent=_object(
            consentToToShareInfoWithOthers=st.booleans(),
            consentToContact=st.booleans(),
            consentToMicrosoftToContactSpecificPartners=st.booleans(),
        ),
        details=_object(
            notes=_text,
            dealValue=_amounts,
            currency=_text,
            closingDateTime=_times,
            requirements=_object(
                industries=_list(_requirement),
                products=_list(_requirement),
                services=_list(_requirement),
                solutions=_list(_solution),
            ),
        ),
        team=_list(_member),
        inviteContext=_object(
            notes=_text, invitedBy=_object(organizationId=_text | st.just("msft"), organizationName=_text)
        ),
        target=_list(_object(id=_text, type=_text)),
        closedDateTime=_times,
        salesStage=_enumeration("Develop", "40"),
        isSpam=st.booleans() | json_values,
        quality=_text | json_values,
        tags=_list(_text | _requirement) | json_values,
        partnerRole=_text | _list(_text),
        registrations=_list(_object(id=_text, status=_text, contract=_object(value=_amounts, term=_text))),
        trackingInfo=_object(microsoftMsxId=_text),
        links=_object(self=_link, relatedReferrals=_link),
        attributes=json_values,
    ),
    st.uuids().map(str),
)
"""Referrals in every documented shape, with odd values wherever the shape leaves room for them."""
