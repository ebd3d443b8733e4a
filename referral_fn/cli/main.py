"""Forwards Partner Center referrals, and looks after an installation. The app's settings are environment variables."""

import argparse
import asyncio
import io
import logging
import sys
from collections.abc import Sequence
from typing import Protocol

from referral_fn import __version__
from referral_fn.cli import backfill, consent, doctor, forward, output, reconcile, replay, webhook
from referral_fn.cli.errors import CommandError
from referral_fn.credentials.sign_in import SignInError
from referral_fn.errors import PermanentError, RetryableError
from referral_fn.referrals.request import InvalidRequestError
from referral_fn.settings import SettingsError
from referral_fn.webhooks.registration import RegistrationError

EXAMPLES = """\
examples:
  referral-fn doctor                                        does everything work? if not, what to do
  referral-fn forward fa2ebe8d-754c-4d43-baa1-c31688a9c8ff  one referral, now
  referral-fn replay                                        list the rejects
  referral-fn replay --reason upstream-refused --requeue    how many of them would be put back

referral-fn COMMAND --help lists a command's arguments and the roles that it needs. docs/settings.md has the settings;
for the local stack, `make run` prints the line that loads them.
"""
SETTINGS_ADVICE = (
    "Settings are environment variables, described in docs/settings.md. While `make run` runs, "
    "`. .local/settings.sh` loads those of the local stack."
)


class Command(Protocol):
    """A module of this package that is a command. Its name is the command's."""

    HELP: str
    ROLES: str
    """What the command's credentials must be allowed to do."""

    def add_arguments(self, parser: argparse.ArgumentParser, /) -> None:
        """Add the command's arguments.

        A function that is set as the default of `complete` is called with the parsed arguments before `run`, outside
        the event loop, where Ctrl-C interrupts even a read from the terminal.
        """

    async def run(self, options: argparse.Namespace, /) -> int:
        """Run the command. Returns the exit status."""


COMMANDS: dict[str, Command] = {
    "forward": forward,
    "replay": replay,
    "reconcile": reconcile,
    "backfill": backfill,
    "webhook": webhook,
    "consent": consent,
    "doctor": doctor,
}


def build_parser() -> argparse.ArgumentParser:
    """Build the parser of all commands."""
    parser = argparse.ArgumentParser(
        prog="referral-fn",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"referral-fn {__version__}")
    subparsers = parser.add_subparsers(metavar="COMMAND", dest="command")
    for name, command in COMMANDS.items():
        subparser = subparsers.add_parser(name, help=command.HELP, epilog=f"Roles needed: {command.ROLES}.")
        command.add_arguments(subparser)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command, or print the help if there is none.

    Args:
        arguments: the command and its arguments; None for those of the process.

    Returns:
        The exit status: 0 when all went well, 1 when something failed.

    Raises:
        SystemExit: the arguments ask for help, or are invalid.
        BrokenPipeError: nobody reads the output any more.
        KeyboardInterrupt: Ctrl-C.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # whatever the terminal's encoding
    for library in ("azure", "referral_fn"):
        logging.getLogger(library).setLevel(logging.CRITICAL)  # errors are reported below, in a sentence
    parser = build_parser()
    options = parser.parse_args(arguments)
    if options.command is None:
        parser.print_help()
        return 0
    return _run(COMMANDS[options.command], options)


def _run(command: Command, options: argparse.Namespace) -> int:
    """Run a command, and report its error in a sentence."""
    try:
        if complete := getattr(options, "complete", None):
            complete(options)
        return asyncio.run(command.run(options))
    except SettingsError as error:
        output.failure(str(error))
        output.note(SETTINGS_ADVICE)
    except (CommandError, InvalidRequestError) as error:
        output.failure(str(error))
    except (PermanentError, RetryableError, RegistrationError, SignInError) as error:
        output.failure(str(error))
        output.note(f"Roles needed by this command: {command.ROLES}.")
    return 1
