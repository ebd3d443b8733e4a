"""The formats that a field must have to appear in an event in which people may not.

A format is so narrow that a person's full name, an email address or a telephone number does not pass as a value of the
field. The exceptions are the names of organizations and cities (an organization can be named after a person), and the
identifiers and words that Partner Center itself fills fields with.
"""

import re
import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import iso3166


@dataclass(frozen=True, slots=True)
class Format:
    """What the values of a field look like."""

    description: str
    """For the documentation."""
    accepts: Callable[[Any], bool]
    """Whether a value has the format."""


def _text(description: str, pattern: str) -> Format:
    compiled = re.compile(pattern, re.ASCII)
    return Format(description, lambda value: isinstance(value, str) and compiled.fullmatch(value) is not None)


def documented(codes: Iterable[str]) -> Format:
    """Return the format of a field that Partner Center documents codes for."""
    known = frozenset(codes)
    return Format("a documented code", lambda value: value in known)


def _is_organization_name(value: Any) -> bool:
    if not isinstance(value, str) or len(value) > _MAX_NAME:
        return False
    digits = sum(character.isdigit() for character in value)
    return digits <= _MAX_NAME_DIGITS and not _NEVER_IN_A_NAME.search(value) and value.isprintable()


def _is_place_name(value: Any) -> bool:
    def fits(character: str) -> bool:
        return unicodedata.category(character)[0] in "LM" or character in " '\u2019.-()/,"

    return isinstance(value, str) and len(value) <= _MAX_NAME and all(map(fits, value))


def _is_solution_name(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= _MAX_NAME and set(re.split(r"[\s,/-]+", value.lower())) <= _WORDS


_MAX_NAME = 120
_MAX_NAME_DIGITS = 4
"""Digits that the name of an organization may contain. A telephone number has more."""
_NEVER_IN_A_NAME = re.compile(r"[@%\\<>{}=]")

_WORDS = frozenset(
    """
    & 365 agents ai an analytics and app applications apps at azure business chain cloud code communications compliance
    converged copilot critical customer data defend digital dynamics employee enable endpoints engagement enterprise erp
    estate experience finance for frontline govern hybrid identity in infra infrastructure innovate innovation insights
    integrated intelligence intelligent it landing low manage management meetings microsoft migrate migration mission
    mitigate modern modernization modernize multicloud network of on operations optimize oracle phone platform platforms
    power process productivity protect protection risk sales sap scale secops secure security service services solution
    solutions sovereign sql supply surface teams the threat threats to transform transformation trust unified unify viva
    voice windows with work workforce workload workloads workplace your zero zone
    """.split()  # noqa: SIM905 - a list would take a hundred lines
)
"""The words that Microsoft names solution areas and plays with. The names themselves change every year."""

IDENTIFIER = _text(
    "letters, digits and `. _ : -`, with at least one digit, up to 64 characters",
    r"(?=[^0-9]*[0-9])(?=.{1,64}$)[A-Za-z0-9]+(?:[._:-][A-Za-z0-9]+)*",
)
ORGANIZATION_ID = Format(
    "`msft`, or an identifier as above", lambda value: value == "msft" or IDENTIFIER.accepts(value)
)
PARTNER_ID = _text("4 to 9 digits", r"[0-9]{4,9}")
_CRM_ID = r"(?i:[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})|(?:00|a0)[0-9A-Za-z]{13}(?:[A-Z0-5]{3})?"
CRM_ID = _text("a GUID, or a Salesforce ID", _CRM_ID)
PROFILE_ID = _text(
    "9 digits (D-U-N-S), an ID such as `6-EXAMPLE7`, a GUID, or a Salesforce ID",
    rf"[0-9]{{9}}|[67]-(?=[0-9]*[A-Z])[A-Z0-9]{{5,12}}|{_CRM_ID}",
)
CAMPAIGN_ID = _text(
    "capitals and digits in groups, such as `CMP-12345-X7Q`", r"[A-Z]{2,5}(?=[A-Z-]*[0-9])(?:-[A-Z0-9]{2,10}){1,3}"
)
ETAG = _text("an entity tag of letters, digits and `. _ : + / = -`", r'(?:W/)?"?[A-Za-z0-9._:+/=-]{1,128}"?')
WORD = _text("one word of letters and digits, with a capital or a digit first", r"[A-Z0-9][A-Za-z0-9]{0,59}")
SOLUTION_NAME = Format("words that Microsoft names solution areas and plays with", _is_solution_name)
ORGANIZATION_NAME = Format(
    f"up to {_MAX_NAME} characters, none of them `@ % \\ < > {{ }} =`, at most {_MAX_NAME_DIGITS} of them digits",
    _is_organization_name,
)
PLACE_NAME = Format("up to 120 letters, spaces and `' . - ( ) / ,`", _is_place_name)
POSTAL_CODE = _text(
    "capitals and digits, at least one digit, up to 10 characters",
    r"(?=[^0-9]*[0-9])(?![0-9]{10})(?=.{2,10}$)[A-Z0-9]+(?:[ -][A-Z0-9]+)*",
)
STATE = _text("a code of up to 3 capitals or digits, also with a country before it", r"(?:[A-Z]{2}-)?[A-Z0-9]{1,3}")
COUNTRY = Format("ISO 3166-1 alpha-2", lambda value: value in iso3166.countries_by_alpha2)
CURRENCY = _text("three capitals (ISO 4217)", r"[A-Z]{3}")
DECIMAL = _text("a decimal number", r"-?[0-9]+(?:\.[0-9]+)?")
TIME = _text("a timestamp", r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z")
GUID = _text("a GUID", r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
NUMBER = Format("a whole number", lambda value: type(value) is int)
BOOLEAN = Format("true or false", lambda value: type(value) is bool)
