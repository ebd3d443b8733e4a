"""The company a referral is about."""

import iso3166

from referral_fn.referrals import wire
from referral_fn.referrals.codes import PROFILE_TYPES, SIZES
from referral_fn.referrals.contacts import contacts
from referral_fn.referrals.findings import Warnings
from referral_fn.referrals.identifiers import identifiers
from referral_fn.referrals.referral_parts import Address, Customer, Size, present


def customer(profile: wire.CustomerProfile | None, warnings: Warnings) -> Customer | None:
    """Normalize the customer. Their country says in which format their people's telephone numbers may be."""
    if profile is None:
        return None
    address = _address(profile.address, warnings)
    country = address.get("country") if address else None
    return present(
        Customer(
            name=profile.name,
            size=_size(profile.size, warnings),
            address=address,
            ids=identifiers(profile.ids, PROFILE_TYPES, "/customer/ids", warnings),
            matchingComplete=profile.isMatchingComplete,
            contacts=contacts(profile.team, country, "/customer/contacts", warnings),
        )
    )


def _address(address: wire.Address | None, warnings: Warnings) -> Address | None:
    if address is None:
        return None
    return present(
        Address(
            lines=[line for line in (address.addressLine1, address.addressLine2) if line],
            city=address.city,
            state=address.state,
            postalCode=address.postalCode,
            region=address.region,
            country=_country(address.country, warnings),
        )
    )


def _country(value: str | None, warnings: Warnings) -> str | None:
    if value is None:
        return None
    code = value.strip().upper()
    country = iso3166.countries_by_alpha2.get(code) or iso3166.countries_by_alpha3.get(code)
    if country:
        return country.alpha2
    warnings.add("/customer/address/country", "is not an ISO 3166-1 country")
    return value


def _size(code: str | None, warnings: Warnings) -> Size | None:
    if code is None:
        return None
    warnings.check_code(code, SIZES, "/customer/size/code")
    if code not in SIZES:
        return Size(code=code)
    low, _, high = code.removesuffix("employees").partition("to")
    if high:
        return Size(code=code, min=int(low), max=int(high))
    return Size(code=code, min=int(low.removeprefix("Morethan")) + 1)
