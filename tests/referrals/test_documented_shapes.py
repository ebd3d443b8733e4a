"""The documented shapes of a referral: every value of them is in the event, or on the stated list of noise."""

import copy
import re
from collections.abc import Iterator
from typing import Any

import pytest

from local_stack.stand_ins.referrals import REFERRALS, SEED, today
from referral_fn.referrals.leftovers import NOISE
from referral_fn.referrals.wire import Link, Referral
from tests.documents import event_of

OF_2019: dict[str, Any] = {
    "id": "9a3c0b6e-41d7-4d55-8a54-6f1f0e2b7d01",
    "engagementId": "0b1d3c55-8f20-4f0e-9a43-1f2e3d4c5b6a",
    "name": "Warehouse robots",
    "externalReferenceId": "CRM-17",
    "organizationId": "6a7b8c9d-0e1f-4a2b-8c3d-4e5f6a7b8c9d",
    "organizationName": "Fabrikam",
    "businessProfileId": "bp-17",
    "createdDateTime": "2019-05-02T10:11:12.1234567Z",
    "updatedDateTime": "2019-05-03T10:11:12.7654321Z",
    "expirationDateTime": "2019-05-16T10:11:12Z",
    "acceptedDateTime": "2019-05-03T00:00:00Z",
    "status": "Active",
    "substatus": "Accepted",
    "statusReason": "Fits our team",
    "qualification": "SalesQualified",
    "type": "Shared",
    "direction": "Incoming",
    "eTag": '"5e00aa11-0000-0800-0000-5cdc1234abcd"',
    "customerProfile": {
        "name": "Proseware",
        "address": {
            "addressLine1": "1 Sample Street",
            "addressLine2": "Gate B",
            "city": "Utrecht",
            "state": "UT",
            "postalCode": "3511",
            "country": "NLD",
            "region": "Randstad",
        },
        "size": "251to1000employees",
        "team": [
            {
                "firstName": "Ines",
                "lastName": "Vos",
                "phoneNumber": "030 234 5678",
                "email": "ines@example.org",
                "contactPreference": {"locale": "nl-NL", "disableNotifications": True},
            }
        ],
        "ids": [{"profileType": "Duns", "id": "123456789"}],
    },
    "consent": {
        "consentToToShareInfoWithOthers": False,
        "consentToContact": True,
        "consentToMicrosoftToContactSpecificPartners": False,
    },
    "details": {
        "notes": "Wants a visit.",
        "dealValue": 125000.75,
        "currency": "EUR",
        "closingDateTime": "2019-12-31T00:00:00Z",
        "requirements": {
            "industries": [{"id": "Logistics"}],
            "products": [{"id": "Azure"}],
            "services": [{"id": "ProofOfConcept"}],
            "solutions": [{"id": "SOL-17-XYZ", "name": "Robots", "type": "Category"}],
        },
    },
    "team": [{"firstName": "Tom", "lastName": "Berg", "phoneNumber": "+31 20 794 0000", "email": "tom@example.net"}],
    "inviteContext": {
        "notes": "Your specialty",
        "invitedBy": {"organizationId": "7b8c9d0e-1f2a-4b3c-8d4e-5f6a7b8c9d0e", "organizationName": "Contoso"},
    },
    "target": [{"id": "loc-17", "type": "BusinessProfileLocation"}],
    "links": {
        "relatedReferrals": {
            "uri": "https://api.partner.microsoft.com/v1.0/engagments/referrals?$filter=engagementId eq '17'",
            "method": "GET",
        },
        "self": {"uri": "https://api.partner.microsoft.com/v1.0/engagments/referrals/17", "method": "GET"},
    },
}

