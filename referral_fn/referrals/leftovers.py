"""What Partner Center sends beyond the fields that have a place of their own in the event."""

from typing import Any

from referral_fn.referrals.wire import Referral, Wire


def leftovers(referral: Referral) -> dict[str, Any]:
    """Return the undeclared fields, nested as upstream nests them; items of a list by their index."""
    extra = _undeclared(referral)
    if referral.substatus and referral.statusDetail not in (None, referral.substatus):
        extra["statusDetail"] = referral.statusDetail
    return extra


def _undeclared(part: Wire) -> dict[str, Any]:
    extra = {name: value for name, value in (part.model_extra or {}).items() if value is not None}
    for name, value in part.__dict__.items():
        if isinstance(value, Wire):
            inner = _undeclared(value)
        elif isinstance(value, list):
            inner = {str(i): nested for i, item in enumerate(value) if item and (nested := _undeclared(item))}
        else:
            continue
        if inner:
            extra[name] = inner
    return extra
