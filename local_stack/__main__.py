"""Run the app on this machine with all that it needs, and follow a referral through it: `make run`."""

import argparse
import asyncio
import shlex
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

from local_stack import tour
from local_stack.azurite import AzuriteError
from local_stack.demo import SETTINGS, Page, opened
from local_stack.host.process import HostError
from local_stack.shell_settings import SETTINGS_FILE, settings_file, with_public_authorities
from local_stack.stack import SERVICE_BUS, STORAGE, Queues, Stack, running
from local_stack.stand_ins.referrals import REFERRALS, SEED
from local_stack.terminal import Terminal, console

APP_PORT = 7071
AZURITE_PORT = 10001
_MODES = ["managed-identity", "federated-app", "app-user"]
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True)
class Options:
    """The command line."""

    once: bool
    keep: bool
    log: bool
    auth: str
    queue: str
    settings: Path


async def run(options: Options) -> None:
    """Start everything, forward the first referral over HTTP and by queue, and keep running unless `once`."""
    _cancel_on_signal()
    with console.status("Starting Azurite and the stand-ins"):
        stack_running = running(AZURITE_PORT)
        stack = await stack_running.__aenter__()
    try:
        queues = await stack.queues(inbound=options.queue, outbound=options.queue)
        settings = {"REFERRALS_AUTH": options.auth, "WEBHOOK_API": stack.partner_center_url}
        if options.auth == "app-user":
            stack.partner_center.wants_user = True
            await tour.show_consent(stack, stack.environment(queues, **settings))
        terminal = Terminal(show_log=options.log)
        async with opened(stack, queues, APP_PORT, settings, keep=options.keep, on_log_line=terminal.log_line) as page:
            bundle = options.settings.with_name("authorities.pem")
            for_shells = with_public_authorities(page.settings, stack.authority.root, bundle)
            with settings_file(options.settings, for_shells):
                _show_addresses(stack, page, queues)
                await tour.show_both_ways(page, queues)
                await tour.show_webhook(stack, page)
                if not options.once:
                    _show_what_to_try(stack, page, queues, options)
                    await _watch(page, terminal)
    finally:
        await stack_running.__aexit__(None, None, None)


def _cancel_on_signal() -> None:
    """Cancel this task on a signal or when the terminal closes, so that no child process outlives it."""
    task = asyncio.current_task()

    def end() -> None:
        if (
            task and not task.cancelling()
        ):  # a closed terminal sends two signals; the second must not interrupt the clean-up
            task.cancel()

    for number in _SIGNALS:
        asyncio.get_running_loop().add_signal_handler(number, end)


def _show_addresses(stack: Stack, page: Page, queues: Queues) -> None:
    names = ", ".join(queue.name for queue in (queues.requests, queues.events, queues.rejects))
    azurite, bus = stack.azurite.account_url, stack.service_bus.url
    where_queues = (bus, f"stand-in for Service Bus: {names}")
    if not queues.events.url.startswith("sb://"):
        where_queues = (azurite + _port_note(azurite, AZURITE_PORT), f"Azurite: {names}")
    console.print(f"Functions worker: {page.host.worker_library} (Microsoft)")
    console.print("[bold]Running on this machine[/]")
    for what, where, how in (
        ("the page", page.url + _port_note(page.url, APP_PORT), "shows referrals in progress; can inject faults"),
        ("the app", f"{page.url}/api", "function_app.py, run by this project's own small Functions host"),
        ("queues", *where_queues),
        ("table", page.settings["STATE_URL"].rpartition("/")[0], "Azurite: what was forwarded"),
        ("Partner Center", stack.partner_center_url, f"stand-in with {len(REFERRALS)} referrals"),
        ("identity endpoint", stack.identity_url, "stand-in for App Service's"),
        ("Entra ID", stack.entra_url, "stand-in"),
        ("Key Vault", stack.vault_url, "stand-in"),
    ):
        console.print(f"  {what:<18} {where:<41} {how}")
    schedule = SETTINGS["REFERRALS_DEFERRAL_SCHEDULE"]
    console.print(f"For demonstration, deferrals last {schedule} seconds and quick retries at most 2.\n")


