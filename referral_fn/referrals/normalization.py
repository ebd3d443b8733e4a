"""From the referral as sent to the referral as published: pure, deterministic, and total over all that was read."""

import hashlib
import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, cast
from urllib.parse import quote, urljoin

import iso3166

from referral_fn import strict_json
from referral_fn.errors import Finding
from referral_fn.referrals import contact_policy, events, wire
from referral_fn.referrals.events import ReferralData
from referral_fn.referrals.wire import Referral, Wire, pointer
from referral_fn.timestamps import utc

STATUSES = {
    "None": {"None"},
    "New": {"Pending", "Received"},
    "Active": {"Accepted"},
    "Closed": {"Won", "Lost", "Declined", "Expired"},
}
"""Each status, and the substatuses that go with it."""

_ENUMERATIONS = {
    "status": set(STATUSES),
    "substatus": set().union(*STATUSES.values()),
    "qualification": {"None", "Direct", "MarketingQualified", "SalesQualified"},
    "type": {"Shared", "Independent"},
    "direction": {"Incoming", "Outgoing"},
}
_SIZES = {
    "1to9employees",
    "10to50employees",
    "1to50employees",
    "51to250employees",
    "51to500employees",
    "251to1000employees",
    "1001to5000employees",
    "5001to10000employees",
    "10001to20000employees",
    "Morethan500employees",
    "Morethan20000employees",
}
_SOLUTION_TYPES = {"None", "Category", "Name"}
_TARGET_TYPES = {"None", "BusinessProfileLocation", "SolutionProfile"}
_EMAIL = re.compile(r"[^@\s]+@[^@\s.]+(\.[^@\s.]+)+")
_URL_CHARACTERS = "%:/?#[]@!$&'()*+,;="
"""What a URL may hold beside letters, digits and `-._~` (RFC 3986, section 2)."""

_EMPTY: tuple[Any, ...] = ({}, [])
_ATTRIBUTE = re.compile(r"[\x21-\x7e]{1,128}")
"""What this app lets into a CloudEvents attribute: narrower than the specification, so that every broker takes it."""


def normalize(
    referral: Referral,
    *,
    collection: str,
    policy: contact_policy.Policy = "full",
    context: Mapping[str, str] | None = None,
) -> events.Event[ReferralData]:
    """Make the event of a referral.

    Args:
        referral: the referral as read.
        collection: the referrals collection's URL: the event's source, and what relative links are resolved against.
        policy: whose personal data the event may hold.
        context: extensions that come from the request: its trace, and its cause.

    Returns:
        The event. The same snapshot of a referral gives the same `id` under every policy, a changed one another.
    """
    warnings: list[Finding] = []
    data = _data(referral, collection, warnings)
    version = _version(referral, data)
    if warnings:
        data["warnings"] = warnings
    extensions = {"partitionkey": _attribute(referral.engagementId) or data["referralId"]}
    if "updatedAt" in data:
        extensions["sequence"] = data["updatedAt"]
    return events.Event(
        id=f"{data['referralId']}@{version}",
        source=collection,
        type=events.REFERRAL_TYPE,
        dataschema=events.REFERRAL_SCHEMA,
        subject=data["referralId"],
        time=data.get("updatedAt"),
        extensions=extensions | dict(context or {}),
        data=contact_policy.restrict(data, policy),
    )


def category(referral: Referral) -> events.Category:
    """What the referral is, by Partner Center's three fields together."""
    invited_by = referral.inviteContext and referral.inviteContext.invitedBy
    inviter = invited_by.organizationId if invited_by else None
    by_microsoft = inviter is not None and inviter.lower() == "msft"
    match referral.type, referral.qualification or "None":
        case "Independent", "Direct" if by_microsoft or inviter is None:
            return "MarketplaceLead"
        case "Independent", "SalesQualified" | "MarketingQualified" if by_microsoft:
            return "QualifiedLead"
        case "Independent" | "Shared", "SalesQualified" | "None" if inviter is not None and not by_microsoft:
            return "CoSellOpportunity"
    return "Unknown"


def _version(referral: Referral, data: ReferralData) -> str:
    if referral.eTag:
        tag = referral.eTag.strip().removeprefix("W/").strip('"')
        return _attribute(tag) or hashlib.sha256(tag.encode()).hexdigest()
    return data.get("updatedAt") or hashlib.sha256(strict_json.dumps(data, sort_keys=True)).hexdigest()


