"""Telephone numbers in E.164."""

import re
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from phonenumbers import PhoneNumber

MAX_LENGTH = 50
"""Characters of a number that the library gets to see. Parsing takes time that grows with the square of the length."""


def normalize_phone(number: str, country: str | None) -> tuple[str, bool]:
    """Normalize a telephone number.

    Args:
        number: the number as somebody wrote it.
        country: the country in whose national format it may be, ISO 3166-1 alpha-2.

    Returns:
        The number in E.164, or as it is if it is not valid or if E.164 would lose its extension; and whether it is
        valid, as far as that can be known: a national number of an unknown country may be.
    """
    if len(number) > MAX_LENGTH:
        return number, False
    import phonenumbers  # noqa: PLC0415 - 25 ms that a worker pays when it sees its first telephone number

    phonenumbers.enable_pattern_cache()  # without it, numbers of many countries compile patterns again and again
    region = country if country in phonenumbers.SUPPORTED_REGIONS else None
    if not region and "+" not in number:
        return number, True
    try:
        parsed = phonenumbers.parse(number, region)
    except phonenumbers.NumberParseException:
        return number, False
    valid = region and phonenumbers.is_valid_number_for_region(parsed, region)  # most numbers are of that region
    if not (valid or _is_valid(parsed)):
        return number, False
    if parsed.extension:
        return number, True
    return phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164), True


def _is_valid(number: "PhoneNumber") -> bool:
    """The result of `phonenumbers.is_valid_number`, which checks up to 25 regions of a calling code for all it knows.

    The first region that matches decides, as it does there. Most regions of +1 are known by their leading digits.
    """
    import phonenumbers  # noqa: PLC0415

    national = phonenumbers.national_significant_number(number)
    for region, leading_digits in _regions(number.country_code or 0):
        if leading_digits is None:
            if phonenumbers.is_valid_number_for_region(number, region):
                return True
        elif leading_digits.match(national):
            return phonenumbers.is_valid_number_for_region(number, region)
    return False


@cache
def _regions(calling_code: int) -> list[tuple[str, re.Pattern[str] | None]]:
    """The regions of a calling code, with the leading digits of numbers that are theirs, where these alone decide."""
    from phonenumbers import COUNTRY_CODE_TO_REGION_CODE, PhoneMetadata  # noqa: PLC0415

    regions = COUNTRY_CODE_TO_REGION_CODE.get(calling_code, ())
    if len(regions) == 1:
        return [(regions[0], None)]
    known = [(region, data) for region in regions if (data := PhoneMetadata.metadata_for_region(region))]
    return [(region, re.compile(data.leading_digits) if data.leading_digits else None) for region, data in known]
