"""A referral as Partner Center sends it: every documented shape of it, old and new, and whatever it adds.

Fields are spelt as on the wire. Undeclared fields stay in `model_extra`, so that nothing upstream says is lost.
"""

from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainValidator, ValidationError
from pydantic_core import PydanticCustomError

from referral_fn import strict_json
from referral_fn.errors import Finding
from referral_fn.referrals.request import InvalidRequestError, read_referral_id
from referral_fn.timestamps import read_utc

_MONEY_DIGITS = 400
"""Digits before or after the point that an amount may have: what a double can spell, and far below what hurts."""

MAX_FINDINGS = 50
"""Findings told of one answer: enough to see what is wrong, and short enough for a reject."""

_RULES = {
    "missing": "is required",
    "model_type": "must be a JSON object",
    "list_type": "must be a list",
    "string_type": "must be a string",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
}
"""Pydantic's kinds of error, said without Python's words. Kinds not named here carry a sentence of their own."""


class InvalidReferralError(ValueError):
    """The answer is JSON, but not the referral that was asked for; `findings` says where and why."""

    def __init__(self, *findings: Finding) -> None:
        super().__init__("; ".join(f"{finding['path'] or 'the answer'} {finding['rule']}" for finding in findings))
        self.findings = findings


def _unblank(value: Any) -> Any:
    return None if isinstance(value, str) and not value.strip() else value


def _timestamp(value: Any) -> datetime | None:
    if _unblank(value) is None:
        return None
    try:
        return read_utc(value)
    except ValueError as error:
        raise PydanticCustomError("timestamp", "{rule}", {"rule": str(error)}) from None


def _amount(value: Any) -> Decimal | None:
    if _unblank(value) is None:
        return None
    try:
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise TypeError
        amount = Decimal(value.text if isinstance(value, strict_json.Number) else str(value))
    except (TypeError, ValueError, InvalidOperation):
        raise PydanticCustomError("decimal", "must be a decimal number") from None
    exponent = amount.as_tuple().exponent
    if not isinstance(exponent, int) or exponent < -_MONEY_DIGITS or amount.adjusted() >= _MONEY_DIGITS:
        raise PydanticCustomError("decimal", f"must have at most {_MONEY_DIGITS} digits on each side of the point")
    return amount


def _items(value: Any) -> Any:
    """An empty collection sometimes comes as an empty object."""
    return [] if value == {} else value


def _ids(value: Any) -> Any:
    """`ids` is a list; or one identifier; or, as in 2018, an object, whose entries are then type and ID."""
    if isinstance(value, dict) and not {"id", "profileType"} & value.keys():
        return [{"profileType": kind, "id": identifier} for kind, identifier in value.items()]
    return [value] if isinstance(value, dict) else value


def _link(value: Any) -> Any:
    return {"uri": value} if isinstance(value, str) else value


T = TypeVar("T")
Text = Annotated[str | None, BeforeValidator(_unblank)]
Flag = Annotated[bool | None, BeforeValidator(_unblank)]
Timestamp = Annotated[datetime | None, PlainValidator(_timestamp)]
Amount = Annotated[Decimal | None, PlainValidator(_amount)]
Items = Annotated[list[T | None] | None, BeforeValidator(_items)]


class Wire(BaseModel):
    """Part of the document: any field may be missing or null, and new ones are kept."""

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
    phoneNumber: Text = None
    email: Text = None
    contactPreference: ContactPreference | None = None


class ProfileId(Wire):
    profileType: Text = None
    id: Text = None


class CustomerProfile(Wire):
    name: Text = None
    address: Address | None = None
    size: Text = None
    team: Items[Member] = None
    ids: Annotated[list[ProfileId | None] | None, BeforeValidator(_ids)] = None


class Consent(Wire):
    consentToToShareInfoWithOthers: Flag = None
    consentToContact: Flag = None
    consentToMicrosoftToContactSpecificPartners: Flag = None


class Requirement(Wire):
    id: Text = None


class Solution(Wire):
    id: Text = None
    name: Text = None
    type: Text = None


class Requirements(Wire):
    industries: Items[Requirement] = None
    products: Items[Requirement] = None
    services: Items[Requirement] = None
    solutions: Items[Solution] = None


class Details(Wire):
    notes: Text = None
    dealValue: Amount = None
    currency: Text = None
    closingDateTime: Timestamp = None
    requirements: Requirements | None = None


class Inviter(Wire):
    organizationId: Text = None
    organizationName: Text = None


class InviteContext(Wire):
    notes: Text = None
    invitedBy: Inviter | None = None


class Target(Wire):
    id: Text = None
    type: Text = None


class Link(Wire):
    uri: Text = None


class Links(Wire):
    self: Annotated[Link | None, BeforeValidator(_link)] = None
    relatedReferrals: Annotated[Link | None, BeforeValidator(_link)] = None


class Referral(Wire):
    """The document itself. Only the ID is indispensable."""

    id: str
    engagementId: Text = None
    name: Text = None
    externalReferenceId: Text = None
    organizationId: Text = None
    organizationName: Text = None
    createdDateTime: Timestamp = None
    updatedDateTime: Timestamp = None
    expirationDateTime: Timestamp = None
    acceptedDateTime: Timestamp = None
    status: Text = None
    substatus: Text = None
    statusDetail: Text = None
    statusReason: Text = None
    qualification: Text = None
    type: Text = None
    direction: Text = None
    eTag: Text = None
    customerProfile: CustomerProfile | None = None
    consent: Consent | None = None
    details: Details | None = None
    team: Items[Member] = None
    inviteContext: InviteContext | None = None
    target: Items[Target] = None
    links: Links | None = None


def read_referral(body: bytes, asked_id: str) -> Referral:
    """Read the API's answer.

    Args:
        body: the answer's bytes.
        asked_id: the ID that was asked for, in lower case.

    Raises:
        InvalidJSONError: not JSON, or cut short.
        InvalidReferralError: JSON, but of another shape, or another referral.
    """
    document = strict_json.loads(body)
    if not isinstance(document, dict):
        raise InvalidReferralError(Finding(path="", rule="must be a JSON object"))
    try:
        referral = Referral.model_validate(document)
        if read_referral_id(referral.id, "/id") != asked_id:
            raise InvalidReferralError(Finding(path="/id", rule="must be the ID that was asked for"))
    except ValidationError as error:
        raise InvalidReferralError(*_findings(error)) from None
    except InvalidRequestError as error:
        raise InvalidReferralError(Finding(path=error.path, rule=error.rule)) from None
    return referral


def pointer(*keys: str | int) -> str:
    """A JSON Pointer (RFC 6901) of object keys and list indices."""
    return "".join("/" + str(key).replace("~", "~0").replace("/", "~1") for key in keys)


def _findings(error: ValidationError) -> list[Finding]:
    found = error.errors(include_url=False, include_context=False, include_input=False)[:MAX_FINDINGS]
    return [Finding(path=pointer(*e["loc"]), rule=_RULES.get(e["type"], e["msg"])) for e in found]
