"""Lists of identifiers. One without an ID identifies nothing, and is dropped."""

from collections.abc import Iterable

from referral_fn.referrals import wire
from referral_fn.referrals.findings import Warnings
from referral_fn.referrals.referral_parts import Identifier, present


def tags(items: Iterable[wire.Tag | None] | None) -> list[str]:
    """Return the IDs of a list of tags."""
    return [item.id for item in items or () if item and item.id]


def identifiers(
    items: Iterable[wire.ProfileId | wire.Target | wire.Attribute | None] | None,
    documented: frozenset[str] | None,
    path: str,
    warnings: Warnings,
) -> list[Identifier]:
    """Normalize a list of identifiers.

    Args:
        items: the identifiers as sent.
        documented: the types that Partner Center documents; None if it documents none.
        path: the JSON Pointer of the list in the event.
        warnings: where to report other types.
    """
    known: list[Identifier] = []
    for item in items or ():
        if item and item.id:
            kind = item.profileType if isinstance(item, wire.ProfileId) else item.type
            if documented:
                warnings.check_code(kind, documented, f"{path}/{len(known)}/type")
            known.append(present(Identifier(type=kind, id=item.id)))
    return known
