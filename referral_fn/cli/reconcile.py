"""`reconcile`: what Partner Center lists as changed, compared with what was published."""

import argparse
import os
from collections.abc import Sequence

from referral_fn.app import App
from referral_fn.cli import output
from referral_fn.cli.arguments import moment
from referral_fn.cli.errors import CommandError
from referral_fn.cli.session import open_http
from referral_fn.reconcile import Report
from referral_fn.settings import read_settings
from referral_fn.state.comparison import Comparison
from referral_fn.timestamps import utc

HELP = "find referrals that changed without an event, and request them"
ROLES = (
    "in Partner Center, Referrals Admin (entire company) for the app's user; in Azure, Storage Table Data Contributor "
    "on the table, and Storage Queue Data Message Sender or Azure Service Bus Data Sender on the requests queue"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "--since",
        type=moment,
        help="look at what was updated at this time or later (ISO 8601, UTC); default: since the last run",
    )
    parser.add_argument("--dry-run", action="store_true", help="show the differences, and request nothing")
    parser.add_argument(
        "--json", action="store_true", help="print a line of JSON for each difference, and one at the end"
    )


async def run(options: argparse.Namespace) -> int:
    """Make one run, and print the differences."""
    app = App(read_settings(os.environ), open_http())
    try:
        if app.state is None:
            raise CommandError("This needs a table: set STATE_URL, as docs/operations.md says.")
        with output.Counter("Referrals listed") as advance:
            printer = _Printer(as_json=options.json)
            seen = 0

            def on_part(report: Report, differences: Sequence[Comparison]) -> None:
                nonlocal seen
                advance(report.listed - seen)
                seen = report.listed
                printer.show(differences)

            report = await app.state.reconciler.run(options.since, dry_run=options.dry_run, on_part=on_part)
    finally:
        await app.close()
    printer.summarize(report, dry_run=options.dry_run)
    return 0


class _Printer:
    """Prints the differences as a table, or as JSON lines."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self._has_header = False

    def show(self, differences: Sequence[Comparison]) -> None:
        for one in differences:
            if self._as_json:
                output.line(output.document(_document(one)))
                continue
            if not self._has_header:
                output.line(f"{'referral':<36}  {'updated':<27}  published")
                self._has_header = True
            updated = utc(one.listed.updated_at) or "unknown"
            published = "never" if one.published is None else one.published or "unknown"
            output.line(f"{one.listed.referral_id:<36}  {updated:<27}  {published}")

    def summarize(self, report: Report, *, dry_run: bool) -> None:
        if self._as_json:
            totals = {"listed": report.listed, "current": report.current, "requested": report.requested}
            output.line(
                output.document({**totals, "pages": report.pages, "seconds": report.seconds, "dryRun": dry_run})
            )
            return
        verb = "to request" if dry_run else "requested"
        output.line(
            f"{report.listed} listed since {utc(report.since)}, {report.current} current, {report.requested} {verb}."
        )


def _document(one: Comparison) -> dict[str, str | None]:
    return {
        "referralId": one.listed.referral_id,
        "updatedAt": utc(one.listed.updated_at),
        "publishedSequence": one.published,
    }