def _port_note(url: str, usual: int) -> str:
    return "" if f":{usual}" in url else f" (port {usual} is taken)"


def _show_what_to_try(stack: Stack, page: Page, queues: Queues, options: Options) -> None:
    another = REFERRALS[1]["id"]
    console.print(f"Open [bold]{page.url}/[/] in a browser, or try, from another terminal:")
    console.print(f"  curl -X POST {page.url}/api/referrals/{another}")
    console.print(f'  curl -X POST {page.url}/api/referrals -d \'{{"referralIds": ["{another}", "no ID"]}}\'')
    console.print(f"  curl {page.url}/api/health")
    console.print("Change a referral in Partner Center, which then notifies the webhook:")
    console.print(f'  curl -k -X PATCH {stack.partner_center_url}/_referrals/{another} -d \'{{"status": "Active"}}\'')
    console.print("Make Partner Center throttle, then stop (events arrive late, none is lost):")
    console.print(f'  curl -k -X PUT {stack.partner_center_url}/_faults -d \'{{"kind": "status", "status": 429}}\'')
    console.print(f"  curl -k -X DELETE {stack.partner_center_url}/_faults")
    console.print("\nThe commands, and your own programs, work against this stack in a terminal that has its settings:")
    console.print(f"  [bold]. {shlex.quote(str(options.settings))}[/]", soft_wrap=True)
    console.print(f"  referral-fn doctor --referral {SEED['id']}")
    console.print(f"  referral-fn forward {another}")
    console.print("  referral-fn replay")
    console.print("  referral-fn reconcile --since 2018-01-01 --dry-run")
    if options.keep:
        console.print(f"Events and rejects stay on {queues.events.name} and {queues.rejects.name} for you to consume.")
    else:
        console.print("The page consumes events and rejects. With `make run KEEP=1` they stay on their queues for you.")
    console.print()


async def _watch(page: Page, terminal: Terminal) -> None:
    """Print what happens until Ctrl-C is pressed.

    Raises:
        HostError: the app has stopped by itself.
    """
    console.print("Press Ctrl-C to stop. What happens:\n")
    stop = asyncio.Event()
    for number in _SIGNALS:
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    showing = asyncio.create_task(_show_outcomes(page, terminal))
    waiting = [asyncio.create_task(stop.wait()), asyncio.create_task(page.host.ended())]
    await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    for task in (showing, *waiting):
        task.cancel()
    if not stop.is_set():
        raise HostError(
            f"The app has stopped; start it again with `make run`. Its log ends with:\n{page.host.log[-2000:]}"
        )


async def _show_outcomes(page: Page, terminal: Terminal) -> None:
    while True:
        terminal.outcome(*await page.outcomes.get())


def main() -> int:
    """The command line. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m local_stack", description=__doc__)
    parser.add_argument("--once", action="store_true", help="exit once the first events have arrived")
    parser.add_argument("--keep", action="store_true", help="leave events and rejects on their queues")
    parser.add_argument("--log", action="store_true", help="print the app's log")
    parser.add_argument("--auth", choices=_MODES, default=_MODES[0], help="the app's REFERRALS_AUTH")
    kinds = [STORAGE, SERVICE_BUS]
    parser.add_argument("--queue", choices=kinds, default=STORAGE, help="where the queues are; default: storage")
    parser.add_argument(
        "--settings", type=Path, default=SETTINGS_FILE, metavar="FILE", help="where to write the settings for shells"
    )
    try:
        asyncio.run(run(Options(**vars(parser.parse_args()))))
    except (AzuriteError, HostError) as error:
        console.print(str(error), style="red", markup=False)
        return 1
    except (KeyboardInterrupt, asyncio.CancelledError):
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
