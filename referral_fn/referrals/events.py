"""What goes out: the normalized referral, and the CloudEvents 1.0 that carry it or say why there is none."""

from dataclasses import dataclass, field
from typing import Annotated, Any, Generic, Literal, NotRequired, TypeVar

from pydantic import Field
from typing_extensions import TypedDict  # pydantic reads no other before Python 3.12

from referral_fn import strict_json
from referral_fn.errors import Finding, Upstream

REFERRAL_TYPE = "partnercenter.referral.v1"
REJECT_TYPE = "partnercenter.referral.rejected.v1"
REFERRAL_SCHEMA = f"urn:referral-fn:schema:{REFERRAL_TYPE}"
REJECT_SCHEMA = f"urn:referral-fn:schema:{REJECT_TYPE}"
CONTENT_TYPE = "application/cloudevents+json"

Category = Literal["MarketplaceLead", "QualifiedLead", "CoSellOpportunity", "Unknown"]
Time = Annotated[
    str, Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$", json_schema_extra={"format": "date-time"})
]
"""UTC, RFC 3339, six fractional digits."""

Guid = Annotated[
    str, Field(pattern="^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$", json_schema_extra={"format": "uuid"})
]
"""In lower case."""


class Organization(TypedDict, total=False):
    """An organization in Partner Center; `msft` is Microsoft."""

    id: str
    """Partner Center's ID of it."""
    name: str
    """Its name."""


class Size(TypedDict):
    """How many people the customer employs: Partner Center's code, and the range it stands for where it is known."""

    code: Annotated[str, Field(examples=["10to50employees", "Morethan20000employees"])]
    """As sent."""
    min: NotRequired[int]
    """So many at least."""
    max: NotRequired[int]
    """So many at most; absent where the code sets no limit."""


class Address(TypedDict, total=False):
    """The customer's address."""

    lines: list[str]
    """Street and number, in the order sent."""
    city: str
    """As sent."""
    state: str
    """State or province, as sent."""
    postalCode: str
    """As sent."""
    region: str
    """As sent."""
    country: Annotated[str, Field(examples=["US", "GB"])]
    """ISO 3166-1 alpha-2; as sent, with a warning, where it is no country."""


class Identifier(TypedDict, total=False):
    """An identifier of the given type, such as a DUNS number or a solution profile."""

    type: Annotated[str, Field(examples=["Duns", "SolutionProfile"])]
    """What kind of identifier it is, as sent."""
    id: str
    """The identifier, as sent."""


class Contact(TypedDict, total=False):
    """A person, at the customer or in the partner's team."""

    firstName: str
    """As sent."""
    lastName: str
    """As sent."""
    email: str
    """As sent; with a warning where it is no address."""
    phone: Annotated[str, Field(examples=["+14035698759"])]
    """E.164 where it is a valid number, else as sent."""
    locale: Annotated[str, Field(examples=["en-US"])]
    """The language the person prefers, as sent."""
    notify: bool
    """False where the person switched notifications off."""


class Customer(TypedDict, total=False):
    """Who the lead is about."""

    name: str
    """The company's name."""
    size: Size
    """How many people it employs."""
    address: Address
    """Where it is."""
    ids: list[Identifier]
    """What others know it by."""
    contacts: list[Contact]
    """Whom to talk to."""


class Deal(TypedDict, total=False):
    """What the opportunity is worth."""

    value: Annotated[str, Field(pattern=r"^-?\d+(\.\d+)?$", examples=["25000.00"])]
    """A decimal number, digits as sent."""
    currency: Annotated[str, Field(examples=["USD"])]
    """ISO 4217, as sent."""
    closesAt: Time
    """When the deal is expected to close."""


class Solution(TypedDict, total=False):
    """A solution asked for."""

    id: str
    """Partner Center's ID of it."""
    name: str
    """Its name."""
    type: Annotated[str, Field(examples=["Name", "Category"])]
    """Whether the ID is one solution's or a category's, as sent."""


class Requirements(TypedDict, total=False):
    """What the customer asks for, by Partner Center's IDs."""

    industries: list[str]
    """IDs of industries."""
    products: list[str]
    """IDs of products."""
    services: list[str]
    """IDs of services."""
    solutions: list[Solution]
    """The solutions asked for."""


class Consent(TypedDict, total=False):
    """What the customer agreed to."""

    shareWithOthers: bool
    """Whether their details may be shared with others."""
    contact: bool
    """Whether they may be contacted."""
    microsoftToContactPartners: bool
    """Whether Microsoft may contact specific partners."""


