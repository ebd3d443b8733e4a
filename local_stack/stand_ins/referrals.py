"""Referrals of fictional customers: the formats of 2018, 2019 and today, every kind of lead, and odd values."""

import json
import uuid
from pathlib import Path
from typing import Any

SEED: dict[str, Any] = json.loads(Path(__file__).with_name("seed_referral.json").read_text(encoding="utf-8"))
"""The documentation's own example from 2018."""

_API = "https://api.partner.microsoft.com/v1.0/engagements/referrals"
_NAMESPACE = uuid.UUID("0f6f2f5e-51a8-4a57-9d0c-8f5f6d0a7c11")
_BY_MICROSOFT = {"invitedBy": {"organizationId": "msft", "organizationName": "Microsoft"}}
_BY_PARTNER = {
    "notes": "Join us on this one",
    "invitedBy": {"organizationId": "ptnr-7", "organizationName": "Fabrikam"},
}


def _ids(name: str) -> tuple[str, str, str]:
    """A referral's ID, engagement ID and entity tag, derived from its name."""
    referral_id, engagement_id, tag = (str(uuid.uuid5(_NAMESPACE, f"{name} {part}")) for part in ("r", "e", "t"))
    return referral_id, engagement_id, tag


def _referral(name: str, **changes: Any) -> dict[str, Any]:
    """A referral in the format of 2019, with IDs derived from its name."""
    referral_id, engagement_id, tag = _ids(name)
    document = {
        "id": referral_id,
        "engagementId": engagement_id,
        "name": name,
        "externalReferenceId": "",
        "organizationId": "ptnr-1",
        "organizationName": "Northwind Partners",
        "businessProfileId": "bp-1",
        "createdDateTime": "2026-01-12T08:30:00.1234567Z",
        "updatedDateTime": "2026-01-14T16:05:59.98Z",
        "expirationDateTime": "2026-01-26T08:30:00Z",
        "status": "New",
        "substatus": "Pending",
        "statusReason": None,
        "qualification": "Direct",
        "type": "Independent",
        "direction": "Incoming",
        "eTag": f'"{tag}"',
        "customerProfile": {
            "name": "Tailspin Toys",
            "address": {"addressLine1": "5 Example Road", "city": "Leeds", "postalCode": "LS1 1AA", "country": "GB"},
            "size": "51to250employees",
            "team": [
                {"firstName": "Ada", "lastName": "Okafor", "phoneNumber": "0113 496 0999", "email": "ada@example.com"}
            ],
            "ids": [{"profileType": "Duns", "id": "795986822"}],
        },
        "consent": {
            "consentToToShareInfoWithOthers": True,
            "consentToContact": True,
            "consentToMicrosoftToContactSpecificPartners": False,
        },
        "details": {
            "notes": "Asked for a demonstration.",
            "dealValue": 25000.00,
            "currency": "GBP",
            "closingDateTime": "2026-06-30T00:00:00Z",
            "requirements": {
                "industries": [{"id": "Retail"}],
                "products": [{"id": "Dynamics365"}],
                "services": [{"id": "Consulting"}],
                "solutions": [{"id": "SOL-1", "name": "Commerce", "type": "Name"}],
            },
        },
        "team": [],
        "inviteContext": _BY_MICROSOFT,
        "target": [{"id": "loc-1", "type": "BusinessProfileLocation"}],
        "links": {
            "self": {"uri": f"{_API}/{referral_id}", "method": "GET"},
            "relatedReferrals": {"uri": f"{_API}?$filter=engagementId eq '{engagement_id}'", "method": "GET"},
        },
    }
    return document | changes


def _customer(**changes: Any) -> dict[str, Any]:
    return {**_referral("customer")["customerProfile"], **changes}


def _details(**changes: Any) -> dict[str, Any]:
    return {**_referral("details")["details"], **changes}


