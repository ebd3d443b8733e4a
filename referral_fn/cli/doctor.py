"""`doctor`: tries every step that the app needs, and explains what fails."""

import argparse
import dataclasses
import json
import os

from referral_fn.cli import output
from referral_fn.cli.diagnosis import Check, Status, examine
from referral_fn.referrals.request import read_referral_id

HELP = "try every step that the app needs, and explain what fails"
ROLES = "those of the app itself, whose settings are in the environment"

_WORDS: dict[Status, str] = {"works": "works", "fails": "FAILS", "skipped": "skipped", "warning": "warning"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("--referral", metavar="ID", help="fetch this referral, too")
    parser.add_argument("--json", action="store_true", help="print JSON")


async def run(options: argparse.Namespace) -> int:
    """Try every step. Nothing is changed, except that a consent's refresh token may be renewed."""
    referral_id = read_referral_id(options.referral, "--referral") if options.referral else None
    checks: list[Check] = []
    async for check in examine(os.environ, referral_id):
        checks.append(check)
        if not options.json:
            output.line(f"{_WORDS[check.status]:<7}  {check.step}  {check.detail}".rstrip())
    if options.json:
        output.line(json.dumps([{**dataclasses.asdict(check), "works": check.status == "works"} for check in checks]))
    else:
        output.line(_summary(checks))
    return 1 if any(check.status == "fails" for check in checks) else 0


def _summary(checks: list[Check]) -> str:
    by_status = {status: [check.step for check in checks if check.status == status] for status in _WORDS}
    if not by_status["fails"]:
        return f"All {len(by_status['works'])} steps work."
    failed = list(dict.fromkeys(by_status["fails"]))
    skipped = f" Skipped, because they depend on it: {', '.join(by_status['skipped'])}." if by_status["skipped"] else ""
    return f"{len(by_status['works'])} steps work. To be fixed: {', '.join(failed)}.{skipped}"
