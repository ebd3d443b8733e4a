"""JSON as it comes from strangers: bounded, and safe to write out again."""

import json
import math
import re
from typing import Any, NoReturn, Self

MAX_DEPTH = 64
"""Deepest nesting accepted. Referrals reach six; Python's own parser and printer give up at different depths."""

_ESCAPED_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


_ENCODERS = {
    sort_keys: json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"), sort_keys=sort_keys)
    for sort_keys in (False, True)
}


class InvalidJSONError(ValueError):
    """The bytes are not JSON that can be read, kept and written again."""


class Number(float):
    """A JSON number with a fraction or an exponent, which remembers its digits (money must not pass through binary)."""

    text: str

    def __new__(cls, text: str) -> Self:
        """Read the number, and keep how it was spelt."""
        number = super().__new__(cls, text)
        number.text = text
        return number


def loads(body: bytes | str, *, unique: bool = False) -> Any:
    """Read one JSON text.

    Lone surrogates, which JSON can spell and UTF-8 cannot, become U+FFFD. Numbers beyond the range of a double become
    strings of their digits. `NaN` and `Infinity` are refused (RFC 8259, section 6).

    Args:
        body: the text.
        unique: refuse objects that have a member twice, of which two readers may see different ones.

    Raises:
        InvalidJSONError: not UTF-8, not JSON, or nested deeper than `MAX_DEPTH`. The message holds no part of the text.
    """
    try:
        text = body if isinstance(body, str) else body.decode("utf-8-sig")
        value = json.loads(
            text, parse_float=_number, parse_constant=_refuse_constant, object_pairs_hook=_once if unique else None
        )
    except UnicodeDecodeError:
        raise InvalidJSONError("must be UTF-8") from None
    except (ValueError, RecursionError):
        raise InvalidJSONError("must be JSON") from None
    if text.count("{") + text.count("[") > MAX_DEPTH or _ESCAPED_SURROGATE.search(text):
        return _bounded(value, MAX_DEPTH)
    return value


def dumps(value: Any, *, sort_keys: bool = False) -> bytes:
    """Write a value as compact JSON. What UTF-8 cannot spell, as from a broken header, becomes a question mark."""
    return _ENCODERS[sort_keys].encode(value).encode(errors="replace")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise ValueError("a member is there twice")
    return members


def _number(text: str) -> Number | str:
    number = Number(text)
    return number if math.isfinite(number) else text


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)


def _bounded(value: Any, depth: int) -> Any:
    if depth < 0:
        raise InvalidJSONError(f"must not be nested deeper than {MAX_DEPTH} levels")
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, dict):
        return {_bounded(key, depth): _bounded(item, depth - 1) for key, item in value.items()}
    if isinstance(value, list):
        return [_bounded(item, depth - 1) for item in value]
    return value