def today(name: str, **changes: Any) -> dict[str, Any]:
    """A co-sell opportunity with every field of the current API, and IDs derived from its name."""
    referral_id, engagement_id, _ = _ids(name)
    document = _referral(name) | {
        "@odata.context": "https://api.partner.microsoft.com/v1.0/$metadata#referrals/$entity",
        "type": "Shared",
        "qualification": "SalesQualified",
        "direction": "Outgoing",
        "status": "Active",
        "substatus": "Accepted",
        "statusReason": "Budget approved",
        "externalReferenceId": "0064x00000AbCdEAAV",
        "acceptedDateTime": "2026-01-12T09:00:00Z",
        "closedDateTime": None,
        "salesStage": "Develop",
        "mpnId": "1234567",
        "campaignId": "CMP-20250-X7Q",
        "quality": "High",
        "isSpam": False,
        "favorite": True,
        "tags": ["expansion"],
        "referralSource": "MicrosoftPartnerCenter",
        "referralProgram": "CoSell",
        "callToAction": "ContactMe",
        "createdVia": "API",
        "lastModifiedVia": "PartnerCenter",
        "lastRunId": "run-5",
        "dealSensitivity": "None",
        "registrationStatus": "ReviewPending",
        "registrations": [
            {"id": "REG-77", "status": "Submitted", "contract": {"value": 48000.50, "currency": "GBP", "term": "P3Y"}}
        ],
        "solutionArea": "Business Applications",
        "solutionPlay": "Modernize ERP",
        "partnerRole": ["SolutionProvider", "Reseller"],
        "customerMarketplaceIntent": "HaveNotDecided",
        "trackingInfo": {"microsoftMsxId": "7-3KXYZ12", "microsoftUSFedLeadId": None, "migratedPSCDealId": "PSC-9"},
        "attributes": {"objectType": "Referral"},
        "inviteContext": {
            "notes": "Please join the demonstration.",
            "assistanceRequestCode": "ProofOfConceptOrDemo",
            "invitedMpnId": "7654321",
            "invitedBy": {"organizationId": "ptnr-1", "organizationName": "Northwind Partners"},
        },
    }
    document["customerProfile"] |= {
        "isMatchingComplete": True,
        "address": {
            "addressLine1": "5 Example Road",
            "addressLine2": "Second floor",
            "city": "Leeds",
            "state": "WYK",
            "postalCode": "LS1 1AA",
            "country": "GB",
            "region": "England",
        },
        "ids": [{"profileType": "Duns", "id": "795986822"}, {"profileType": "External", "id": "6-EXAMPLE7"}],
        "team": [
            {
                "firstName": "Ada",
                "lastName": "Okafor",
                "title": "Head of Purchasing",
                "phoneNumber": "0113 496 0999",
                "phoneValidationStatus": "Valid",
                "email": "ada@example.com",
                "emailValidationStatus": "Valid",
                "contactPreference": {"locale": "en-GB", "disableNotifications": False},
            }
        ],
    }
    document["consent"] = {
        "consentToToShareInfoWithOthers": True,
        "consentToContact": True,
        "consentToShareReferralWithMicrosoftSellers": True,
    }
    document["details"] |= {
        "customerRequestedContact": True,
        "customerAction": "TestDrive",
        "incentiveLevel": "Standard",
        "requirements": {
            "industries": [{"id": "Retail"}],
            "products": [{"id": "Dynamics365"}],
            "services": [{"id": "Consulting"}],
            "solutions": [
                {
                    "id": "SOL-1-ABC",
                    "name": "Commerce",
                    "type": "Name",
                    "solutionType": "3P",
                    "publisherName": "Northwind Partners",
                    "price": 1500.25,
                    "quantity": 12,
                    "currency": "GBP",
                    "closingDateTime": "2026-06-30T00:00:00Z",
                }
            ],
            "offers": [{"id": "OFFER-3"}],
            "salesPlays": [{"id": "ModernizeERP"}],
            "additionalRequirements": {
                "iot": {"azureCertifiedDevice": False, "siliconType": "ARM"},
                "attributes": [{"type": "CustomerMarketplaceIntent", "id": "HaveNotDecided"}],
            },
        },
    }
    document["team"] = [{"firstName": "Bo", "lastName": "Lind", "email": "bo@example.net", "title": "Seller"}]
    document["links"]["relatedReferrals"]["uri"] = f"{_API}?$filter=engagementId eq {engagement_id}"
    return document | {"id": referral_id} | changes


SHARED = today("A deal shared with Microsoft")

