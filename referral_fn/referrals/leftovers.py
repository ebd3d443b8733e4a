"""What Partner Center sends beyond the fields that have a place of their own in the event.

Nothing is lost but noise: null, blank text in a field that has a place, `@odata.context`, the `method` and `headers` of
links, and the type of an identifier without an ID.
"""

from functools import cache
from inspect import isclass
from typing import Any, get_args, get_origin

from referral_fn.referrals.findings import Warnings, pointer
from referral_fn.referrals.wire import Link, Referral, Wire
from referral_fn.referrals.wire_types import MAX_ITEMS, LongList

NOISE: dict[type[Wire], frozenset[str]] = {
    Referral: frozenset({"@odata.context"}),
    Link: frozenset({"method", "headers"}),
}
"""Fields that say something about the answer, not about the referral."""


def leftovers(referral: Referral, warnings: Warnings) -> dict[str, Any]:
    """Return the undeclared fields, those of an unexpected shape, and what is beyond the limit of a list.

    Objects are nested as upstream nests them; items of a list are members named by their index.
    """
    extra = _undeclared(referral, "/extra", warnings)
    if referral.substatus and referral.statusDetail not in (None, referral.substatus):
        extra["statusDetail"] = referral.statusDetail
    return extra


def _undeclared(part: Wire, path: str, warnings: Warnings) -> dict[str, Any]:
    extra = _unnamed(part, path, warnings) if part.model_extra else {}
    for name in _nesting_fields(type(part)):
        value = getattr(part, name)
        if not value:
            continue
        if isinstance(value, Wire):
            inner = _undeclared(value, f"{path}/{name}", warnings)
        else:
            inner = _undeclared_in_items(value, f"{path}/{name}", warnings)
        if inner:
            extra[name] = inner
    return extra


@cache
def _nesting_fields(kind: type[Wire]) -> tuple[str, ...]:
    """Return the fields of a kind of part that can hold objects or lists."""
    return tuple(name for name, field in kind.model_fields.items() if _nests(field.annotation))


def _nests(annotation: Any) -> bool:
    if get_origin(annotation) is list:
        return True
    return (isclass(annotation) and issubclass(annotation, Wire)) or any(map(_nests, get_args(annotation)))


def _unnamed(part: Wire, path: str, warnings: Warnings) -> dict[str, Any]:
    declared, noise = type(part).model_fields, NOISE.get(type(part), frozenset())
    extra: dict[str, Any] = {}
    for name, value in (part.model_extra or {}).items():
        if name not in noise and value is not None:
            extra[name] = value
            if name in declared:
                warnings.add(path + pointer(name), "has an unexpected shape, and is kept as sent")
    return extra


def _undeclared_in_items(items: list[Wire | None], path: str, warnings: Warnings) -> dict[str, Any]:
    extra: dict[str, Any] = {}
    for index, item in enumerate(items):
        if isinstance(item, Wire) and (inner := _undeclared(item, f"{path}/{index}", warnings)):
            extra[str(index)] = inner
    if isinstance(items, LongList):
        extra |= {str(index): item for index, item in enumerate(items.rest, MAX_ITEMS) if item is not None}
        warnings.add(path, f"has the items after the first {MAX_ITEMS}, as sent")
    return extra
