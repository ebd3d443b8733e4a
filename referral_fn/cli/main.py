"""The command line: `python -m referral_fn COMMAND`, with the app's settings in the environment."""

import argparse
import asyncio
import io
import logging
import os
import sys
from collections.abc import Sequence
from typing import Protocol

from referral_fn.cli import backfill, consent, doctor, forward, output, reconcile, replay, webhook
from referral_fn.cli.errors import CommandError
from referral_fn.credentials.sign_in import SignInError
from referral_fn.errors import PermanentError, RetryableError
from referral_fn.referrals.request import InvalidRequestError
from referral_fn.settings import SettingsError
from referral_fn.webhooks.registration import RegistrationError

INTERRUPTED = 130
"""The exit status after Ctrl-C, as shells have it."""


class Command(Protocol):
    """A module of this package that is a command. Its name is the command's."""

    HELP: str
    ROLES: str
    """What the command's credentials must be allowed to do."""

    def add_arguments(self, parser: argparse.ArgumentParser, /) -> None:
        """Add the command's arguments."""

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
    parser = argparse.ArgumentParser(prog="python -m referral_fn", description=__doc__)
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND", dest="command")
    for name, command in COMMANDS.items():
        subparser = subparsers.add_parser(name, help=command.HELP, epilog=f"Roles needed: {command.ROLES}.")
        command.add_arguments(subparser)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: the command and its arguments; None for those of the process.

    Returns:
        The exit status: 0 when all went well, 1 when something failed, 130 after Ctrl-C.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # whatever the terminal's encoding
    for library in ("azure", "referral_fn"):
        logging.getLogger(library).setLevel(logging.CRITICAL)  # errors are reported below, in a sentence
    options = build_parser().parse_args(arguments)
    command = COMMANDS[options.command]
    try:
        return asyncio.run(command.run(options))
    except (CommandError, InvalidRequestError, SettingsError) as error:
        output.failure(str(error))
    except (PermanentError, RetryableError, RegistrationError, SignInError) as error:
        output.failure(str(error))
        output.note(f"Roles needed by this command: {command.ROLES}.")
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the interpreter flushes it on exit
    except KeyboardInterrupt:
        output.note("Interrupted.")
        return INTERRUPTED
    return 1


if __name__ == "__main__":
    sys.exit(main())
