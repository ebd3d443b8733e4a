"""The CloudEvents 1.0 that the app publishes: a normalized referral, or the reason why there is none."""

from dataclasses import dataclass, field
from typing import Annotated, Any, Generic, NotRequired, TypeVar

from pydantic import Field
from typing_extensions import TypedDict  # pydantic accepts no other before Python 3.12

from referral_fn import strict_json
from referral_fn.errors import Finding, Upstream
from referral_fn.referrals.referral_data import ReferralData
from referral_fn.referrals.referral_parts import Guid, Time

REFERRAL_TYPE = "partnercenter.referral.v1"
REJECT_TYPE = "partnercenter.referral.rejected.v1"
REFERRAL_SCHEMA = f"urn:referral-fn:schema:{REFERRAL_TYPE}"
REJECT_SCHEMA = f"urn:referral-fn:schema:{REJECT_TYPE}"
CONTENT_TYPE = "application/cloudevents+json"


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
    """`partitionkey`, `sequence`, `traceparent`, `tracestate`, `cause`, and with the optional table `previousid`,
    `changed` and `outoforder`: those that apply."""

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
        """Return the event as UTF-8 JSON."""
        return strict_json.dumps(self.document())
