"""`forward`: referrals, now."""

import argparse
import asyncio
import logging
import os
import sys
from collections.abc import AsyncIterator, Iterable

from referral_fn import log
from referral_fn.app import App
from referral_fn.cli import output
from referral_fn.cli.errors import CommandError
from referral_fn.cli.session import open_http
from referral_fn.forwarder import Forwarder
from referral_fn.referrals.outcome import Deferred, Forwarded, Outcome, Unchanged
from referral_fn.referrals.request import ReferralRequest, read_referral_id
from referral_fn.settings import read_settings

HELP = "forward referrals now, with the app's settings"
ROLES = (
    "in Partner Center, Referrals Admin (entire company) for the app's user, because a Referrals User reads only "
    "referrals whose team includes them; in Azure, Storage Queue Data Message Sender or Azure Service Bus Data Sender "
    "on the events queue"
)

_CONCURRENCY = 16


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("ids", nargs="*", metavar="ID", help="of a referral; default: one a line, from standard input")
    parser.add_argument("--json", action="store_true", help="print a line of JSON for each, with the whole event")
    parser.add_argument("--log", action="store_true", help="write the app's log to stderr, as JSON lines")
    parser.set_defaults(complete=_complete)


def _complete(options: argparse.Namespace) -> None:
    """Read the IDs from standard input, if there are none among the arguments.

    Raises:
        CommandError: there are none either.
    """
    if options.ids:
        return
    if sys.stdin.isatty():
        output.note("Type the IDs of referrals, one a line, then press Ctrl-D. Ctrl-C forwards nothing.")
    options.ids = [row.strip() for row in sys.stdin if row.strip()]
    if not options.ids:
        raise CommandError("there are no IDs, neither as arguments nor on standard input, one a line")


async def run(options: argparse.Namespace) -> int:
    """Forward the referrals, and print the outcome of each."""
    if options.log:
        log.to_stderr(logging.INFO)
    requests = [ReferralRequest(read_referral_id(text, f"ID {number}")) for number, text in enumerate(options.ids, 1)]
    app = App(read_settings(os.environ), open_http())
    has_failed = False
    try:
        with output.Counter("Referrals", len(requests)) as advance:
            async for request, outcome in _forward_all(app.forwarder, requests):
                advance(1)
                has_failed |= not isinstance(outcome, Forwarded)
                output.line(_json(request, outcome) if options.json else _sentence(request, outcome))
    finally:
        await app.close()
    return 1 if has_failed else 0


async def _forward_all(
    forwarder: Forwarder, requests: Iterable[ReferralRequest]
) -> AsyncIterator[tuple[ReferralRequest, Outcome]]:
    """Forward a few at a time. Outcomes come in the order in which they are known."""
    slots = asyncio.Semaphore(_CONCURRENCY)

    async def forward(request: ReferralRequest) -> tuple[ReferralRequest, Outcome]:
        async with slots:
            return request, await forwarder.forward(request)

    for done in asyncio.as_completed([asyncio.create_task(forward(request)) for request in requests]):
        yield await done


def _json(request: ReferralRequest, outcome: Outcome) -> str:
    if isinstance(outcome, Forwarded | Unchanged):
        return output.document(
            {"referralId": request.referral_id, "outcome": "forwarded", "event": outcome.event.document()}
        )
    return output.document(
        {
            "referralId": request.referral_id,
            "outcome": "failed",
            "reason": outcome.reason,
            "detail": outcome.detail,
            "mayWorkLater": isinstance(outcome, Deferred),
        }
    )


def _sentence(request: ReferralRequest, outcome: Outcome) -> str:
    if isinstance(outcome, Forwarded | Unchanged):
        return f"{request.referral_id}  forwarded  {outcome.event.id}"
    later = "; may work later" if isinstance(outcome, Deferred) else ""
    return f"{request.referral_id}  {outcome.reason}  {outcome.detail}{later}"
