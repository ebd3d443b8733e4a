"""What a referral is worth, what the customer asks for, and the registrations of the deal."""

from collections.abc import Iterable
from decimal import Decimal

from referral_fn.referrals import wire
from referral_fn.referrals.codes import MARKETPLACE_INTENT, SOLUTION_TYPES
from referral_fn.referrals.findings import Warnings
from referral_fn.referrals.identifiers import identifiers, tags
from referral_fn.referrals.referral_parts import Contract, Deal, Registration, Requirements, Solution, present
from referral_fn.timestamps import utc


def deal(details: wire.Details | None) -> Deal | None:
    """Normalize the value of the opportunity."""
    if details is None:
        return None
    return present(
        Deal(
            value=_decimal(details.dealValue),
            currency=details.currency,
            closesAt=utc(details.closingDateTime),
            incentiveLevel=details.incentiveLevel,
        )
    )


def requirements(referral: wire.Referral, warnings: Warnings) -> Requirements | None:
    """Normalize what the customer asks for."""
    intent = referral.customerMarketplaceIntent
    wanted = referral.details and referral.details.requirements
    if not wanted:
        return present(Requirements(marketplaceIntent=intent))
    more = wanted.additionalRequirements
    attributes = identifiers(more.attributes if more else (), None, "/requirements/attributes", warnings)
    intents = [attribute.get("id") for attribute in attributes if attribute.get("type") == MARKETPLACE_INTENT]
    return present(
        Requirements(
            industries=tags(wanted.industries),
            products=tags(wanted.products),
            services=tags(wanted.services),
            solutions=_solutions(wanted.solutions, warnings),
            offers=tags(wanted.offers),
            salesPlays=tags(wanted.salesPlays),
            marketplaceIntent=intent or next(iter(intents), None),
            attributes=attributes,
        )
    )


def registrations(items: Iterable[wire.Registration | None] | None) -> list[Registration]:
    """Normalize the registrations of the deal."""
    known = [
        present(Registration(id=item.id, status=item.status, contract=_contract(item.contract)))
        for item in items or ()
        if item
    ]
    return [registration for registration in known if registration]


def _contract(contract: wire.Contract | None) -> Contract | None:
    if contract is None:
        return None
    return present(Contract(value=_decimal(contract.value), currency=contract.currency, term=contract.term))


def _decimal(amount: Decimal | None) -> str | None:
    return None if amount is None else format(amount, "f")


def _solutions(items: Iterable[wire.Solution | None] | None, warnings: Warnings) -> list[Solution]:
    solutions: list[Solution] = []
    for item in items or ():
        if item and (solution := _solution(item)):
            warnings.check_code(item.type, SOLUTION_TYPES, f"/requirements/solutions/{len(solutions)}/type")
            solutions.append(solution)
    return solutions


def _solution(item: wire.Solution) -> Solution:
    return present(
        Solution(
            id=item.id,
            name=item.name,
            type=item.type,
            solutionType=item.solutionType,
            publisherName=item.publisherName,
            price=_decimal(item.price),
            quantity=_decimal(item.quantity),
            currency=item.currency,
            closesAt=utc(item.closingDateTime),
        )
    )
