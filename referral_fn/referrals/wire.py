"""A referral as Partner Center sends it, in every documented shape, old and new.

Fields are spelt as on the wire. Undeclared fields stay in `model_extra`, so that nothing is lost.
"""

from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from referral_fn import strict_json
from referral_fn.errors import Finding
from referral_fn.referrals.findings import pointer
from referral_fn.referrals.misfits import put_back, take_out
from referral_fn.referrals.request import InvalidRequestError, read_referral_id
from referral_fn.referrals.wire_types import Amount, Flag, Items, OneLink, ProfileIds, Tags, Text, Texts, Timestamp

MAX_FINDINGS = 50
"""Findings reported about one answer: enough to see what is wrong, and short enough for a reject."""

_RULES = {
    "missing": "is required",
    "model_type": "must be a JSON object",
    "list_type": "must be a list",
    "string_type": "must be a string",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
}
"""Pydantic's error types in JSON's terms. Types that are not listed have a message of their own."""


class InvalidReferralError(ValueError):
    """The answer is JSON, but not the referral that was asked for; `findings` lists the fields at fault."""

    def __init__(self, *findings: Finding) -> None:
        super().__init__("; ".join(f"{finding['path'] or 'the answer'} {finding['rule']}" for finding in findings))
        self.findings = findings


class Wire(BaseModel):
    """A part of the document: any field may be missing or null, and unknown fields are kept."""

    model_config = ConfigDict(extra="allow", coerce_numbers_to_str=True, defer_build=True)


class Address(Wire):
    addressLine1: Text = None
    addressLine2: Text = None
    city: Text = None
    state: Text = None
    postalCode: Text = None
    region: Text = None
    country: Text = None


class ContactPreference(Wire):
    locale: Text = None
    disableNotifications: Flag = None


class Member(Wire):
    firstName: Text = None
    lastName: Text = None
    title: Text = None
    phoneNumber: Text = None
    phoneValidationStatus: Text = None
    email: Text = None
    emailValidationStatus: Text = None
    contactPreference: ContactPreference | None = None


class ProfileId(Wire):
    profileType: Text = None
    id: Text = None


class CustomerProfile(Wire):
    name: Text = None
    address: Address | None = None
    size: Text = None
    isMatchingComplete: Flag = None
    team: Items[Member] = None
    ids: ProfileIds[ProfileId] = None


class Consent(Wire):
    consentToToShareInfoWithOthers: Flag = None
    consentToContact: Flag = None
    consentToMicrosoftToContactSpecificPartners: Flag = None
    consentToShareReferralWithMicrosoftSellers: Flag = None


class Tag(Wire):
    id: Text = None


class Solution(Wire):
    id: Text = None
    name: Text = None
    type: Text = None
    solutionType: Text = None
    publisherName: Text = None
    price: Amount = None
    quantity: Amount = None
    currency: Text = None
    closingDateTime: Timestamp = None


class Attribute(Wire):
    type: Text = None
    id: Text = None


class AdditionalRequirements(Wire):
    attributes: Items[Attribute] = None


class Requirements(Wire):
    industries: Tags[Tag] = None
    products: Tags[Tag] = None
    services: Tags[Tag] = None
    solutions: Items[Solution] = None
    offers: Tags[Tag] = None
    salesPlays: Tags[Tag] = None
    additionalRequirements: AdditionalRequirements | None = None


class Details(Wire):
    notes: Text = None
    dealValue: Amount = None
    currency: Text = None
    closingDateTime: Timestamp = None
    customerRequestedContact: Flag = None
    customerAction: Text = None
    incentiveLevel: Text = None
    requirements: Requirements | None = None


class Inviter(Wire):
    organizationId: Text = None
    organizationName: Text = None


class InviteContext(Wire):
    notes: Text = None
    assistanceRequestCode: Text = None
    invitedMpnId: Text = None
    invitedBy: Inviter | None = None


class Target(Wire):
    id: Text = None
    type: Text = None


class Link(Wire):
    uri: Text = None


class Links(Wire):
    self: OneLink[Link] = None
    relatedReferrals: OneLink[Link] = None


class TrackingInfo(Wire):
    microsoftMsxId: Text = None


class Contract(Wire):
    value: Amount = None
    currency: Text = None
    term: Text = None


class Registration(Wire):
    id: Text = None
    status: Text = None
    contract: Contract | None = None


class Referral(Wire):
    """The document itself. Only the ID is required."""

    id: str
    engagementId: Text = None
    name: Text = None
    externalReferenceId: Text = None
    organizationId: Text = None
    organizationName: Text = None
    businessProfileId: Text = None
    mpnId: Text = None
    createdDateTime: Timestamp = None
    updatedDateTime: Timestamp = None
    expirationDateTime: Timestamp = None
    acceptedDateTime: Timestamp = None
    closedDateTime: Timestamp = None
    status: Text = None
    substatus: Text = None
    statusDetail: Text = None
    statusReason: Text = None
    salesStage: Text = None
    qualification: Text = None
    quality: Text = None
    isSpam: Flag = None
    type: Text = None
    direction: Text = None
    referralSource: Text = None
    referralProgram: Text = None
    callToAction: Text = None
    campaignId: Text = None
    createdVia: Text = None
    lastModifiedVia: Text = None
    dealSensitivity: Text = None
    favorite: Flag = None
    tags: Tags[Tag] = None
    solutionArea: Text = None
    solutionPlay: Text = None
    partnerRole: Texts = None
    customerMarketplaceIntent: Text = None
    registrationStatus: Text = None
    registrations: Items[Registration] = None
    eTag: Text = None
    customerProfile: CustomerProfile | None = None
    consent: Consent | None = None
    details: Details | None = None
    team: Items[Member] = None
    inviteContext: InviteContext | None = None
    target: Items[Target] = None
    trackingInfo: TrackingInfo | None = None
    links: Links | None = None


def read_referral(body: bytes, asked_id: str) -> Referral:
    """Parse and validate the API's answer.

    Args:
        body: the bytes of the answer.
        asked_id: the ID that was asked for, in lower case.

    Raises:
        InvalidJSONError: the answer is not JSON, or was cut short.
        InvalidReferralError: it is JSON of another shape, or another referral.
    """
    document = strict_json.loads(body)
    if not isinstance(document, dict):
        raise InvalidReferralError(Finding(path="", rule="must be a JSON object"))
    try:
        referral = _validate(document)
        if read_referral_id(referral.id, "/id") != asked_id:
            raise InvalidReferralError(Finding(path="/id", rule="must be the ID that was asked for"))
    except ValidationError as error:
        raise InvalidReferralError(*_findings(error)) from None
    except InvalidRequestError as error:
        raise InvalidReferralError(Finding(path=error.path, rule=error.rule)) from None
    return referral


def _validate(document: dict[str, Any]) -> Referral:
    try:
        return Referral.model_validate(document)
    except ValidationError as error:
        misfits = take_out(document, error)
        if not misfits:
            raise
    referral = Referral.model_validate(document)
    put_back(referral, misfits)
    return referral


def _findings(error: ValidationError) -> list[Finding]:
    errors = error.errors(include_url=False, include_context=False, include_input=False)[:MAX_FINDINGS]
    return [Finding(path=pointer(*e["loc"]), rule=_RULES.get(e["type"], e["msg"])) for e in errors]
