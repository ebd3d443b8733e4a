"""`webhook`: the registration by which Partner Center sends notifications."""

import argparse
import json
import os
from collections.abc import Awaitable, Callable
from typing import Any

from referral_fn.cli import output
from referral_fn.cli.errors import CommandError
from referral_fn.cli.session import open_session_as
from referral_fn.referrals.request import REFERRAL_EVENTS
from referral_fn.webhooks import registration
from referral_fn.webhooks.registration import Registration, RegistrationClient

HELP = "show, change and test the registration by which Partner Center sends notifications"
ROLES = f"in Partner Center, one of {registration.ROLES}; the token must be that of an app with a user"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the subcommands, and their arguments."""
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--json", action="store_true", help="print JSON")
    shared.add_argument("--auth", help="whose credentials: a mode of REFERRALS_AUTH, which is the default")
    api = os.environ.get("WEBHOOK_API") or registration.API
    shared.add_argument("--api", default=api, help=f"default: the setting WEBHOOK_API, or {registration.API}")
    subparsers = parser.add_subparsers(required=True, metavar="{register,show,events,test}")

    def add(action: Callable[..., Awaitable[int]], name: str, text: str) -> argparse.ArgumentParser:
        subparser = subparsers.add_parser(name, help=text, parents=[shared], epilog=f"Roles needed: {ROLES}.")
        subparser.set_defaults(action=action)
        return subparser

    register = add(_register, "register", "register the app's webhook, or change its events")
    register.add_argument("--url", required=True, help="https://{app}.azurewebsites.net/api/webhooks/partner-center")
    register.add_argument("--events", nargs="+", default=list(REFERRAL_EVENTS), help="default: all about referrals")
    register.add_argument(
        "--replace",
        action="store_true",
        help="take the registration over from another URL, which then gets no notifications any more",
    )
    register.add_argument(
        "--authorization-header",
        action="store_true",
        help="have signatures sent in Authorization instead of x-ms-signature",
    )
    add(_show, "show", "show the registration")
    add(_events, "events", "list the events that can be registered for")
    test = add(_test, "test", "request a test event, and follow it until it is delivered")
    test.add_argument("--patience", type=float, default=120, help="seconds to follow it for; default: 120")


async def run(options: argparse.Namespace) -> int:
    """Run a subcommand."""
    async with open_session_as(options.auth) as session:
        client = RegistrationClient(session.http, session.tokens.partner_center, options.api)
        action: Callable[[RegistrationClient, argparse.Namespace], Awaitable[int]] = options.action
        return await action(client, options)


async def _register(client: RegistrationClient, options: argparse.Namespace) -> int:
    """Register the webhook. Only with `--replace` does that take the registration from another URL."""
    current = await client.show()
    wanted = registration.merged(
        current, Registration(options.url, tuple(options.events), not options.authorization_header)
    )
    is_takeover = current is not None and current.url != wanted.url
    if current and is_takeover and not options.replace:
        raise CommandError(
            f"the account's one registration sends {', '.join(current.events) or 'no events'} to {current.url}. "
            "Nothing was changed. If nothing needs them there any more, --replace sends them to the new URL; "
            "the app acknowledges those of other products and does nothing with them"
        )
    if current == wanted:
        output.note("The webhook is registered like this already.")
    else:
        await client.save(wanted, replaces=current is not None)
    if current and is_takeover:
        output.note(f"Taken over from {current.url}, which had: {', '.join(current.events) or 'no events'}.")
    if others := wanted.other_events():
        output.note(f"Kept for other products: {', '.join(others)}.")
    _print(wanted, options)
    return 0


async def _show(client: RegistrationClient, options: argparse.Namespace) -> int:
    current = await client.show()
    if current is None:
        output.note("There is no registration. `referral-fn webhook register --url URL` creates it.")
        return 1
    _print(current, options)
    return 0


async def _events(client: RegistrationClient, options: argparse.Namespace) -> int:
    events = await client.known_events()
    if options.json:
        output.line(json.dumps(events))
    else:
        for name in events:
            output.line(name)
    return 0


async def _test(client: RegistrationClient, options: argparse.Namespace) -> int:
    """Request a test event, and print every attempt to deliver it."""
    state: dict[str, Any] = {}
    shown = 0
    async for state in client.test(options.patience):
        results = state["results"]
        for result in [] if options.json else results[shown:]:
            error = f"  {result['systemError']}" if result.get("systemError") else ""
            answer = f"{result.get('responseCode')} {result.get('responseMessage')}"
            output.line(f"{result.get('dateTimeUtc')}  {answer}{error}")
        shown = len(results)
    output.line(json.dumps(state) if options.json else f"The test event is {state.get('status')}.")
    return 0 if state.get("status") == "completed" else 1


def _print(current: Registration, options: argparse.Namespace) -> None:
    document = current.document()
    if options.json:
        output.line(json.dumps(document))
        return
    for name, value in document.items():
        output.line(f"{name}: {', '.join(value) if isinstance(value, list) else value}")
