"""Whose personal data an event may contain: the setting `REFERRAL_CONTACTS`."""

import re
from collections.abc import Iterable, Mapping
from typing import Any, Literal, cast, get_args
from urllib.parse import quote

from referral_fn.errors import Finding
from referral_fn.referrals import codes
from referral_fn.referrals.formats import (
    BOOLEAN,
    CAMPAIGN_ID,
    COUNTRY,
    CRM_ID,
    CURRENCY,
    DECIMAL,
    ETAG,
    GUID,
    IDENTIFIER,
    NUMBER,
    ORGANIZATION_ID,
    ORGANIZATION_NAME,
    PARTNER_ID,
    PLACE_NAME,
    POSTAL_CODE,
    PROFILE_ID,
    SOLUTION_NAME,
    STATE,
    TIME,
    WORD,
    Format,
    documented,
)
from referral_fn.referrals.referral_data import Category, DealType, ReferralData, Side
from referral_fn.referrals.referral_parts import Consent, Links, present

Policy = Literal["full", "contactable", "consented", "none"]

Allowed = Format | Mapping[str, Any] | list[Any]
"""A field's format; an object's fields; or, as the only item of a list, what is allowed of the items."""

ALLOWED: Mapping[str, Allowed] = {
    "referralId": GUID,
    "category": documented(get_args(Category)),
    "side": documented(get_args(Side)),
    "dealType": documented(get_args(DealType)),
    "engagementId": IDENTIFIER,
    "externalReferenceId": CRM_ID,
    "organization": {"id": ORGANIZATION_ID, "name": ORGANIZATION_NAME, "businessProfileId": IDENTIFIER},
    "mpnId": PARTNER_ID,
    "type": documented(codes.TYPES),
    "direction": documented(codes.DIRECTIONS),
    "qualification": documented(codes.QUALIFICATIONS),
    "quality": WORD,
    "isSpam": BOOLEAN,
    "status": documented(codes.STATUSES),
    "substatus": documented(codes.SUBSTATUSES),
    "salesStage": documented(codes.SALES_STAGES),
    "registrationStatus": WORD,
    "registrations": [
        {"id": IDENTIFIER, "status": WORD, "contract": {"value": DECIMAL, "currency": CURRENCY, "term": WORD}}
    ],
    "createdAt": TIME,
    "updatedAt": TIME,
    "acceptedAt": TIME,
    "expiresAt": TIME,
    "closedAt": TIME,
    "referralSource": WORD,
    "referralProgram": WORD,
    "callToAction": WORD,
    "campaignId": CAMPAIGN_ID,
    "solutionArea": SOLUTION_NAME,
    "solutionPlay": SOLUTION_NAME,
    "partnerRoles": [WORD],
    "dealSensitivity": WORD,
    "favorite": BOOLEAN,
    "customer": {
        "name": ORGANIZATION_NAME,
        "size": {"code": documented(codes.SIZES), "min": NUMBER, "max": NUMBER},
        "address": {
            "city": PLACE_NAME,
            "state": STATE,
            "postalCode": POSTAL_CODE,
            "region": STATE,
            "country": COUNTRY,
        },
        "ids": [{"type": documented(codes.PROFILE_TYPES), "id": PROFILE_ID}],
        "matchingComplete": BOOLEAN,
    },
    "customerRequestedContact": BOOLEAN,
    "customerAction": WORD,
    "deal": {"value": DECIMAL, "currency": CURRENCY, "closesAt": TIME, "incentiveLevel": WORD},
    "requirements": {
        "industries": [WORD],
        "products": [WORD],
        "services": [WORD],
        "solutions": [
            {
                "id": IDENTIFIER,
                "type": documented(codes.SOLUTION_TYPES),
                "solutionType": WORD,
                "publisherName": ORGANIZATION_NAME,
                "price": DECIMAL,
                "quantity": DECIMAL,
                "currency": CURRENCY,
                "closesAt": TIME,
            }
        ],
        "offers": [IDENTIFIER],
        "salesPlays": [WORD],
        "marketplaceIntent": WORD,
        "attributes": [{"type": WORD, "id": WORD}],
    },
    "consent": {
        "shareWithOthers": BOOLEAN,
        "contact": BOOLEAN,
        "microsoftToContactPartners": BOOLEAN,
        "shareWithMicrosoftSellers": BOOLEAN,
    },
    "invite": {
        "assistanceRequestCode": documented(codes.ASSISTANCE_REQUESTS),
        "invitedMpnId": PARTNER_ID,
        "organizationId": ORGANIZATION_ID,
        "organizationName": ORGANIZATION_NAME,
    },
    "targets": [{"type": documented(codes.TARGET_TYPES), "id": IDENTIFIER}],
    "microsoftMsxId": IDENTIFIER,
    "etag": ETAG,
}
"""All that an event contains where people may not appear, except `links`, `omitted` and `warnings`. The rest is either
about people or free text: what a person wrote, or what Partner Center may fill with anything."""

