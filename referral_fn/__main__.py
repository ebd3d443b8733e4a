"""The command line: `python -m referral_fn webhook …`."""

import argparse
import asyncio
import json
import os
import sys
from collections.abc import Callable, Coroutine
from typing import Any

import aiohttp

from referral_fn.credentials import make_token_source
from referral_fn.outcome import TroubleError
from referral_fn.registration import API, Registration, RegistrationError
from referral_fn.requests import REFERRAL_EVENTS, TEST_EVENT

Command = Callable[[Registration, argparse.Namespace], Coroutine[Any, Any, int]]


async def register(registration: Registration, options: argparse.Namespace) -> int:
    """Register the webhook."""
    events = [*options.events, TEST_EVENT] if TEST_EVENT not in options.events else options.events
    found = await registration.register(options.url, events, own_header=not options.authorization_header)
    _show(found or {"WebhookUrl": options.url, "WebhookEvents": events}, options)
    return 0


async def show(registration: Registration, options: argparse.Namespace) -> int:
    """Show the registration."""
    found = await registration.show()
    if found is None:
        print("There is no registration.", file=sys.stderr)
        return 1
    _show(found, options)
    return 0


async def events(registration: Registration, options: argparse.Namespace) -> int:
    """List the events that can be registered for."""
    known = await registration.known_events()
    print(json.dumps(known) if options.json else "\n".join(known))
    return 0


async def test(registration: Registration, options: argparse.Namespace) -> int:
    """Ask for a test event, and show each attempt to deliver it."""
    state: dict[str, Any] = {}
    shown = 0
    async for state in registration.test(options.patience):
        results = state.get("results") or []
        for result in [] if options.json else results[shown:]:
            error = f"  {result['systemError']}" if result.get("systemError") else ""
            print(f"{result.get('dateTimeUtc')}  {result.get('responseCode')} {result.get('responseMessage')}{error}")
        shown = len(results)
    print(json.dumps(state) if options.json else f"The test event is {state.get('status')}.")
    return 0 if state.get("status") == "completed" else 1


def _show(registration: dict[str, Any], options: argparse.Namespace) -> None:
    if options.json:
        print(json.dumps(registration))
        return
    for name, value in registration.items():
        print(f"{name}: {', '.join(value) if isinstance(value, list) else value}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m referral_fn", description=__doc__)
    nouns = parser.add_subparsers(required=True, metavar="webhook")
    webhook = nouns.add_parser("webhook", help="the registration by which Partner Center sends notifications")
    verbs = webhook.add_subparsers(required=True)
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--json", action="store_true", help="print JSON")
    modes = ["managed-identity", "developer"]
    shared.add_argument("--auth", choices=modes, help="whose credentials; default: REFERRALS_AUTH, or developer")
    shared.add_argument("--api", default=API, help=f"default: {API}")
    commands: dict[str, tuple[Command, str]] = {
        "register": (register, "register the app's webhook, or change its registration"),
        "show": (show, "show the registration"),
        "events": (events, "list the events that can be registered for"),
        "test": (test, "ask for a test event, and follow it until it is delivered"),
    }
    for name, (command, description) in commands.items():
        verb = verbs.add_parser(name, help=description, parents=[shared])
        verb.set_defaults(command=command)
        if name == "register":
            verb.add_argument(
                "--url", required=True, help="https://{app}.azurewebsites.net/api/webhooks/partner-center"
            )
            verb.add_argument("--events", nargs="+", default=list(REFERRAL_EVENTS), help="default: all about referrals")
            verb.add_argument(
                "--authorization-header",
                action="store_true",
                help="have signatures sent in Authorization, as by default, and not in x-ms-signature",
            )
        if name == "test":
            verb.add_argument("--patience", type=float, default=120, help="seconds to follow it for; default: 120")
    return parser


async def run(options: argparse.Namespace) -> int:
    """Run one command. Returns the exit status."""
    tokens = make_token_source(
        options.auth or os.environ.get("REFERRALS_AUTH", "developer"), os.environ.get("AZURE_CLIENT_ID")
    )
    try:
        async with aiohttp.ClientSession() as session:
            status: int = await options.command(Registration(session, tokens, options.api), options)
    except (RegistrationError, TroubleError) as error:
        print(f"{'No token can be had' if isinstance(error, TroubleError) else 'Failed'}: {error}", file=sys.stderr)
        return 1
    finally:
        await tokens.close()
    return status


if __name__ == "__main__":
    sys.exit(asyncio.run(run(_parser().parse_args())))
