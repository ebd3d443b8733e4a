"""The people of a referral."""

import re

from referral_fn.referrals import wire
from referral_fn.referrals.findings import Warnings
from referral_fn.referrals.phone_numbers import to_e164
from referral_fn.referrals.referral_data import Contact, present

MAX_EMAIL = 320
"""Characters of an email address: 64 before the @, 255 after it (RFC 5321, section 4.5.3.1)."""

_EMAIL = re.compile(r"[^@\s]+@[^@\s.]+(\.[^@\s.]+)+")


def contacts(
    members: list[wire.Member | None] | None, region: str | None, path: str, warnings: Warnings
) -> list[Contact]:
    """Normalize people; those without any data are dropped.

    Args:
        members: the people as sent.
        region: the country in whose format their telephone numbers may be, ISO 3166-1 alpha-2.
        path: the JSON Pointer of the list in the event.
        warnings: where to report odd values.
    """
    people: list[Contact] = []
    for member in members or ():
        if member and (person := _contact(member, region)):
            email = person.get("email")
            if email and (len(email) > MAX_EMAIL or not _EMAIL.fullmatch(email)):
                warnings.add(f"{path}/{len(people)}/email", "is not an email address")
            people.append(person)
    return people


def _contact(member: wire.Member, region: str | None) -> Contact:
    preference = member.contactPreference
    muted = preference.disableNotifications if preference else None
    phone = member.phoneNumber
    return present(
        Contact(
            firstName=member.firstName,
            lastName=member.lastName,
            email=member.email,
            phone=phone and (to_e164(phone, region) or phone),
            locale=preference.locale if preference else None,
            notify=None if muted is None else not muted,
        )
    )