class Invite(TypedDict, total=False):
    """Who invited the partner, and what they wrote."""

    notes: str
    """What they wrote."""
    organizationId: str
    """Partner Center's ID of who invited; `msft` is Microsoft."""
    organizationName: str
    """Its name."""


class Links(TypedDict, total=False):
    """Absolute URLs of the referral and of those of the same engagement."""

    self: str
    """The referral's."""
    related: str
    """That of the related referrals."""


class ReferralData(TypedDict):
    """A referral, normalized. What Partner Center left out or null is absent. Later versions of v1 may add fields."""

    referralId: Guid
    """The referral's ID."""
    category: Category
    """What kind of lead it is, by its type, its qualification and who sent it; `Unknown` where they fit no kind."""
    engagementId: NotRequired[str]
    """The engagement it belongs to, as sent."""
    name: NotRequired[str]
    """Its name."""
    externalReferenceId: NotRequired[str]
    """The partner's own ID of it, such as the CRM's."""
    organization: NotRequired[Organization]
    """Whose referral it is."""
    type: NotRequired[Annotated[str, Field(examples=["Independent", "Shared"])]]
    """Whether it is worked on alone or with others, as sent."""
    direction: NotRequired[Annotated[str, Field(examples=["Incoming", "Outgoing"])]]
    """Whether it was received or sent, as sent."""
    qualification: NotRequired[Annotated[str, Field(examples=["Direct", "MarketingQualified", "SalesQualified"])]]
    """How the lead was qualified, as sent."""
    status: NotRequired[Annotated[str, Field(examples=["New", "Active", "Closed"])]]
    """Where it stands, as sent."""
    substatus: NotRequired[Annotated[str, Field(examples=["Pending", "Received", "Accepted", "Won", "Lost"])]]
    """Where it stands within its status, as sent; with a warning where the two do not go together."""
    statusReason: NotRequired[str]
    """Why it stands there."""
    createdAt: NotRequired[Time]
    """When it was created."""
    updatedAt: NotRequired[Time]
    """When it was last changed."""
    acceptedAt: NotRequired[Time]
    """When it was accepted."""
    expiresAt: NotRequired[Time]
    """When it expires unless it is accepted."""
    customer: NotRequired[Customer]
    """Who the lead is about."""
    deal: NotRequired[Deal]
    """What the opportunity is worth."""
    notes: NotRequired[str]
    """What was written about it; absent where people may not appear in events."""
    requirements: NotRequired[Requirements]
    """What the customer asks for."""
    team: NotRequired[list[Contact]]
    """The partner's people; absent where people may not appear in events."""
    consent: NotRequired[Consent]
    """What the customer agreed to."""
    invite: NotRequired[Invite]
    """Who invited the partner, and what they wrote."""
    targets: NotRequired[list[Identifier]]
    """What of the partner's the referral was sent to."""
    etag: NotRequired[str]
    """Its version, as Partner Center spells it."""
    links: NotRequired[Links]
    """Where Partner Center has it."""
    extra: NotRequired[dict[str, Any]]
    """What upstream says beyond these fields, nested as upstream does."""
    warnings: NotRequired[list[Finding]]
    """What is odd, and was kept."""


class RejectedMessage(TypedDict, total=False):
    """The message that was rejected, exactly as received. A long one is spread over several rejects."""

    text: str
    """The message, or this part of it, if it is UTF-8."""
    base64: str
    """The message, or this part of it, in base64, if it is not UTF-8."""
    part: int
    """This part's number, from 1; absent if there is only one."""
    parts: int
    """How many parts there are."""
    omittedBytes: int
    """How many bytes at the end are not kept; absent if the message is whole. Only what is over 1 MiB is omitted."""


class RejectData(TypedDict):
    """Why a request produced no referral event, and the request. Later versions of v1 may add fields."""

    reason: Annotated[str, Field(examples=["referral-not-found", "retries-exhausted"])]
    """One word: the last part of a problem's type, or `retries-exhausted`."""
    detail: str
    """The same as a sentence, for people."""
    attempts: int
    """How often the request had been deferred."""
    referralId: NotRequired[Guid]
    """The referral asked for; absent where the message asks for none."""
    firstSeen: NotRequired[Time]
    """When the request came in."""
    errors: NotRequired[list[Finding]]
    """What is wrong with the message, or with Partner Center's answer."""
    upstream: NotRequired[Upstream]
    """What Partner Center answered; absent where it was not asked."""
    message: NotRequired[RejectedMessage]
    """The message, where no referral ID could be read from it."""


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