REFERRALS: list[dict[str, Any]] = [
    SEED,
    _referral("A lead from the marketplace"),
    _referral("A lead from the marketplace, inviter unsaid", inviteContext=None, substatus="Received"),
    _referral("A qualified lead", qualification="SalesQualified", status="Active", substatus="Accepted"),
    _referral(
        "A lead qualified by marketing", qualification="MarketingQualified", acceptedDateTime="2026-01-13T00:00:00Z"
    ),
    _referral("A co-sell opportunity, alone", qualification="SalesQualified", inviteContext=_BY_PARTNER),
    _referral("A co-sell opportunity, shared", qualification="None", type="Shared", inviteContext=_BY_PARTNER),
    _referral("An outgoing opportunity", direction="Outgoing", type="Shared", qualification="SalesQualified"),
    _referral(
        "A deal with substatus Won",
        status="Closed",
        substatus="Won",
        details=_details(dealValue=1234567.89, currency="EUR"),
    ),
    _referral("A deal with substatus Lost", status="Closed", substatus="Lost", statusReason="Price"),
    _referral("A deal with substatus Declined", status="Closed", substatus="Declined", statusReason="No capacity"),
    _referral("A deal with substatus Expired", status="Closed", substatus="Expired"),
    _referral("A deal whose status and substatus disagree", status="New", substatus="Won"),
    _referral("A deal without a status", status="None", substatus="None", qualification="None"),
    _referral("A deal with an unknown status", status="Snoozed", type="Joint", details=_details(currency="XXX")),
    _referral(
        "\u6771\u4eac\u306e\u6848\u4ef6",
        customerProfile=_customer(
            name="\u682a\u5f0f\u4f1a\u793e\u4f8b", address={"city": "\u6771\u4eac", "country": "JPN"}
        ),
    ),
    _referral(
        "\u0639\u0645\u064a\u0644 \u062c\u062f\u064a\u062f",
        customerProfile=_customer(
            name="\u0634\u0631\u0643\u0629 \u0627\u0644\u0645\u062b\u0627\u0644", address={"country": "ARE"}
        ),
    ),
    _referral(
        "Emoji \U0001f680 and combining e\u0301",
        details=_details(notes="\U0001f468\u200d\U0001f469\u200d\U0001f467 family business"),
    ),
    _referral(
        "A deal of nothing but nulls",
        customerProfile=None,
        consent=None,
        details=None,
        team=None,
        inviteContext=None,
        target=None,
        links=None,
        updatedDateTime=None,
        eTag=None,
        status=None,
        substatus=None,
    ),
    _referral(
        "A deal with nulls further down",
        customerProfile={"name": None, "address": None, "team": [None], "ids": None},
        details={"notes": None, "dealValue": None, "requirements": {"industries": [None]}},
    ),
    _referral("Seven digits of a second", updatedDateTime="2026-02-01T00:00:00.0000001Z", eTag=None),
    _referral("A country nobody knows", customerProfile=_customer(address={"country": "Atlantis"}, size="2employees")),
    _referral(
        "Fields of tomorrow",
        referralSource="Campaign",
        callToAction="ContactMe",
        partnerRole="Lead",
        solutionArea="Business Applications",
        solutionPlay="ERP",
        trackingInfo={"id": 7, "tags": ["a", "b"]},
    ),
    _referral(
        "An address nobody can write to", customerProfile=_customer(team=[{"firstName": "Bo", "email": "bo at work"}])
    ),
    _referral(
        "A quiet contact",
        customerProfile=_customer(
            team=[
                {
                    "firstName": "Chi",
                    "lastName": "Nguyen",
                    "phoneNumber": "+44 20 7946 0958",
                    "contactPreference": {"locale": "vi-VN", "disableNotifications": True},
                }
            ]
        ),
    ),
    _referral("A misspelt link", links={"self": {"uri": f"{_API}/x".replace("engagements", "engagments")}}),
    SHARED,
    today("Microsoft's side of it", engagementId=SHARED["engagementId"], organizationId="msft", direction="Incoming"),
    today("A private deal", consent={"consentToShareReferralWithMicrosoftSellers": False}),
    today("A deal closed as an error", status="Closed", substatus="Error", closedDateTime="2026-02-01T10:00:00Z"),
]
"""All referrals, starting with the seed."""