_INDEX = re.compile(r"/\d+(?=/|$)")


def restrict(data: ReferralData, policy: Policy, collection: str) -> ReferralData:
    """Leave out of an event what the policy does not allow.

    Where people may not appear, only the fields in `ALLOWED` are kept, each only in its format, and links are built
    from the referral's IDs. `omitted` lists what was left out.

    Args:
        data: the complete data of the event.
        policy: whose personal data may appear: everybody's; that of customers who agreed to be contacted; that of
            customers who also agreed to have their details shared; nobody's.
        collection: the URL of the referrals collection, on which links are built.
    """
    if _people_may_appear(data.get("consent") or Consent(), policy):
        return data
    omitted: dict[str, None] = {}
    complete = {name: value for name, value in data.items() if name not in ("links", "warnings")}
    restricted = cast("ReferralData", _keep(complete, ALLOWED, "", omitted))
    restricted["links"] = _links(restricted, data.get("links") or Links(), collection)
    restricted["omitted"] = list(omitted)
    gone = ("/links", *omitted)
    restricted["warnings"] = [finding for finding in data.get("warnings") or () if not _is_about(finding, gone)]
    return present(restricted)


def _people_may_appear(consent: Consent, policy: Policy) -> bool:
    match policy:
        case "full":
            return True
        case "contactable":
            return bool(consent.get("contact"))
        case "consented":
            return bool(consent.get("contact") and consent.get("shareWithOthers"))
        case "none":
            return False


def _keep(value: Any, allowed: Allowed | None, path: str, omitted: dict[str, None]) -> Any:
    """Return what is allowed of a value, or None, and note what is not. `*` in a path stands for any item of a list."""
    if isinstance(allowed, Mapping):
        items = ((name, _keep(item, allowed.get(name), f"{path}/{name}", omitted)) for name, item in value.items())
        return {name: item for name, item in items if item is not None} or None
    if isinstance(allowed, list):
        kept = (_keep(item, allowed[0], f"{path}/*", omitted) for item in value)
        return [item for item in kept if item is not None] or None
    if allowed and allowed.accepts(value):
        return value
    omitted[path] = None
    return None


def _links(restricted: ReferralData, links: Links, collection: str) -> Links:
    engagement_id = restricted.get("engagementId")
    related = f"{collection}?$filter=engagementId%20eq%20'{quote(engagement_id)}'" if engagement_id else None
    return present(
        Links(
            self=f"{collection}/{restricted['referralId']}" if links.get("self") else None,
            related=related if links.get("related") else None,
        )
    )


def _is_about(finding: Finding, paths: Iterable[str]) -> bool:
    """Whether a finding is about one of the fields, or about none in particular."""
    field = _INDEX.sub("/*", finding["path"])
    return not field or any(f"{field}/".startswith(f"{path}/") for path in paths)
