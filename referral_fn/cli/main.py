"""The command line: `python -m referral_fn`, with the app's own settings in the environment."""

import argparse
import asyncio
import contextlib
import dataclasses
import json
import logging
import os
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from datetime import datetime
from typing import Any

import aiohttp
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table

from referral_fn import log
from referral_fn.app import App
from referral_fn.cli.consent import ConsentError, sign_in
from referral_fn.cli.doctor import examine
from referral_fn.cli.replay import Choice, Reject, holding, put_back, read_rejects
from referral_fn.cli.webhook_registration import API, Registration, RegistrationError
from referral_fn.credentials.entra import Tokens
from referral_fn.credentials.vault import Secret
from referral_fn.errors import RetryableError
from referral_fn.queues.opening import open_queue
from referral_fn.referrals.outcome import Deferred, Forwarded, Outcome
from referral_fn.referrals.request import (
    REFERRAL_EVENTS,
    TEST_EVENT,
    InvalidRequestError,
    ReferralRequest,
    read_referral_id,
)
from referral_fn.settings import SettingsError, read_credential_settings, read_settings
from referral_fn.timestamps import read_utc, utc

_AT_ONCE = 16
_WIDE = 250
"""Columns of a table that goes to a file or a pipe."""

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
    nouns = parser.add_subparsers(required=True, metavar="{forward,replay,webhook,consent,doctor}")
    registering = nouns.add_parser("webhook", help="the registration by which Partner Center sends notifications")
    verbs = registering.add_subparsers(required=True)
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--json", action="store_true", help="print JSON")
    shared.add_argument("--auth", help="whose credentials, by a mode of REFERRALS_AUTH, which is the default")
    consenting = nouns.add_parser("consent", help="sign a user in, and keep their consent for REFERRALS_AUTH=app-user")
    consenting.add_argument("--auth", help="whose credentials store it; default: developer, which is `az login`")
    consenting.set_defaults(run=consent)
    examining = nouns.add_parser("doctor", help="try each step that the app needs, and say what is wrong")
    examining.add_argument("--referral", metavar="ID", help="fetch this referral, too")
    examining.add_argument("--json", action="store_true", help="print JSON")
    examining.set_defaults(run=doctor)
    forwarding = nouns.add_parser("forward", help="forward referrals now, with the app's own settings")
    forwarding.add_argument("ids", nargs="*", metavar="ID", help="none: read from standard input, one a line")
    forwarding.add_argument("--json", action="store_true", help="print a line of JSON for each, events whole")
    forwarding.add_argument("--log", action="store_true", help="write the app's log to stderr, a line of JSON an event")
    forwarding.set_defaults(run=forward)
    replaying = nouns.add_parser("replay", help="list the rejects, and put them back on the requests queue")
    replaying.add_argument("ids", nargs="*", metavar="ID", help="of a reject, or of a referral; none: all")
    replaying.add_argument("--reason", action="append", default=[], help="only these; may be given several times")
    replaying.add_argument("--since", type=_moment, help="only those rejected at this time or later (ISO 8601, UTC)")
    replaying.add_argument("--until", type=_moment, help="only those rejected before this time")
    replaying.add_argument("--json", action="store_true", help="print JSON")
    replaying.add_argument("--whole", action="store_true", help="print each reject whole")
    replaying.add_argument("--requeue", action="store_true", help="say what would be put back")
    replaying.add_argument("--yes", action="store_true", help="with --requeue: put it back")
    replaying.add_argument("--auth", help="whose credentials, by a mode of REFERRALS_AUTH, which is the default")
    replaying.set_defaults(run=replay)
    shared.add_argument("--api", default=API, help=f"default: {API}")
    commands: dict[str, tuple[Command, str]] = {
        "register": (register, "register the app's webhook, or change its registration"),
        "show": (show, "show the registration"),
        "events": (events, "list the events that can be registered for"),
        "test": (test, "ask for a test event, and follow it until it is delivered"),
    }
    for name, (command, description) in commands.items():
        verb = verbs.add_parser(name, help=description, parents=[shared])
        verb.set_defaults(run=webhook, command=command)
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


