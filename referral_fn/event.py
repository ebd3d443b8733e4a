"""What goes out: the normalized referral, and the CloudEvents 1.0 that carry it or say why there is none."""

from dataclasses import dataclass, field
from typing import Annotated, Any, Generic, Literal, NotRequired, TypeVar

from pydantic import Field
from typing_extensions import TypedDict  # pydantic reads no other before Python 3.12

from referral_fn import strict_json
from referral_fn.referral import Finding

REFERRAL_TYPE = "partnercenter.referral.v1"
REJECT_TYPE = "partnercenter.referral.rejected.v1"
REFERRAL_SCHEMA = f"urn:referral-fn:schema:{REFERRAL_TYPE}"
REJECT_SCHEMA = f"urn:referral-fn:schema:{REJECT_TYPE}"
CONTENT_TYPE = "application/cloudevents+json"

Category = Literal["MarketplaceLead", "QualifiedLead", "CoSellOpportunity", "Unknown"]
Time = Annotated[
    str,
    Field(
        description="UTC, RFC 3339, six fractional digits.",
        pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$",
        json_schema_extra={"format": "date-time"},
    ),
]
Guid = Annotated[
    str,
    Field(
        description="A GUID in lower case.",
        pattern="^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$",
        json_schema_extra={"format": "uuid"},
    ),
]


class Organization(TypedDict, total=False):
    """An organization in Partner Center; `msft` is Microsoft."""

    id: str
    name: str


class Size(TypedDict):
    """How many people the customer employs: Partner Center's code, and the range it stands for where it is known."""

    code: str
    min: NotRequired[int]
    max: NotRequired[int]


class Address(TypedDict, total=False):
    """The customer's address."""

    lines: list[str]
    city: str
    state: str
    postalCode: str
    region: str
    country: Annotated[str, Field(description="ISO 3166-1 alpha-2; as sent, with a warning, where it is no country.")]


class Identifier(TypedDict, total=False):
    """An identifier of the given type, such as a DUNS number or a solution profile."""

    type: str
    id: str


class Contact(TypedDict, total=False):
    """A person, at the customer or in the partner's team."""

    firstName: str
    lastName: str
    email: Annotated[str, Field(description="As sent; with a warning where it is no address.")]
    phone: Annotated[str, Field(description="E.164 where it is a valid number, else as sent.")]
    locale: str
    notify: Annotated[bool, Field(description="False where the person switched notifications off.")]


class Customer(TypedDict, total=False):
    """Who the lead is about."""

    name: str
    size: Size
    address: Address
    ids: list[Identifier]
    contacts: list[Contact]


class Deal(TypedDict, total=False):
    """What the opportunity is worth."""

    value: Annotated[str, Field(description="A decimal number, digits as sent.", pattern=r"^-?\d+(\.\d+)?$")]
    currency: Annotated[str, Field(description="ISO 4217, as sent.")]
    closesAt: Time


class Solution(TypedDict, total=False):
    """A solution asked for."""

    id: str
    name: str
    type: str


class Requirements(TypedDict, total=False):
    """What the customer asks for, by Partner Center's IDs."""

    industries: list[str]
    products: list[str]
    services: list[str]
    solutions: list[Solution]


class Consent(TypedDict, total=False):
    """What the customer agreed to."""

    shareWithOthers: bool
    contact: bool
    microsoftToContactPartners: bool


class Invite(TypedDict, total=False):
    """Who invited the partner, and what they wrote."""

    notes: str
    organizationId: str
    organizationName: str


class Links(TypedDict, total=False):
    """Absolute URLs of the referral and of those of the same engagement."""

    self: str
    related: str


class ReferralData(TypedDict):
    """A referral, normalized. What Partner Center left out or null is absent."""

    referralId: Guid
    category: Category
    engagementId: NotRequired[str]
    name: NotRequired[str]
    externalReferenceId: NotRequired[str]
    organization: NotRequired[Organization]
    type: NotRequired[Annotated[str, Field(examples=["Independent", "Shared"])]]
    direction: NotRequired[Annotated[str, Field(examples=["Incoming", "Outgoing"])]]
    qualification: NotRequired[Annotated[str, Field(examples=["Direct", "MarketingQualified", "SalesQualified"])]]
    status: NotRequired[Annotated[str, Field(examples=["New", "Active", "Closed"])]]
    substatus: NotRequired[Annotated[str, Field(examples=["Pending", "Received", "Accepted", "Won", "Lost"])]]
    statusReason: NotRequired[str]
    createdAt: NotRequired[Time]
    updatedAt: NotRequired[Time]
    acceptedAt: NotRequired[Time]
    expiresAt: NotRequired[Time]
    customer: NotRequired[Customer]
    deal: NotRequired[Deal]
    notes: NotRequired[str]
    requirements: NotRequired[Requirements]
    team: NotRequired[list[Contact]]
    consent: NotRequired[Consent]
    invite: NotRequired[Invite]
    targets: NotRequired[list[Identifier]]
    etag: NotRequired[str]
    links: NotRequired[Links]
    extra: NotRequired[
        Annotated[dict[str, Any], Field(description="What upstream says beyond these fields, nested as upstream does.")]
    ]
    warnings: NotRequired[list[Finding]]


class RejectedMessage(TypedDict, total=False):
    """The message that was rejected, whole. One too long for a single reject is spread over several."""

    text: Annotated[str, Field(description="The message's text, or this part of it.")]
    part: Annotated[int, Field(description="Counted from 1; absent: there is only one.")]
    parts: int


class Upstream(TypedDict, total=False):
    """What Partner Center answered, in the terms its support asks for."""

    status: int
    code: str
    requestId: str
    clientRequestId: str


class RejectData(TypedDict):
    """Why a request produced no referral event, and the request."""

    reason: str
    detail: str
    attempts: Annotated[int, Field(description="How often the request had been deferred.")]
    referralId: NotRequired[Guid]
    firstSeen: NotRequired[Time]
    errors: NotRequired[list[Finding]]
    upstream: NotRequired[Upstream]
    message: NotRequired[RejectedMessage]


D = TypeVar("D", ReferralData, RejectData)


@dataclass(frozen=True, slots=True)
class Event(Generic[D]):
    """A CloudEvent in structured JSON. Its attributes are those of the specification and its documented extensions."""

    id: str
    source: str
    type: str
    dataschema: str
    data: D
    subject: str | None = None
    time: str | None = None
    extensions: dict[str, str] = field(default_factory=dict)
    """`partitionkey`, `sequence`, `traceparent`, `tracestate`, `cause`: those that apply."""

    def document(self) -> dict[str, Any]:
        """The event in CloudEvents' JSON format."""
        optional = {"subject": self.subject, "time": self.time}
        return {
            "specversion": "1.0",
            "id": self.id,
            "source": self.source,
            "type": self.type,
            "datacontenttype": "application/json",
            "dataschema": self.dataschema,
            **{name: value for name, value in optional.items() if value},
            **self.extensions,
            "data": self.data,
        }

    def encode(self) -> bytes:
        """The same as UTF-8."""
        return strict_json.dumps(self.document())
