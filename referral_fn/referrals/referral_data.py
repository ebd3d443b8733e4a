"""The data of a referral's event, from which the published JSON Schema is generated."""

from typing import Annotated, Any, Literal, NotRequired

from pydantic import Field
from typing_extensions import TypedDict  # pydantic accepts no other before Python 3.12

from referral_fn.errors import Finding
from referral_fn.referrals.referral_parts import (
    Consent,
    Contact,
    Customer,
    Deal,
    Guid,
    Identifier,
    Invite,
    Links,
    Organization,
    Registration,
    Requirements,
    Time,
)

Category = Literal["MarketplaceLead", "QualifiedLead", "CoSellOpportunity", "Unknown"]
Side = Literal["partner", "microsoft", "otherPartner", "unknown"]
DealType = Literal["private", "partner-led", "co-sell"]


class ReferralData(TypedDict):
    """A referral, normalized. What Partner Center left out or null is absent. Later versions of v1 may add fields."""

    referralId: Guid
    """The referral's ID."""
    category: Category
    """The kind of lead, from its type, its qualification and who invited; `Unknown` if they fit no kind."""
    side: Side
    """Whose side of an engagement it shows. The sides of a shared one have the same `engagementId`."""
    dealType: NotRequired[DealType | None]
    """The type of a co-sell deal: whether Microsoft's sellers see it, and whether Microsoft is asked for help."""
    engagementId: NotRequired[str | None]
    """The engagement it belongs to, as sent."""
    name: NotRequired[str | None]
    """Its name."""
    externalReferenceId: NotRequired[str | None]
    """The partner's own ID of it, such as the CRM's."""
    organization: NotRequired[Organization | None]
    """The organization whose referral it is."""
    mpnId: NotRequired[str | None]
    """The partner ID (MPN ID) of the organization whose referral it is."""
    type: NotRequired[Annotated[str, Field(examples=["Independent", "Shared"])] | None]
    """Whether one partner works on it or several parties do, as sent."""
    direction: NotRequired[Annotated[str, Field(examples=["Incoming", "Outgoing"])] | None]
    """Whether it was received or sent, as sent."""
    qualification: NotRequired[Annotated[str, Field(examples=["Direct", "SalesQualified"])] | None]
    """How the lead was qualified, as sent."""
    quality: NotRequired[str | None]
    """Partner Center's rating of the lead, as sent."""
    isSpam: NotRequired[bool | None]
    """Whether Partner Center takes it for spam."""
    status: NotRequired[Annotated[str, Field(examples=["New", "Active", "Closed"])] | None]
    """Its status, as sent."""
    substatus: NotRequired[Annotated[str, Field(examples=["Pending", "Received", "Accepted", "Won", "Lost"])] | None]
    """The detail of its status, as sent; with a warning if the two do not go together."""
    statusReason: NotRequired[str | None]
    """Why it has this status."""
    salesStage: NotRequired[Annotated[str, Field(examples=["Develop", "40"])] | None]
    """The stage of the sale, by name or in percent, as sent."""
    registrationStatus: NotRequired[str | None]
    """The state of the deal's registration with Microsoft, as sent."""
    registrations: NotRequired[list[Registration] | None]
    """The registrations of the deal with Microsoft."""
    createdAt: NotRequired[Time | None]
    """When it was created."""
    updatedAt: NotRequired[Time | None]
    """When it last changed."""
    acceptedAt: NotRequired[Time | None]
    """When it was accepted."""
    expiresAt: NotRequired[Time | None]
    """When it expires unless it is accepted."""
    closedAt: NotRequired[Time | None]
    """When it was closed."""
    createdVia: NotRequired[str | None]
    """What it was created with, as sent."""
    lastModifiedVia: NotRequired[str | None]
    """What it was last changed with, as sent."""
    referralSource: NotRequired[str | None]
    """Where the lead came from, as sent. It does not decide the category."""
    referralProgram: NotRequired[str | None]
    """The program it belongs to, as sent."""
    callToAction: NotRequired[str | None]
    """What the customer asked for in the marketplace, as sent. It does not decide the category."""
    campaignId: NotRequired[str | None]
    """The marketing campaign it came from, as sent."""
    solutionArea: NotRequired[str | None]
    """Microsoft's solution area, as sent."""
    solutionPlay: NotRequired[str | None]
    """Microsoft's solution play, as sent."""
    partnerRoles: NotRequired[list[str] | None]
    """What the partner does in the deal, as sent."""
    dealSensitivity: NotRequired[str | None]
    """How confidential the deal is, as sent."""
    favorite: NotRequired[bool | None]
    """Whether it is marked as a favorite in Partner Center."""
    tags: NotRequired[list[str] | None]
    """The tags it was given in Partner Center."""
    customer: NotRequired[Customer | None]
    """The company it is about."""
    customerRequestedContact: NotRequired[bool | None]
    """Whether the customer asked to be contacted."""
    customerAction: NotRequired[str | None]
    """What the customer did, as sent."""
    deal: NotRequired[Deal | None]
    """The value of the opportunity."""
    notes: NotRequired[str | None]
    """Notes about it."""
    requirements: NotRequired[Requirements | None]
    """What the customer asks for."""
    team: NotRequired[list[Contact] | None]
    """The partner's people."""
    consent: NotRequired[Consent | None]
    """What the customer agreed to."""
    invite: NotRequired[Invite | None]
    """Who invited the partner, and their message."""
    targets: NotRequired[list[Identifier] | None]
    """The partner's profiles the referral was sent to."""
    microsoftMsxId: NotRequired[str | None]
    """Microsoft's own ID of the opportunity, in its sales system MSX."""
    etag: NotRequired[str | None]
    """Its version, as Partner Center spells it."""
    links: NotRequired[Links | None]
    """Where Partner Center has it."""
    extra: NotRequired[dict[str, Any] | None]
    """All upstream fields without a place of their own, nested as upstream nests them; list items by their index."""
    omitted: NotRequired[list[str] | None]
    """What was left out because it could name a person: JSON Pointers, with `*` for any item of a list."""
    warnings: NotRequired[list[Finding] | None]
    """What is odd, and was kept."""
