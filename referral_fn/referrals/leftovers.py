"""What Partner Center sends beyond the fields that have a place of their own in the event."""

from typing import Any

from referral_fn.referrals.findings import Warnings
from referral_fn.referrals.wire import Referral, Wire
from referral_fn.referrals.wire_types import MAX_ITEMS, LongList


def leftovers(referral: Referral, warnings: Warnings) -> dict[str, Any]:
    """Return the undeclared fields and what is beyond the limit of a list.

    Objects are nested as upstream nests them; items of a list are members named by their index.
    """
    extra = _undeclared(referral, "/extra", warnings)
    if referral.substatus and referral.statusDetail not in (None, referral.substatus):
        extra["statusDetail"] = referral.statusDetail
    return extra


def _undeclared(part: Wire, path: str, warnings: Warnings) -> dict[str, Any]:
    extra = {name: value for name, value in (part.model_extra or {}).items() if value is not None}
    for name, value in part.__dict__.items():
        if isinstance(value, Wire):
            inner = _undeclared(value, f"{path}/{name}", warnings)
        elif isinstance(value, list):
            inner = _undeclared_in_items(value, f"{path}/{name}", warnings)
        else:
            continue
        if inner:
            extra[name] = inner
    return extra


def _undeclared_in_items(items: list[Wire | None], path: str, warnings: Warnings) -> dict[str, Any]:
    extra: dict[str, Any] = {}
    for index, item in enumerate(items):
        if item and (inner := _undeclared(item, f"{path}/{index}", warnings)):
            extra[str(index)] = inner
    if isinstance(items, LongList):
        extra |= {str(index): item for index, item in enumerate(items.rest, MAX_ITEMS) if item is not None}
        warnings.add(path, f"has the items after the first {MAX_ITEMS}, as sent")
    return extra