def _attribute(value: str | None) -> str | None:
    return value if value and _ATTRIBUTE.fullmatch(value) else None


def _data(referral: Referral, collection: str, warnings: list[Finding]) -> ReferralData:
    details = referral.details or wire.Details()
    data: dict[str, Any] = {
        "referralId": referral.id.strip().lower(),
        "engagementId": referral.engagementId,
        "name": referral.name,
        "externalReferenceId": referral.externalReferenceId,
        "organization": _present(id=referral.organizationId, name=referral.organizationName),
        "category": category(referral),
        **_state(referral, warnings),
        "createdAt": _time(referral.createdDateTime),
        "updatedAt": _time(referral.updatedDateTime),
        "acceptedAt": _time(referral.acceptedDateTime),
        "expiresAt": _time(referral.expirationDateTime),
        "customer": _customer(referral.customerProfile, warnings),
        "deal": _present(
            value=_decimal(details.dealValue), currency=details.currency, closesAt=_time(details.closingDateTime)
        ),
        "notes": details.notes,
        "requirements": _requirements(details.requirements, warnings),
        "team": _contacts(referral.team, None, "/team", warnings),
        "consent": _consent(referral.consent),
        "invite": _invite(referral.inviteContext),
        "targets": _targets(referral.target, warnings),
        "etag": referral.eTag,
        "links": _links(referral.links, collection, warnings),
        "extra": _extra(referral),
    }
    return cast("ReferralData", _present(**data))


def _present(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value or not (value is None or value in _EMPTY)}


def _time(time: datetime | None) -> str | None:
    return None if time is None else utc(time)


def _decimal(amount: Decimal | None) -> str | None:
    return None if amount is None else format(amount, "f")


def _warn_unless_known(value: str | None, known: set[str], path: str, warnings: list[Finding]) -> None:
    if value is not None and value not in known:
        warnings.append(Finding(path=path, rule="is not a value that Partner Center documents"))


def _state(referral: Referral, warnings: list[Finding]) -> dict[str, str | None]:
    state = {
        "type": referral.type,
        "direction": referral.direction,
        "qualification": referral.qualification,
        "status": referral.status,
        "substatus": referral.substatus or referral.statusDetail,
    }
    for name, value in state.items():
        _warn_unless_known(value, _ENUMERATIONS[name], pointer(name), warnings)
    status, substatus = state["status"] or "None", state["substatus"] or "None"
    known = status in STATUSES and substatus in _ENUMERATIONS["substatus"]
    if known and substatus != "None" and substatus not in STATUSES[status]:
        warnings.append(Finding(path="/substatus", rule="does not go with the status"))
    return {**state, "statusReason": referral.statusReason}


def _customer(profile: wire.CustomerProfile | None, warnings: list[Finding]) -> dict[str, Any]:
    if profile is None:
        return {}
    address = profile.address or wire.Address()
    country = _country(address.country, warnings)
    return _present(
        name=profile.name,
        size=_size(profile.size, warnings),
        address=_present(
            lines=[line for line in (address.addressLine1, address.addressLine2) if line],
            city=address.city,
            state=address.state,
            postalCode=address.postalCode,
            region=address.region,
            country=country,
        ),
        ids=[
            found for given in profile.ids or () if given and (found := _present(type=given.profileType, id=given.id))
        ],
        contacts=_contacts(profile.team, country, "/customer/contacts", warnings),
    )


def _size(code: str | None, warnings: list[Finding]) -> dict[str, Any]:
    _warn_unless_known(code, _SIZES, "/customer/size/code", warnings)
    if code in _SIZES:
        lowest, _, highest = code.removesuffix("employees").partition("to")
        if highest:
            return {"code": code, "min": int(lowest), "max": int(highest)}
        return {"code": code, "min": int(lowest.removeprefix("Morethan")) + 1}
    return _present(code=code)


def _country(value: str | None, warnings: list[Finding]) -> str | None:
    code = (value or "").strip().upper()
    country = iso3166.countries_by_alpha2.get(code) or iso3166.countries_by_alpha3.get(code)
    if country:
        return country.alpha2
    if value:
        warnings.append(Finding(path="/customer/address/country", rule="is not an ISO 3166-1 country"))
    return value


