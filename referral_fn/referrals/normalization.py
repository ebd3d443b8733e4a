"""From the referral as sent to the event as published: pure, deterministic, and total over all that can be read."""

import hashlib
import re
from collections.abc import Mapping

from referral_fn import strict_json
from referral_fn.referrals import codes, contact_policy, events, wire
from referral_fn.referrals.classification import category, deal_type, side
from referral_fn.referrals.contacts import contacts
from referral_fn.referrals.customer import customer
from referral_fn.referrals.deal import deal, registrations, requirements
from referral_fn.referrals.findings import Warnings
from referral_fn.referrals.identifiers import identifiers, tags
from referral_fn.referrals.leftovers import leftovers
from referral_fn.referrals.links import links
from referral_fn.referrals.referral_data import ReferralData
from referral_fn.referrals.referral_parts import Consent, Invite, Organization, present
from referral_fn.referrals.wire import Referral
from referral_fn.timestamps import utc

_ATTRIBUTE = re.compile(r"[\x21-\x24\x26-\x3f\x41-\x7e]{1,128}")
"""What this app lets into a CloudEvents attribute: printable ASCII without spaces, `%` and `@`. The specification
allows more, but not every broker does, and an email address does not belong there."""


def normalize(
    referral: Referral,
    *,
    collection: str,
    policy: contact_policy.Policy = "full",
    context: Mapping[str, str] | None = None,
) -> events.Event[ReferralData]:
    """Build the event of a referral.

    Args:
        referral: the referral as sent.
        collection: the URL of the referrals collection: the event's source, and the base of relative links.
        policy: whose personal data the event may contain.
        context: extension attributes that come from the request: its trace, and its cause.

    Returns:
        The event. The same snapshot of a referral has the same `id` under every policy; another snapshot has another.
    """
    warnings = Warnings()
    complete = _data(referral, collection, warnings)
    version = _version(referral, complete)
    if warnings.findings:
        complete["warnings"] = warnings.findings
    data = contact_policy.restrict(complete, policy, collection)
    updated_at = data.get("updatedAt")
    extensions = {"partitionkey": _attribute(data.get("engagementId")) or data["referralId"]}
    if updated_at:
        extensions["sequence"] = updated_at
    return events.Event(
        id=f"{data['referralId']}@{version}",
        source=collection,
        type=events.REFERRAL_TYPE,
        dataschema=events.REFERRAL_SCHEMA,
        subject=data["referralId"],
        time=updated_at,
        extensions=extensions | dict(context or {}),
        data=data,
    )


def _version(referral: Referral, data: ReferralData) -> str:
    if referral.eTag:
        tag = referral.eTag.strip().removeprefix("W/").strip('"')
        return _attribute(tag) or hashlib.sha256(tag.encode()).hexdigest()
    return data.get("updatedAt") or hashlib.sha256(strict_json.dumps(data, sort_keys=True)).hexdigest()


def _attribute(value: str | None) -> str | None:
    return value if value and _ATTRIBUTE.fullmatch(value) else None


def _data(referral: Referral, collection: str, warnings: Warnings) -> ReferralData:
    _check_codes(referral, warnings)
    details = referral.details
    return present(
        ReferralData(
            referralId=referral.id.strip().lower(),
            category=category(referral),
            side=side(referral),
            dealType=deal_type(referral),
            engagementId=referral.engagementId,
            name=referral.name,
            externalReferenceId=referral.externalReferenceId,
            organization=_organization(referral),
            mpnId=referral.mpnId,
            type=referral.type,
            direction=referral.direction,
            qualification=referral.qualification,
            quality=referral.quality,
            isSpam=referral.isSpam,
            status=referral.status,
            substatus=referral.substatus or referral.statusDetail,
            statusReason=referral.statusReason,
            salesStage=referral.salesStage,
            registrationStatus=referral.registrationStatus,
            registrations=registrations(referral.registrations),
            createdAt=utc(referral.createdDateTime),
            updatedAt=utc(referral.updatedDateTime),
            acceptedAt=utc(referral.acceptedDateTime),
            expiresAt=utc(referral.expirationDateTime),
            closedAt=utc(referral.closedDateTime),
            createdVia=referral.createdVia,
            lastModifiedVia=referral.lastModifiedVia,
            referralSource=referral.referralSource,
            referralProgram=referral.referralProgram,
            callToAction=referral.callToAction,
            campaignId=referral.campaignId,
            solutionArea=referral.solutionArea,
            solutionPlay=referral.solutionPlay,
            partnerRoles=[role for role in referral.partnerRole or () if role],
            dealSensitivity=referral.dealSensitivity,
            favorite=referral.favorite,
            tags=tags(referral.tags),
            customer=customer(referral.customerProfile, warnings),
            customerRequestedContact=details.customerRequestedContact if details else None,
            customerAction=details.customerAction if details else None,
            deal=deal(details),
            notes=details.notes if details else None,
            requirements=requirements(referral, warnings),
            team=contacts(referral.team, None, "/team", warnings),
            consent=_consent(referral.consent),
            invite=_invite(referral.inviteContext, warnings),
            targets=identifiers(referral.target, codes.TARGET_TYPES, "/targets", warnings),
            microsoftMsxId=referral.trackingInfo.microsoftMsxId if referral.trackingInfo else None,
            etag=referral.eTag,
            links=links(referral.links, collection, warnings),
            extra=leftovers(referral, warnings),
        )
    )


def _organization(referral: Referral) -> Organization:
    return present(
        Organization(
            id=referral.organizationId, name=referral.organizationName, businessProfileId=referral.businessProfileId
        )
    )


def _check_codes(referral: Referral, warnings: Warnings) -> None:
    status, substatus = referral.status, referral.substatus or referral.statusDetail
    warnings.check_code(referral.type, codes.TYPES, "/type")
    warnings.check_code(referral.direction, codes.DIRECTIONS, "/direction")
    warnings.check_code(referral.qualification, codes.QUALIFICATIONS, "/qualification")
    warnings.check_code(referral.salesStage, codes.SALES_STAGES, "/salesStage")
    warnings.check_code(status, codes.STATUSES, "/status")
    warnings.check_code(substatus, codes.SUBSTATUSES, "/substatus")
    fitting = codes.STATUSES.get(status or "None")
    if fitting and substatus in codes.SUBSTATUSES - fitting - {"None"}:
        warnings.add("/substatus", "does not go with the status")


def _consent(consent: wire.Consent | None) -> Consent | None:
    if consent is None:
        return None
    return present(
        Consent(
            shareWithOthers=consent.consentToToShareInfoWithOthers,
            contact=consent.consentToContact,
            microsoftToContactPartners=consent.consentToMicrosoftToContactSpecificPartners,
            shareWithMicrosoftSellers=consent.consentToShareReferralWithMicrosoftSellers,
        )
    )


def _invite(invite: wire.InviteContext | None, warnings: Warnings) -> Invite | None:
    if invite is None:
        return None
    warnings.check_code(invite.assistanceRequestCode, codes.ASSISTANCE_REQUESTS, "/invite/assistanceRequestCode")
    inviter = invite.invitedBy
    return present(
        Invite(
            notes=invite.notes,
            assistanceRequestCode=invite.assistanceRequestCode,
            invitedMpnId=invite.invitedMpnId,
            organizationId=inviter.organizationId if inviter else None,
            organizationName=inviter.organizationName if inviter else None,
        )
    )
