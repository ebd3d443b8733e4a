"""The data of a referral's event. The published JSON Schema is generated from these types.

A field whose type allows `None` may be absent from an event. `None` means "absent" while an event is being built;
`present` removes such fields, so an event never contains null.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, NotRequired, TypeVar, cast

from pydantic import Field
from typing_extensions import TypedDict  # pydantic accepts no other before Python 3.12

from referral_fn.errors import Finding

Category = Literal["MarketplaceLead", "QualifiedLead", "CoSellOpportunity", "Unknown"]

Time = Annotated[
    str, Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$", json_schema_extra={"format": "date-time"})
]
"""UTC, RFC 3339, six fractional digits: text order is time order."""

Guid = Annotated[
    str, Field(pattern="^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$", json_schema_extra={"format": "uuid"})
]
"""A GUID in lower case."""

Decimal = Annotated[str, Field(pattern=r"^-?\d+(\.\d+)?$", examples=["25000.00"])]
"""A decimal number as text, because a JSON reader may round a number."""


class Organization(TypedDict, total=False):
    """An organization in Partner Center; `msft` is Microsoft."""

    id: str | None
    """Its ID in Partner Center."""
    name: str | None
    """Its name."""


class Size(TypedDict):
    """The number of the customer's employees: Partner Center's code, and the range it stands for if it is known."""

    code: Annotated[str, Field(examples=["10to50employees", "Morethan20000employees"])]
    """The code as sent."""
    min: NotRequired[int | None]
    """The lower limit of the range, inclusive."""
    max: NotRequired[int | None]
    """The upper limit of the range, inclusive; absent if the code sets none."""


class Address(TypedDict, total=False):
    """The customer's address."""

    lines: list[str] | None
    """Street and number, in the order sent."""
    city: str | None
    """The city as sent."""
    state: str | None
    """State or province as sent."""
    postalCode: str | None
    """The postal code as sent."""
    region: str | None
    """The region as sent."""
    country: Annotated[str, Field(examples=["US", "GB"])] | None
    """ISO 3166-1 alpha-2; a value that is no country stays as sent, with a warning."""


class Identifier(TypedDict, total=False):
    """An identifier of a certain type, such as a DUNS number or a solution profile."""

    type: Annotated[str, Field(examples=["Duns", "SolutionProfile"])] | None
    """The kind of identifier, as sent."""
    id: str | None
    """The identifier as sent."""


class Contact(TypedDict, total=False):
    """A person, at the customer or in the partner's team."""

    firstName: str | None
    """The first name as sent."""
    lastName: str | None
    """The last name as sent."""
    email: str | None
    """The email address as sent, with a warning if it is not one."""
    phone: Annotated[str, Field(examples=["+14035698759"])] | None
    """The telephone number in E.164 if it is valid, otherwise as sent."""
    locale: Annotated[str, Field(examples=["en-US"])] | None
    """The language the person prefers, as sent."""
    notify: bool | None
    """False if the person switched notifications off."""


class Customer(TypedDict, total=False):
    """The company the referral is about."""

    name: str | None
    """The company's name."""
    size: Size | None
    """The number of its employees."""
    address: Address | None
    """Its address."""
    ids: list[Identifier] | None
    """Its identifiers in other registers."""
    contacts: list[Contact] | None
    """The people to talk to."""


class Deal(TypedDict, total=False):
    """The value of the opportunity."""

    value: Decimal | None
    """The amount, with the digits as sent."""
    currency: Annotated[str, Field(examples=["USD"])] | None
    """ISO 4217, as sent."""
    closesAt: Time | None
    """When the deal is expected to close."""


class Solution(TypedDict, total=False):
    """A solution the customer asks for."""

    id: str | None
    """Its ID in Partner Center."""
    name: str | None
    """Its name."""
    type: Annotated[str, Field(examples=["Name", "Category"])] | None
    """Whether the ID belongs to one solution or to a category, as sent."""


