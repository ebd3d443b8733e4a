"""The types of the fields that Partner Center sends, lenient and bounded. A blank string counts as absent."""

from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any, TypeVar

from pydantic import BeforeValidator, PlainValidator, ValidatorFunctionWrapHandler, WrapValidator
from pydantic_core import PydanticCustomError

from referral_fn.strict_json import Number
from referral_fn.timestamps import read_utc

T = TypeVar("T")

MAX_ITEMS = 200
"""Items of a list that are validated and normalized. A referral has a handful; 200 limit what an odd one costs."""

MAX_AMOUNT_DIGITS = 400
"""Digits that an amount may have before or after the point: more than any double needs, few enough to be harmless."""


def _unblank(value: Any) -> Any:
    return None if isinstance(value, str) and not value.strip() else value


def _text(value: Any) -> Any:
    """Accept a number as the text of its digits, which pydantic does for numbers of Python's own types."""
    return value.text if isinstance(value, Number) else _unblank(value)


def _timestamp(value: Any) -> datetime | None:
    if _unblank(value) is None:
        return None
    try:
        return read_utc(value)
    except ValueError as error:
        raise PydanticCustomError("timestamp", "{rule}", {"rule": str(error)}) from None


def _amount(value: Any) -> Decimal | None:
    if _unblank(value) is None:
        return None
    try:
        if isinstance(value, bool) or not isinstance(value, str | int | float | Number):
            raise TypeError
        digits = value.text if isinstance(value, Number) else str(value)
        if len(digits) > 3 * MAX_AMOUNT_DIGITS:
            raise ValueError
        amount = Decimal(digits)
    except (TypeError, ValueError, InvalidOperation):
        raise PydanticCustomError("decimal", "must be a decimal number") from None
    exponent = amount.as_tuple().exponent
    if not isinstance(exponent, int) or exponent < -MAX_AMOUNT_DIGITS or amount.adjusted() >= MAX_AMOUNT_DIGITS:
        raise PydanticCustomError("decimal", f"must have at most {MAX_AMOUNT_DIGITS} digits on each side of the point")
    return amount


class LongList(list[T]):
    """The first `MAX_ITEMS` of a longer list."""

    rest: list[Any]
    """The other items, as sent."""


def _items(value: Any, validate: ValidatorFunctionWrapHandler) -> Any:
    """Validate a list, or the beginning of a long one. An empty object is accepted as an empty list."""
    if not isinstance(value, list) or len(value) <= MAX_ITEMS:
        return validate([] if value == {} else value)
    items: LongList[Any] = LongList(validate(value[:MAX_ITEMS]))
    items.rest = value[MAX_ITEMS:]
    return items


def _ids(value: Any) -> Any:
    """Accept one identifier, or an object of types and IDs, as a list of identifiers."""
    if isinstance(value, dict) and not {"id", "profileType"} & value.keys():
        return [{"profileType": kind, "id": identifier} for kind, identifier in value.items()]
    return [value] if isinstance(value, dict) else value


def _tag(value: Any) -> Any:
    """Accept a bare ID as an object that has an ID."""
    return {"id": value} if isinstance(value, str) else value


def _one_or_more(value: Any) -> Any:
    """Accept one text as a list of it."""
    return [value] if isinstance(value, str) else value


def _link(value: Any) -> Any:
    """Accept a bare URL as a link."""
    return {"uri": value} if isinstance(value, str) else value


Text = Annotated[str | None, BeforeValidator(_text)]
Flag = Annotated[bool | None, BeforeValidator(_unblank)]
Timestamp = Annotated[datetime | None, PlainValidator(_timestamp)]
Amount = Annotated[Decimal | None, PlainValidator(_amount)]
Items = Annotated[list[T | None] | None, WrapValidator(_items)]
ProfileIds = Annotated[Items[T], BeforeValidator(_ids)]
Tags = Items[Annotated[T, BeforeValidator(_tag)]]
Texts = Annotated[Items[str], BeforeValidator(_one_or_more)]
OneLink = Annotated[T | None, BeforeValidator(_link)]
