"""`backfill`: everything that Partner Center lists, requested at a pace that leaves room for live referrals."""

import argparse
import asyncio
import os

from referral_fn.app import App
from referral_fn.backfill import Backfiller
from referral_fn.cli import output
from referral_fn.cli.arguments import moment
from referral_fn.cli.errors import CommandError
from referral_fn.cli.session import open_http
from referral_fn.referrals.backfill_page import STATUS
from referral_fn.settings import read_settings
from referral_fn.state.backfill_runs import Run

HELP = "request every referral that Partner Center lists; the app does the work"
ROLES = (
    "in Azure, Storage Table Data Contributor on the table, and Storage Queue Data Message Sender or Azure Service Bus "
    "Data Sender on the requests queue"
)

POLL_INTERVAL = 2.0
"""Seconds between two looks at the progress."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("--status", type=_status, help="only referrals of this status, such as Active")
    parser.add_argument("--since", type=moment, help="only those updated at this time or later (ISO 8601, UTC)")
    parser.add_argument("--all", action="store_true", help="also those that were published, which are published again")
    parser.add_argument("--run", metavar="ID", help="follow this run, and start none")
    parser.add_argument("--no-wait", action="store_true", help="do not follow it to its end")
    parser.add_argument("--json", action="store_true", help="print the run as JSON")


async def run(options: argparse.Namespace) -> int:
    """Start a run, or look at one, and follow it."""
    app = App(read_settings(os.environ), open_http())
    try:
        if app.state is None:
            raise CommandError("This needs a table: set STATE_URL, as docs/operations.md says.")
        backfiller = app.state.backfiller
        if options.run:
            current = await _read(backfiller, options.run)
        else:
            current = await backfiller.start(status=options.status, since=options.since, republish=options.all)
            output.note(f"Run {current.id} has started. Ctrl-C ends only this display; --run {current.id} resumes it.")
        if not options.no_wait:
            current = await _follow(backfiller, current)
    finally:
        await app.close()
    if options.json:
        output.line(output.document(current.document()))
    else:
        output.line(_sentence(current))
    return 1 if current.state == "failed" else 0


async def _follow(backfiller: Backfiller, current: Run) -> Run:
    with output.Counter("Referrals listed") as advance:
        while current.state == "running":
            await asyncio.sleep(POLL_INTERVAL)
            before, current = current, await _read(backfiller, current.id)
            advance(current.listed - before.listed)
    return current


async def _read(backfiller: Backfiller, run_id: str) -> Run:
    current = await backfiller.runs.read(run_id)
    if current is None:
        raise CommandError(f"There is no run {run_id}. Without --run, a new one starts.")
    return current


def _sentence(current: Run) -> str:
    why = f": {current.detail}" if current.detail else ""
    counts = f"{current.page} pages, {current.listed} listed, {current.requested} requested"
    return f"{current.id}  {current.state}{why}  {counts}"


def _status(text: str) -> str:
    if not STATUS.fullmatch(text):
        raise argparse.ArgumentTypeError("must be a referral's status, such as Active")
    return text