class Requirements(TypedDict, total=False):
    """What the customer asks for, by Partner Center's IDs."""

    industries: list[str] | None
    """IDs of industries."""
    products: list[str] | None
    """IDs of products."""
    services: list[str] | None
    """IDs of services."""
    solutions: list[Solution] | None
    """The solutions asked for."""


class Consent(TypedDict, total=False):
    """What the customer agreed to."""

    shareWithOthers: bool | None
    """Whether their details may be shared with others."""
    contact: bool | None
    """Whether they may be contacted."""
    microsoftToContactPartners: bool | None
    """Whether Microsoft may contact specific partners."""


class Invite(TypedDict, total=False):
    """Who invited the partner, and their message."""

    notes: str | None
    """The message."""
    organizationId: str | None
    """The inviting organization's ID in Partner Center; `msft` is Microsoft."""
    organizationName: str | None
    """The inviting organization's name."""


class Links(TypedDict, total=False):
    """Absolute URLs of the referral and of the referrals of the same engagement."""

    self: str | None
    """The referral."""
    related: str | None
    """The related referrals."""


class ReferralData(TypedDict):
    """A referral, normalized. What Partner Center left out or null is absent. Later versions of v1 may add fields."""

    referralId: Guid
    """The referral's ID."""
    category: Category
    """The kind of lead, from its type, its qualification and who sent it; `Unknown` if they fit no kind."""
    engagementId: NotRequired[str | None]
    """The engagement it belongs to, as sent."""
    name: NotRequired[str | None]
    """Its name."""
    externalReferenceId: NotRequired[str | None]
    """The partner's own ID of it, such as the CRM's."""
    organization: NotRequired[Organization | None]
    """The organization whose referral it is."""
    type: NotRequired[Annotated[str, Field(examples=["Independent", "Shared"])] | None]
    """Whether one partner works on it or several parties do, as sent."""
    direction: NotRequired[Annotated[str, Field(examples=["Incoming", "Outgoing"])] | None]
    """Whether it was received or sent, as sent."""
    qualification: NotRequired[Annotated[str, Field(examples=["Direct", "SalesQualified"])] | None]
    """How the lead was qualified, as sent."""
    status: NotRequired[Annotated[str, Field(examples=["New", "Active", "Closed"])] | None]
    """Its status, as sent."""
    substatus: NotRequired[Annotated[str, Field(examples=["Pending", "Received", "Accepted", "Won", "Lost"])] | None]
    """The detail of its status, as sent; with a warning if the two do not go together."""
    statusReason: NotRequired[str | None]
    """Why it has this status."""
    createdAt: NotRequired[Time | None]
    """When it was created."""
    updatedAt: NotRequired[Time | None]
    """When it last changed."""
    acceptedAt: NotRequired[Time | None]
    """When it was accepted."""
    expiresAt: NotRequired[Time | None]
    """When it expires unless it is accepted."""
    customer: NotRequired[Customer | None]
    """The company it is about."""
    deal: NotRequired[Deal | None]
    """The value of the opportunity."""
    notes: NotRequired[str | None]
    """Notes about it; absent where people may not appear in events."""
    requirements: NotRequired[Requirements | None]
    """What the customer asks for."""
    team: NotRequired[list[Contact] | None]
    """The partner's people; absent where people may not appear in events."""
    consent: NotRequired[Consent | None]
    """What the customer agreed to."""
    invite: NotRequired[Invite | None]
    """Who invited the partner, and their message."""
    targets: NotRequired[list[Identifier] | None]
    """The partner's profiles the referral was sent to."""
    etag: NotRequired[str | None]
    """Its version, as Partner Center spells it."""
    links: NotRequired[Links | None]
    """Where Partner Center has it."""
    extra: NotRequired[dict[str, Any] | None]
    """All upstream fields without a place of their own, nested as upstream nests them; list items by their index."""
    warnings: NotRequired[list[Finding] | None]
    """What is odd, and was kept."""


D = TypeVar("D", bound=Mapping[str, Any])


def present(data: D) -> D:
    """Return the data without the fields that are None or empty."""
    return cast("D", {name: value for name, value in data.items() if value or value == 0})
