"""Telephone numbers in E.164."""

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
    if not (valid or phonenumbers.is_valid_number(parsed)):
        return number, False
    if parsed.extension:
        return number, True
    return phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164), True