OF_2022: dict[str, Any] = {
    **{name: OF_2019[name] for name in ("id", "engagementId", "name", "organizationId", "organizationName", "eTag")},
    **{name: OF_2019[name] for name in ("createdDateTime", "updatedDateTime", "acceptedDateTime", "links", "team")},
    "lastModifiedVia": "API",
    "lastRunId": "run-1",
    "externalReferenceId": "CRM-18",
    "closedDateTime": "2022-03-07T09:17:38.3518014Z",
    "status": "Closed",
    "substatus": "Won",
    "qualification": "None",
    "type": "Independent",
    "referralSource": "Import",
    "favorite": False,
    "campaignId": "CMP-18",
    "salesStage": "100",
    "quality": "Unknown",
    "isSpam": False,
    "direction": "Incoming",
    "mpnId": "7654321",
    "referralProgram": "Pilot",
    "dealSensitivity": "None",
    "createdVia": "Import",
    "tags": [],
    "callToAction": "None",
    "registrationStatus": "ReviewPending",
    "target": [{"type": "SolutionProfile", "id": "SOL-18-IPC"}],
    "customerProfile": {
        "name": "Proseware",
        "size": "",
        "isMatchingComplete": False,
        "address": {**OF_2019["customerProfile"]["address"], "country": "NL"},
        "team": [{"firstName": "Ines", "lastName": "Vos", "title": "Buyer", "email": "ines@example.org"}],
        "ids": [{"profileType": "Duns", "id": ""}, {"profileType": "External", "id": "6-EXAMPLE18"}],
    },
    "consent": {
        "consentToToShareInfoWithOthers": True,
        "consentToContact": False,
        "consentToShareReferralWithMicrosoftSellers": True,
    },
    "details": {
        "notes": "",
        "dealValue": 120,
        "currency": "EUR",
        "closingDateTime": "2022-02-25T00:00:00Z",
        "customerRequestedContact": False,
        "customerAction": "Trial",
        "incentiveLevel": "A",
        "requirements": {
            "solutions": [{"id": "SOL-18-UYM", "type": "None", "price": 9.5, "quantity": 2, "currency": "EUR"}],
            "offers": [{"id": "offer-18"}],
            "salesPlays": [{"id": "play-18"}],
            "additionalRequirements": {
                "iot": {"customerLicenseAgreementNumber": "18", "azureCertifiedDevice": False, "attachServices": True}
            },
        },
    },
    "inviteContext": {
        "notes": "Ours",
        "assistanceRequestCode": "Unknown",
        "invitedMpnId": "7654321",
        "invitedBy": {"organizationId": "6a7b8c9d-0e1f-4a2b-8c3d-4e5f6a7b8c9d", "organizationName": "Fabrikam"},
    },
    "trackingInfo": {
        "microsoftMsxId": "7-EXAMPLE18",
        "microsoftUSFedOpportunityId": "F-1",
        "microsoftUSFedLeadId": "F-2",
        "migratedPSCDealId": "P-1",
        "migratedPSCPartnerDealId": "P-2",
    },
    "registrations": [{"id": "REG-18", "status": "Open", "contract": {"value": 1.5, "currency": "EUR", "term": "P1Y"}}],
}

SHAPES = {"2018": SEED, "2019": OF_2019, "2022": OF_2022, "today": today("Today")}
Path = tuple[str | int, ...]


def scalars(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Every scalar with its path. Null and blank text say nothing."""
    if isinstance(value, dict | list):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from scalars(item, (*path, key))
    elif value is not None and value != "":
        yield path, value


def another(value: Any) -> Any:
    """Another value of the same kind."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    if re.match(r"\d{4}-\d\d-\d\dT", value):
        return value.replace("20", "19", 1)
    return {"GB": "IE", "NLD": "BEL", "NL": "BE", "US": "CA"}.get(value) or value + "7"


def changed(document: dict[str, Any], path: Path) -> dict[str, Any]:
    """The document with another value at a path."""
    copied = part = copy.deepcopy(document)
    for key in path[:-1]:
        part = part[key]  # type: ignore[index]
    part[path[-1]] = another(part[path[-1]])  # type: ignore[index]
    return copied


def is_noise(path: Path, document: dict[str, Any]) -> bool:
    """Whether a scalar is on the stated list of what an event leaves out."""
    if path[0] == "links" and path[2] in NOISE[Link]:
        return True
    if path[-1] == "profileType":
        identifier = document["customerProfile"]["ids"][path[2]]
        return not identifier["id"]
    return path[0] in NOISE[Referral]


@pytest.mark.parametrize("name", SHAPES)
def test_every_value_of_a_documented_shape_is_in_the_event_unless_it_is_noise(name: str) -> None:
    document = SHAPES[name]
    data = event_of(document).data
    left_out = [path for path, _ in scalars(document) if event_of_changed(document, path) == data]
    assert left_out == [path for path, _ in scalars(document) if is_noise(path, document)]


def event_of_changed(document: dict[str, Any], path: Path) -> Any:
    if path == ("id",):
        return event_of({**document, "id": "0" * 8 + document["id"][8:]}).data
    return event_of(changed(document, path)).data


@pytest.mark.parametrize("document", REFERRALS, ids=lambda document: document.get("name", "the seed"))
def test_the_local_referrals_become_events(document: dict[str, Any]) -> None:
    assert event_of(document).document()["subject"] == document["id"]


def test_nothing_of_todays_shape_but_what_has_no_place_is_in_extra() -> None:
    data = event_of(today("Today")).data
    assert data["extra"] == {
        "lastRunId": "run-5",
        "attributes": {"objectType": "Referral"},
        "trackingInfo": {"migratedPSCDealId": "PSC-9"},
        "details": {
            "requirements": {"additionalRequirements": {"iot": {"azureCertifiedDevice": False, "siliconType": "ARM"}}}
        },
    }
    assert "warnings" not in data
