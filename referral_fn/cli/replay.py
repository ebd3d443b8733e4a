"""`replay`: the rejects, listed or put back on the requests queue."""

import argparse
import os
from datetime import UTC, datetime

from referral_fn.cli import output
from referral_fn.cli.arguments import moment
from referral_fn.cli.reject_printer import RejectPrinter
from referral_fn.cli.reject_reader import LeasedReject, RejectReader, for_each
from referral_fn.cli.session import open_session, with_auth
from referral_fn.errors import RetryableError
from referral_fn.queues.base import MessageTooLargeError, Queue
from referral_fn.queues.opening import open_queue
from referral_fn.referrals.outcome import REJECT_REASONS
from referral_fn.referrals.rejects import NotRestorableError, Selection
from referral_fn.settings import read_settings

HELP = "list the rejects, or put them back on the requests queue"
ROLES = (
    "Storage Queue Data Contributor on the rejects queue and Storage Queue Data Message Sender on the requests queue; "
    "on Service Bus, Azure Service Bus Data Receiver and Azure Service Bus Data Sender"
)

_MAX_FAILURES_IN_A_ROW = 32
"""So many requests in a row that the queue does not accept end the run."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("ids", nargs="*", metavar="ID", help="of a reject, or of a referral; default: all")
    parser.add_argument(
        "--reason",
        action="append",
        choices=REJECT_REASONS,
        default=[],
        metavar="REASON",
        help=f"only this reason; may be repeated; one of: {', '.join(REJECT_REASONS)}",
    )
    parser.add_argument("--since", type=moment, help="only rejects of this time or later (ISO 8601, UTC)")
    parser.add_argument("--until", type=moment, help="only rejects before this time")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print the CloudEvents as a JSON array")
    form.add_argument("--whole", action="store_true", help="print the CloudEvents indented")
    action = parser.add_mutually_exclusive_group()
    action.add_argument("--requeue", action="store_true", help="put the requests back; a dry run without --yes")
    action.add_argument(
        "--remove-leftovers",
        action="store_true",
        help="remove the parts of rejects whose other parts are gone; a dry run without --yes. Only while nobody else "
        "reads the queue: parts that another reader has leased look as if they were gone",
    )
    parser.add_argument("--yes", action="store_true", help="with one of these two: put back, or remove")
    parser.add_argument("--auth", help="whose credentials: a mode of REFERRALS_AUTH, which is the default")

    def complete(options: argparse.Namespace) -> None:
        if options.yes and not (options.requeue or options.remove_leftovers):
            parser.error("--yes needs --requeue, which puts rejects back, or --remove-leftovers")

    parser.set_defaults(complete=complete)


async def run(options: argparse.Namespace) -> int:
    """List the selected rejects, or put them back."""
    settings = read_settings(with_auth(os.environ, options.auth))
    async with open_session(settings) as session:
        rejects, requests = (
            open_queue(url, session.http, session.tokens.identity, settings.service_bus_max_message)
            for url in (settings.rejects_url, settings.requests_url)
        )
        return await Replay(rejects, requests, options).run()


class Replay:
    """One run of the command over two queues."""

    def __init__(self, rejects: Queue, requests: Queue, options: argparse.Namespace) -> None:
        self._rejects = rejects
        self._requests = requests
        self._options = options
        self._selection = Selection(
            frozenset(text.lower() for text in options.ids), frozenset(options.reason), options.since, options.until
        )
        self._selected = 0
        self._stored = 0
        self._failed = 0
        self._failures_in_a_row = 0

    async def run(self) -> int:
        """Walk over the rejects. Returns the exit status."""
        printer = RejectPrinter(as_json=self._options.json, whole=self._options.whole)
        async with RejectReader(self._rejects, started=datetime.now(UTC)) as reader:
            with output.Counter("Rejects read") as advance:
                async for page in reader.pages():
                    advance(len(page))
                    selected = [one for one in page if self._selection.includes(one.reject)]
                    self._selected += len(selected)
                    printer.show(one.reject for one in selected)
                    if self._options.requeue and self._options.yes:
                        await for_each(self._requeue_one, selected)
                    if self._failures_in_a_row >= _MAX_FAILURES_IN_A_ROW:
                        output.note(
                            "Stopped, because the requests queue accepts nothing. The other rejects are untouched."
                        )
                        break
                else:
                    await self._treat_leftovers(reader)
            printer.close()
            self._summarize(reader)
        return 1 if self._failed or reader.is_incomplete else 0

    async def _requeue_one(self, leased: LeasedReject) -> None:
        """Put one request back, and remove its reject once it is stored."""
        try:
            await self._requests.put(leased.reject.restore())
        except (NotRestorableError, MessageTooLargeError) as error:
            self._fail(leased, str(error))
            return
        except RetryableError as error:
            self._failures_in_a_row += 1
            self._fail(leased, str(error))
            return
        self._failures_in_a_row = 0
        self._stored += 1
        await self._remove(leased, "its request is on the requests queue, but it could not be removed: ")

    async def _remove(self, leased: LeasedReject, context: str = "") -> bool:
        try:
            for message in leased.messages:
                await self._rejects.remove(message)
        except RetryableError as error:
            self._fail(leased, f"{context}{error}")
            return False
        return True

    def _fail(self, leased: LeasedReject, why: str) -> None:
        self._failed += 1
        output.failure(f"{leased.reject.id}: {why}")

    async def _treat_leftovers(self, reader: RejectReader) -> None:
        count = removed = 0
        for leftover in reader.leftovers():
            count += 1
            reject, numbers = leftover.reject, [part.number for part in leftover.reject.parts]
            output.note(f"Incomplete: {reject.id} has only the parts {numbers} of {reject.parts[0].total}.")
            if self._options.remove_leftovers and self._options.yes:
                removed += await self._remove(leftover)
        if self._options.remove_leftovers:
            output.note(
                f"{removed} incomplete rejects removed."
                if self._options.yes
                else f"{count} incomplete rejects would be removed: add --yes."
            )

    def _summarize(self, reader: RejectReader) -> None:
        if self._options.requeue and not self._options.json:
            stored = f"{self._stored} put back."
            output.line(stored if self._options.yes else f"{self._selected} would be put back: add --yes.")
        if reader.foreign:
            output.note(f"{reader.foreign} messages on the queue are not rejects and were left alone.")
        if reader.newer:
            output.note(f"{reader.newer} messages arrived after this run began and were left alone.")
        if reader.is_incomplete:
            output.failure(
                "the queue's locks ended before all rejects were read, so that some are missing here. "
                "Set a longer lock duration on the queue, up to five minutes, or put rejects back as they come."
            )
