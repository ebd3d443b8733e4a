"""Example events, one for each case, built by the code that builds real ones from referrals of the stand-in."""

import json
from datetime import UTC, datetime
from typing import Any

from local_stack.stand_ins.referrals import SEED, today
from referral_fn.errors import Finding, Upstream
from referral_fn.referrals import events
from referral_fn.referrals.contact_policy import Policy
from referral_fn.referrals.messages import reject_messages
from referral_fn.referrals.normalization import normalize
from referral_fn.referrals.outcome import Rejected
from referral_fn.referrals.referral_data import ReferralData
from referral_fn.referrals.request import BACKFILL, RECONCILE, REFERRAL_EVENTS, ReferralRequest, Trace
from referral_fn.referrals.wire import read_referral
from referral_fn.state.published import Published, annotated

SOURCE = "https://api.partner.microsoft.com/v1/referrals"
REQUEST_ID, CLIENT_REQUEST_ID = "5f1f0c9c-9a51-4b0a-8f0d-6a0f3a3f9a11", "7c1a3f52-9f0e-4a51-8b57-1a0c9a2a7f7e"
TRACE = Trace("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "vendor=1")
_MISSING = "0d2e0e65-3bb4-4c5f-9d51-6d6a8b3f6a10"
_REJECT_ID = "3f0c7a3e-52f5-4a7e-8f2c-9a4f6f6d9b11"
_FIRST_SEEN = datetime(2026, 1, 14, 16, 6, 1, 250_000, tzinfo=UTC)
_REJECTED_AT = "2026-01-14T16:06:02.480000Z"
_TODAY = today("Example of a co-sell opportunity")
_ODD = _TODAY | {
    "status": "Snoozed",
    "statusReason": None,
    "customerProfile": {
        "name": "Tailspin Toys",
        "size": "2employees",
        "address": {"city": "Leeds", "country": "Atlantis"},
        "team": [{"firstName": "Bo", "email": "bo at work", "phoneNumber": "ask Bo"}],
    },
}
_DEAL = _TODAY | {
    "status": "Closed",
    "substatus": "Won",
    "closedDateTime": "2026-02-01T10:00:00Z",
    "details": {
        **_TODAY["details"],
        "requirements": {
            "solutions": [
                {**_TODAY["details"]["requirements"]["solutions"][0], "closingDateTime": "2026-05-31T00:00:00Z"}
            ]
        },
    },
}
_INVITE = _TODAY | {
    "team": [
        {
            "firstName": "Bo",
            "lastName": "Lind",
            "email": "bo@example.net",
            "emailValidationStatus": "Valid",
            "phoneNumber": "+44 20 7946 0958",
            "phoneValidationStatus": "Valid",
            "contactPreference": {"locale": "en-GB", "disableNotifications": True},
        }
    ],
    "direction": "Incoming",
    "status": "New",
    "substatus": "Received",
    "acceptedDateTime": None,
    "inviteContext": {
        "notes": "Join us on this one.",
        "assistanceRequestCode": "Unknown",
        "invitedMpnId": "1234567",
        "invitedBy": {"organizationId": "msft", "organizationName": "Microsoft"},
    },
}
_TARGETS = _TODAY | {
    "target": [{"id": "loc-1", "type": "BusinessProfileLocation"}, {"id": "sol-2", "type": "SolutionProfile"}]
}


def of_type(event_type: str) -> dict[str, Any]:
    """Return an example: the event of the documented referral of 2018, or the reject of a referral that is missing."""
    name = "referral-2018" if event_type == events.REFERRAL_TYPE else "reject-referral-not-found"
    return EVENTS[name]


def event_of(
    referral: dict[str, Any], policy: Policy = "full", context: dict[str, str] | None = None
) -> events.Event[ReferralData]:
    """Return the event of a referral as Partner Center sends it."""
    wire = read_referral(json.dumps(referral).encode(), referral["id"])
    return normalize(wire, collection=SOURCE, policy=policy, context=context)


def upstream(status: int, code: str) -> Upstream:
    """Return what Partner Center answered."""
    return Upstream(status=status, code=code, requestId=REQUEST_ID, clientRequestId=CLIENT_REQUEST_ID)


def _caused_by(cause: str) -> dict[str, Any]:
    """The event of a referral that has changed since it was last published."""
    context = {"cause": cause}
    if cause in REFERRAL_EVENTS:
        context |= TRACE.attributes()
    before = event_of(_TODAY | {"status": "New", "substatus": "Pending", "eTag": '"1"'})
    now = event_of(_TODAY | {"eTag": '"2"'}, context=context)
    return annotated(now, Published.of(now, Published.of(before, None))).document()


def _late() -> dict[str, Any]:
    """The event of a snapshot that is published after a later one."""
    later = event_of(_TODAY | {"eTag": '"2"', "updatedDateTime": "2026-01-15T09:00:00Z"})
    late = event_of(_TODAY | {"eTag": '"1"'}, context={"cause": RECONCILE})
    return annotated(late, Published.of(late, Published.of(later, None))).document()


def _reject(rejected: Rejected, received: bytes = b"") -> list[dict[str, Any]]:
    """The rejects of a request for a missing referral, or of a message that is no request, if there is one."""
    request = None if received else ReferralRequest(_MISSING, 0, _FIRST_SEEN, TRACE, cause="referral-created")
    if request and rejected.reason == "retries-exhausted":
        request = ReferralRequest(_MISSING, 8, _FIRST_SEEN, TRACE, cause="referral-created")
    sent = reject_messages(rejected, request=request, received=received, reject_id=_REJECT_ID, source=SOURCE)
    return [json.loads(message.body) | {"time": _REJECTED_AT} for message in sent]


def _rejects() -> dict[str, dict[str, Any]]:
    invalid = Finding(path="/referralId", rule="must be a GUID")
    no_request = Rejected("invalid-request", "/referralId must be a GUID", (invalid,))
    too_long = b"\xff" * (1024 * 1024 + 7)
    whole = {
        "referral-not-found": Rejected(
            "referral-not-found", "Partner Center answered 404", upstream=upstream(404, "itemNotFound")
        ),
        "upstream-refused": Rejected(
            "upstream-refused", "Partner Center answered 400", upstream=upstream(400, "badRequest")
        ),
        "invalid-referral": Rejected(
            "invalid-referral",
            "Partner Center's answer is not the referral",
            (Finding(path="/details/dealValue", rule="should be a number"),),
            Upstream(status=200, requestId=REQUEST_ID, clientRequestId=CLIENT_REQUEST_ID),
        ),
        "event-too-large": Rejected("event-too-large", "the message has 71234 bytes; the queue takes 49152"),
        "retries-exhausted": Rejected(
            "retries-exhausted",
            "upstream-unavailable: Partner Center answered 503",
            upstream=upstream(503, "serviceUnavailable"),
        ),
    }
    return {
        **{f"reject-{reason}": _reject(rejected)[0] for reason, rejected in whole.items()},
        "reject-invalid-request": _reject(no_request, b'{"referralId": "hello"}')[0],
        "reject-invalid-request-in-parts": _shortened(_reject(no_request, too_long)[1]),
    }


def _shortened(reject: dict[str, Any]) -> dict[str, Any]:
    """The same with less of the message that it keeps, for the eye."""
    message = reject["data"]["message"]
    return {**reject, "data": {**reject["data"], "message": {**message, "base64": message["base64"][:40]}}}


EVENTS: dict[str, dict[str, Any]] = {
    "referral-2018": event_of(SEED).document(),
    "referral-today": event_of(_TODAY).document(),
    "referral-deal": event_of(_DEAL).document(),
    "referral-with-warnings": event_of(_ODD).document(),
    "referral-invited": event_of(_INVITE).document(),
    "referral-with-targets": event_of(_TARGETS).document(),
    "referral-without-people": event_of(_TODAY, "none").document(),
    **{f"cause-{cause}": _caused_by(cause) for cause in (*REFERRAL_EVENTS, RECONCILE, BACKFILL)},
    "out-of-order": _late(),
    **_rejects(),
}
"""The events by the names of their files, without `.json`."""