def _moment(text: str) -> datetime:
    try:
        return read_utc(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


async def forward(options: argparse.Namespace) -> int:
    """Forward referrals, a few at a time, and say what became of each."""
    if options.log:
        log.to_stderr(logging.INFO)
    given = options.ids or [line.strip() for line in sys.stdin if line.strip()]
    requests = [ReferralRequest(read_referral_id(text, f"ID {number}")) for number, text in enumerate(given, 1)]
    read_settings(os.environ)
    app = App.open(os.environ)
    slots = asyncio.Semaphore(_AT_ONCE)
    failures = 0

    async def one(request: ReferralRequest) -> tuple[ReferralRequest, Outcome]:
        async with slots:
            return request, await app.forwarder.forward(request)

    try:
        with _progress() as progress:
            tasks = [asyncio.create_task(one(request)) for request in requests]
            for done in progress.track(asyncio.as_completed(tasks), len(tasks), description="Forwarding"):
                request, outcome = await done
                failures += not isinstance(outcome, Forwarded)
                print(_told(request, outcome, as_json=options.json), flush=True)
    finally:
        await app.close()
    return 1 if failures else 0


def _told(request: ReferralRequest, outcome: Outcome, *, as_json: bool) -> str:
    """What became of a request, as a line."""
    if isinstance(outcome, Forwarded):
        if as_json:
            said = {"outcome": "forwarded", "event": outcome.event.document()}
            return json.dumps({"referralId": request.referral_id, **said})
        return f"{request.referral_id}  forwarded  {outcome.event.id}"
    if as_json:
        said = {"outcome": "failed", "reason": outcome.reason, "detail": outcome.detail}
        return json.dumps({"referralId": request.referral_id, **said, "mayWorkLater": isinstance(outcome, Deferred)})
    later = "; may work later" if isinstance(outcome, Deferred) else ""
    return f"{request.referral_id}  {outcome.reason}  {outcome.detail}{later}"


async def replay(options: argparse.Namespace) -> int:
    """List the rejects that are meant, or put them back."""
    async with _session(options.auth) as (session, tokens):
        settings = read_settings({**os.environ, **({"REFERRALS_AUTH": options.auth} if options.auth else {})})
        rejects, requests = (
            open_queue(url, session, tokens.identity, settings.service_bus_max_message)
            for url in (settings.rejects_url, settings.requests_url)
        )
        with _progress() as progress:
            reading = progress.add_task("Reading the rejects", total=None)
            async with holding(rejects, lambda count: progress.update(reading, completed=count)) as held:
                found, others = read_rejects(held)
                choice = Choice(
                    frozenset(text.lower() for text in options.ids),
                    frozenset(options.reason),
                    options.since,
                    options.until,
                )
                chosen = [reject for reject in found if reject in choice]
                progress.update(reading, total=len(held), completed=len(held))
                failed: list[tuple[Reject, str]] = []
                if options.requeue and options.yes:
                    putting = progress.add_task("Putting them back", total=len(chosen))
                    failed = await put_back(chosen, rejects, requests, lambda: progress.advance(putting))
    _show_rejects(chosen, others, options)
    if options.requeue and not options.json:
        count = len(chosen) - len(failed)
        print(f"{count} put back." if options.yes else f"{count} would be put back: add --yes.")
    for reject, why in failed:
        print(f"Failed: {reject.id}: {why}", file=sys.stderr)
    return 1 if failed else 0


def _show_rejects(rejects: list[Reject], others: int, options: argparse.Namespace) -> None:
    if options.json or options.whole:
        documents = [document for reject in rejects for document in reject.documents]
        print(json.dumps(documents, indent=None if options.json else 2, ensure_ascii=False))
        return
    table = Table("rejected at", "reject", "referral", "reason", "detail", box=box.SIMPLE)
    for reject in rejects:
        at = utc(reject.at)[:19] + "Z"
        table.add_row(at, reject.id, reject.referral_id or "", reject.reason, escape(reject.detail))
    Console(width=None if sys.stdout.isatty() else _WIDE).print(table if rejects else "There are no such rejects.")
    if others:
        print(f"{others} messages on the queue are no rejects, and are left alone.")


def _progress() -> Progress:
    """Bars on stderr, where somebody is looking."""
    return Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty())


async def webhook(options: argparse.Namespace) -> int:
    """Run a command about the registration."""
    async with _session(options.auth) as (session, tokens):
        status: int = await options.command(Registration(session, tokens.partner_center, options.api), options)
    return status


async def consent(options: argparse.Namespace) -> int:
    """Sign a user in, and store their refresh token, which is never shown."""
    settings = read_credential_settings({**os.environ, "REFERRALS_AUTH": "app-user"})
    signed_in = await sign_in(settings, lambda message: print(message, flush=True))
    print(f"{signed_in.user} of tenant {signed_in.tenant} has signed in.")
    async with _session(options.auth or "developer") as (session, tokens):
        await Secret(settings.refresh_token_secret or "", session, tokens.identity).write(signed_in.refresh_token)
    print("The consent is stored in Key Vault.")
    return 0


async def doctor(options: argparse.Namespace) -> int:
    """Try each step, and say what is wrong."""
    referral_id = read_referral_id(options.referral, "--referral") if options.referral else None
    findings = []
    async for finding in examine(os.environ, referral_id):
        findings.append(finding)
        if not options.json:
            print(f"{'works' if finding.works else 'FAILS'}  {finding.step}  {finding.detail}".rstrip(), flush=True)
    if options.json:
        print(json.dumps([dataclasses.asdict(finding) for finding in findings]))
    return 0 if all(finding.works for finding in findings) else 1


@contextlib.asynccontextmanager
async def _session(auth: str | None) -> AsyncIterator[tuple[aiohttp.ClientSession, Tokens]]:
    """A session, and the tokens of a mode: the one given, that of the environment, or the developer's."""
    mode = auth or os.environ.get("REFERRALS_AUTH") or "developer"
    settings = read_credential_settings({**os.environ, "REFERRALS_AUTH": mode})
    async with aiohttp.ClientSession() as session:
        tokens = Tokens(settings, session)
        try:
            yield session, tokens
        finally:
            await tokens.close()


def main() -> int:
    """Run the command line. Returns the exit status."""
    logging.getLogger("azure").setLevel(logging.CRITICAL)
    logging.getLogger("referral_fn").setLevel(logging.CRITICAL)  # what goes wrong is said below, in a sentence
    options = _parser().parse_args()
    try:
        status: int = asyncio.run(options.run(options))
    except (RegistrationError, RetryableError, ConsentError, InvalidRequestError, SettingsError) as error:
        print(f"Failed: {error}", file=sys.stderr)
        return 1
    return status


if __name__ == "__main__":
    sys.exit(main())
