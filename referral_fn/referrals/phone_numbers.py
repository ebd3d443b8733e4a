"""Telephone numbers in E.164."""

MAX_LENGTH = 50
"""Characters of a number that the library gets to see. Parsing takes time that grows with the square of the length."""


def to_e164(number: str, region: str | None) -> str | None:
    """Return a valid telephone number in E.164.

    Args:
        number: the number as somebody wrote it.
        region: the ISO 3166-1 alpha-2 country in whose national format it may be.

    Returns:
        The number in E.164, or None if it is not valid there, or if E.164 would lose its extension.
    """
    if len(number) > MAX_LENGTH or not (region or "+" in number):
        return None
    import phonenumbers  # noqa: PLC0415 - 25 ms that a worker pays when it sees its first telephone number

    try:
        parsed = phonenumbers.parse(number, region)
    except phonenumbers.NumberParseException:
        return None
    valid = region and phonenumbers.is_valid_number_for_region(parsed, region)  # most numbers are of that region
    if parsed.extension or not (valid or phonenumbers.is_valid_number(parsed)):
        return None
    return phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164)