def _contacts(
    members: list[wire.Member | None] | None, country: str | None, path: str, warnings: list[Finding]
) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for member in members or ():
        preference = (member and member.contactPreference) or wire.ContactPreference()
        if member and (contact := _contact(member, preference, country)):
            if "email" in contact and not _EMAIL.fullmatch(contact["email"]):
                warnings.append(Finding(path=f"{path}/{len(found)}/email", rule="is not an email address"))
            found.append(contact)
    return found


def _contact(member: wire.Member, preference: wire.ContactPreference, country: str | None) -> dict[str, Any]:
    silent = preference.disableNotifications
    return _present(
        firstName=member.firstName,
        lastName=member.lastName,
        email=member.email,
        phone=_phone(member.phoneNumber, country),
        locale=preference.locale,
        notify=None if silent is None else not silent,
    )


def _phone(number: str | None, country: str | None) -> str | None:
    """E.164 where the number is a valid one there; else, or where E.164 would lose its extension, as sent."""
    if number is None or not (country or "+" in number):
        return number
    import phonenumbers  # noqa: PLC0415 - 25 ms of start-up that a referral without telephone numbers need not pay

    try:
        parsed = phonenumbers.parse(number, country)
    except phonenumbers.NumberParseException:
        return number
    valid = country and phonenumbers.is_valid_number_for_region(parsed, country)  # the quick way to know, mostly
    if parsed.extension or not (valid or phonenumbers.is_valid_number(parsed)):
        return number
    return phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164)


def _requirements(wanted: wire.Requirements | None, warnings: list[Finding]) -> dict[str, Any]:
    if wanted is None:
        return {}
    solutions = [found for s in wanted.solutions or () if s and (found := _present(id=s.id, name=s.name, type=s.type))]
    for index, solution in enumerate(solutions):
        path = f"/requirements/solutions/{index}/type"
        _warn_unless_known(solution.get("type"), _SOLUTION_TYPES, path, warnings)
    return _present(
        industries=_ids(wanted.industries),
        products=_ids(wanted.products),
        services=_ids(wanted.services),
        solutions=solutions,
    )


def _ids(items: Iterable[wire.Requirement | None] | None) -> list[str]:
    return [item.id for item in items or () if item and item.id]


def _consent(consent: wire.Consent | None) -> dict[str, Any]:
    given = consent or wire.Consent()
    return _present(
        shareWithOthers=given.consentToToShareInfoWithOthers,
        contact=given.consentToContact,
        microsoftToContactPartners=given.consentToMicrosoftToContactSpecificPartners,
    )


def _invite(invite: wire.InviteContext | None) -> dict[str, Any]:
    inviter = (invite and invite.invitedBy) or wire.Inviter()
    return _present(
        notes=invite and invite.notes,
        organizationId=inviter.organizationId,
        organizationName=inviter.organizationName,
    )


def _targets(targets: list[wire.Target | None] | None, warnings: list[Finding]) -> list[dict[str, Any]]:
    found = [target for t in targets or () if t and (target := _present(type=t.type, id=t.id))]
    for index, target in enumerate(found):
        _warn_unless_known(target.get("type"), _TARGET_TYPES, f"/targets/{index}/type", warnings)
    return found


def _links(links: wire.Links | None, collection: str, warnings: list[Finding]) -> dict[str, str]:
    given = links or wire.Links()
    found = {}
    for name, link in (("self", given.self), ("related", given.relatedReferrals)):
        if link and link.uri:
            try:
                url = urljoin(collection, link.uri).replace("/engagments/", "/engagements/")
                found[name] = quote(url, safe=_URL_CHARACTERS)
            except ValueError:
                found[name] = link.uri
                warnings.append(Finding(path=f"/links/{name}", rule="is not a URL"))
    return found


def _extra(referral: Referral) -> dict[str, Any]:
    extra = _undeclared(referral)
    if referral.substatus and referral.statusDetail not in (None, referral.substatus):
        extra["statusDetail"] = referral.statusDetail
    return extra


def _undeclared(part: Wire) -> dict[str, Any]:
    """What the wire model does not name, nested as upstream nests it; items of a list by their index."""
    found = {name: value for name, value in (part.model_extra or {}).items() if value is not None}
    for name, value in part.__dict__.items():
        if isinstance(value, Wire):
            inner = _undeclared(value)
        elif isinstance(value, list):
            inner = {str(i): deep for i, item in enumerate(value) if item and (deep := _undeclared(item))}
        else:
            continue
        if inner:
            found[name] = inner
    return found
