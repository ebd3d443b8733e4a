"""The parts of an event's data, from which the published JSON Schema is generated.

A field whose type allows `None` may be absent from an event. `None` means "absent" while an event is being built;
`present` removes such fields, so an event never contains null.
"""

from collections.abc import Mapping
from typing import Annotated, Any, NotRequired, TypeVar, cast

from pydantic import Field
from typing_extensions import TypedDict  # pydantic accepts no other before Python 3.12

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
    businessProfileId: str | None
    """The business profile of it that the referral is about."""


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
    title: str | None
    """The job title as sent."""
    email: str | None
    """The email address as sent, with a warning if it is not one."""
    emailValidationStatus: str | None
    """The result of Partner Center's check of the email address, as sent."""
    phone: Annotated[str, Field(examples=["+14035698759"])] | None
    """The telephone number in E.164; as sent if that is not possible, with a warning if the number is not valid."""
    phoneValidationStatus: str | None
    """The result of Partner Center's check of the telephone number, as sent."""
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
    matchingComplete: bool | None
    """Whether Partner Center has matched it with a company that Microsoft knows."""
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
    incentiveLevel: str | None
    """The level of Microsoft's incentive, as sent."""


class Solution(TypedDict, total=False):
    """A solution the customer asks for."""

    id: str | None
    """Its ID in Partner Center."""
    name: str | None
    """Its name."""
    type: Annotated[str, Field(examples=["Name", "Category"])] | None
    """Whether the ID belongs to one solution or to a category, as sent."""
    solutionType: Annotated[str, Field(examples=["3P"])] | None
    """The kind of solution, as sent."""
    publisherName: str | None
    """The organization that publishes it."""
    price: Decimal | None
    """The price, with the digits as sent."""
    quantity: Decimal | None
    """The quantity, with the digits as sent."""
    currency: Annotated[str, Field(examples=["USD"])] | None
    """The currency of the price, ISO 4217, as sent."""
    closesAt: Time | None
    """When the sale of this solution is expected to close."""


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
    offers: list[str] | None
    """IDs of offers."""
    salesPlays: list[str] | None
    """IDs of sales plays."""
    marketplaceIntent: Annotated[str, Field(examples=["HaveNotDecided"])] | None
    """Whether the customer means to buy in the marketplace, as sent."""
    attributes: list[Identifier] | None
    """All additional requirements, by type and ID."""


class Consent(TypedDict, total=False):
    """What the customer agreed to."""

    shareWithOthers: bool | None
    """Whether their details may be shared with others."""
    contact: bool | None
    """Whether they may be contacted."""
    microsoftToContactPartners: bool | None
    """Whether Microsoft may contact specific partners."""
    shareWithMicrosoftSellers: bool | None
    """Whether Microsoft's sellers may see the deal."""


class Invite(TypedDict, total=False):
    """Who invited the partner, and their message."""

    notes: str | None
    """The message."""
    assistanceRequestCode: Annotated[str, Field(examples=["Unknown", "ProofOfConceptOrDemo"])] | None
    """The help that is asked for, as sent; `Unknown` if none is."""
    invitedMpnId: str | None
    """The partner ID (MPN ID) of the organization that is invited."""
    organizationId: str | None
    """The inviting organization's ID in Partner Center; `msft` is Microsoft."""
    organizationName: str | None
    """The inviting organization's name."""


class Contract(TypedDict, total=False):
    """The contract of a registered deal."""

    value: Decimal | None
    """The amount, with the digits as sent."""
    currency: Annotated[str, Field(examples=["USD"])] | None
    """ISO 4217, as sent."""
    term: str | None
    """The term as sent."""


class Registration(TypedDict, total=False):
    """A registration of the deal with Microsoft."""

    id: str | None
    """Its ID."""
    status: str | None
    """Its status, as sent."""
    contract: Contract | None
    """The contract."""


class Links(TypedDict, total=False):
    """Absolute URLs of the referral and of the referrals of the same engagement."""

    self: str | None
    """The referral."""
    related: str | None
    """The related referrals."""


D = TypeVar("D", bound=Mapping[str, Any])


def present(data: D) -> D:
    """Return the data without the fields that are None or empty. False and 0 are values."""
    return cast("D", {name: value for name, value in data.items() if value is not None and (value or value == 0)})
