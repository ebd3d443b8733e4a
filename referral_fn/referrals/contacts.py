"""The people of a referral."""

import re

from referral_fn.referrals import wire
from referral_fn.referrals.findings import Warnings
from referral_fn.referrals.phone_numbers import normalize_phone
from referral_fn.referrals.referral_parts import Contact, present

MAX_EMAIL = 320
"""Characters of an email address: 64 before the @, 255 after it (RFC 5321, section 4.5.3.1)."""

_EMAIL = re.compile(r"[^@\s]+@[^@\s.]+(\.[^@\s.]+)+")


def contacts(
    members: list[wire.Member | None] | None, country: str | None, path: str, warnings: Warnings
) -> list[Contact]:
    """Normalize people; those without any data are dropped.

    Args:
        members: the people as sent.
        country: the country in whose format their telephone numbers may be, ISO 3166-1 alpha-2.
        path: the JSON Pointer of the list in the event.
        warnings: where to report odd values.
    """
    people: list[Contact] = []
    for member in members or ():
        if member and (person := _contact(member, country, f"{path}/{len(people)}", warnings)):
            people.append(person)
    return people


def _contact(member: wire.Member, country: str | None, path: str, warnings: Warnings) -> Contact:
    preference = member.contactPreference
    muted = preference.disableNotifications if preference else None
    email = member.email
    if email and not (len(email) <= MAX_EMAIL and _EMAIL.fullmatch(email)):
        warnings.add(f"{path}/email", "is not an email address")
    return present(
        Contact(
            firstName=member.firstName,
            lastName=member.lastName,
            title=member.title,
            email=email,
            emailValidationStatus=member.emailValidationStatus,
            phone=_phone(member.phoneNumber, country, f"{path}/phone", warnings),
            phoneValidationStatus=member.phoneValidationStatus,
            locale=preference.locale if preference else None,
            notify=None if muted is None else not muted,
        )
    )


def _phone(number: str | None, country: str | None, path: str, warnings: Warnings) -> str | None:
    if number is None:
        return None
    phone, valid = normalize_phone(number, country)
    if not valid:
        warnings.add(path, "is not a valid telephone number")
    return phone
