"""Whose personal data an event may hold: the policy of REFERRAL_CONTACTS."""

import re
from collections.abc import Iterator
from typing import Any, Literal, cast

from referral_fn.referrals.referral_data import ReferralData
from referral_fn.referrals.referral_parts import Contact

Policy = Literal["full", "consented", "none"]

REDACTED = "[redacted]"

_UNPERSONAL_EXTRAS = {
    "businessProfileId",
    "callToAction",
    "partnerRole",
    "referralSource",
    "solutionArea",
    "solutionPlay",
}
"""Undeclared fields that Partner Center documents as being about the deal. What others hold cannot be known."""

_FIXED_FIELDS = {"referralId", "engagementId", "category", "type", "direction", "qualification", "status", "substatus"}
_FIXED_FIELDS |= {"createdAt", "updatedAt", "acceptedAt", "expiresAt", "deal", "consent", "etag"}
"""Identifiers, codes and times: nobody's name, even where a person is called Won."""

_SHORTEST_PHONE = 5
_TELLING_DIGITS = 7
"""A number is recognized by its last digits, however its prefix is written."""


def restrict(data: ReferralData, policy: Policy) -> ReferralData:
    """Leave out of an event what the policy does not allow.

    People appear under `full`; under `consented` where the customer agreed both to be contacted and to have their
    details shared; under `none` nowhere. Where they may not appear, the contacts, the team, free-text notes and all
    undeclared fields that could hold a person are absent, and any mention of a contact elsewhere is redacted.
    """
    consent = data.get("consent") or {}
    agreed = consent.get("contact") and consent.get("shareWithOthers")
    if policy == "full" or (policy == "consented" and agreed):
        return data
    mention = _mentions([*((data.get("customer") or {}).get("contacts") or ()), *(data.get("team") or ())])
    kept = {name: value for name, value in _impersonal(data).items() if value not in ({}, [])}
    redacted = {
        name: value if name in _FIXED_FIELDS or not mention else _redact(value, mention) for name, value in kept.items()
    }
    return cast("ReferralData", redacted)


def _impersonal(data: ReferralData) -> dict[str, Any]:
    """The event's data less every field that is there to hold people, or could be."""
    kept: dict[str, Any] = {name: value for name, value in data.items() if name not in ("notes", "team")}
    if customer := data.get("customer"):
        kept["customer"] = {name: value for name, value in customer.items() if name != "contacts"}
    if invite := data.get("invite"):
        kept["invite"] = {name: value for name, value in invite.items() if name != "notes"}
    if extra := data.get("extra"):
        kept["extra"] = {
            name: value
            for name, value in extra.items()
            if name in _UNPERSONAL_EXTRAS and isinstance(value, str | int | float)
        }
    if warnings := data.get("warnings"):
        gone = ("/customer/contacts/", "/team/")
        kept["warnings"] = [finding for finding in warnings if not finding["path"].startswith(gone)]
    return kept


def _mentions(people: list[Contact]) -> re.Pattern[str] | None:
    patterns = sorted({pattern for person in people for pattern in _patterns(person)}, key=len, reverse=True)
    return re.compile("|".join(patterns), re.IGNORECASE) if patterns else None


def _patterns(person: Contact) -> Iterator[str]:
    for name in (person.get("firstName") or "", person.get("lastName") or ""):
        for word in {name.strip(), *name.split()}:
            if len(word) > 1 and word.isascii():
                yield rf"(?<!\w){re.escape(word)}(?!\w)"
            elif word and not word.isascii():
                yield re.escape(word)  # scripts without spaces have no word boundaries to look for
    if email := (person.get("email") or "").strip():
        yield re.escape(email)
    digits = re.sub(r"\D", "", person.get("phone") or "")
    if len(digits) >= _SHORTEST_PHONE:
        yield r"\+?[\d\s().-]{0,12}" + r"[\s().-]{0,2}".join(digits[-_TELLING_DIGITS:])


def _redact(value: Any, mention: re.Pattern[str]) -> Any:
    if isinstance(value, str):
        return mention.sub(REDACTED, value)
    if isinstance(value, dict):
        return {name: _redact(item, mention) for name, item in value.items()}
    if isinstance(value, list):
        return [_redact(item, mention) for item in value]
    return value
