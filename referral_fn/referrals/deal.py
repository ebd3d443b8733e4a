"""What a referral is worth, and what the customer asks for."""

from collections.abc import Iterable
from decimal import Decimal

from referral_fn.referrals import wire
from referral_fn.referrals.codes import SOLUTION_TYPES
from referral_fn.referrals.findings import Warnings
from referral_fn.referrals.referral_data import Deal, Requirements, Solution, present
from referral_fn.timestamps import utc


def deal(details: wire.Details | None) -> Deal | None:
    """Normalize the value of the opportunity."""
    if details is None:
        return None
    return present(
        Deal(value=_decimal(details.dealValue), currency=details.currency, closesAt=utc(details.closingDateTime))
    )


def requirements(details: wire.Details | None, warnings: Warnings) -> Requirements | None:
    """Normalize what the customer asks for."""
    wanted = details and details.requirements
    if not wanted:
        return None
    return present(
        Requirements(
            industries=_ids(wanted.industries),
            products=_ids(wanted.products),
            services=_ids(wanted.services),
            solutions=_solutions(wanted.solutions, warnings),
        )
    )


def _decimal(amount: Decimal | None) -> str | None:
    return None if amount is None else format(amount, "f")


def _ids(items: Iterable[wire.Requirement | None] | None) -> list[str]:
    return [item.id for item in items or () if item and item.id]


def _solutions(items: Iterable[wire.Solution | None] | None, warnings: Warnings) -> list[Solution]:
    solutions: list[Solution] = []
    for item in items or ():
        if item and (solution := present(Solution(id=item.id, name=item.name, type=item.type))):
            warnings.check_code(item.type, SOLUTION_TYPES, f"/requirements/solutions/{len(solutions)}/type")
            solutions.append(solution)
    return solutions
