"""Run the app on this machine and follow a referral through it: `make run`."""

import argparse
import asyncio
import base64
import signal
import sys
import time
from typing import Any

import aiohttp
from rich.console import Console
from rich.json import JSON

from local_stack.azurite import AzuriteError
from local_stack.demo import SETTINGS, Page, opened
from local_stack.host.process import HostError
from local_stack.stack import SERVICE_BUS, STORAGE, AnyQueue, Queues, Stack, running
from local_stack.stand_ins.referrals import REFERRALS, SEED, SHARED

APP_PORT = 7071
AZURITE_PORT = 10001
_EVENT_TIMEOUT = 30
"""Seconds to wait for an event."""

console = Console(highlight=False, soft_wrap=True)


async def run(*, once: bool, auth: str, kind: str) -> None:
    """Start everything, forward the first referral over HTTP and by queue, and keep running unless `once`."""
    _cancel_on_signal()
    with console.status("Starting Azurite and the stand-ins"):
        stack_running = running(AZURITE_PORT)
        stack = await stack_running.__aenter__()
    try:
        queues = await stack.queues(inbound=kind, outbound=kind)
        if auth == "app-user":
            stack.partner_center.wants_user = True
            await _show_consent(stack, stack.environment(queues, REFERRALS_AUTH=auth))
        async with opened(stack, queues, APP_PORT, REFERRALS_AUTH=auth) as page:
            _show_addresses(stack, page, queues)
            await _show_both_ways(page, queues)
            await _show_webhook(stack, page, queues)
            if not once:
                _show_what_to_try(stack, page)
                await _watch(page)
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

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
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


async def _show_both_ways(page: Page, queues: Queues) -> None:
    """Forward the first referral over HTTP and by queue, and compare the two events.

    Raises:
        HostError: there was no event, or the two have different IDs.
    """
    referral_id = SEED["id"]
    started = time.perf_counter()
    async with aiohttp.ClientSession() as session, session.post(f"{page.url}/api/referrals/{referral_id}") as answer:
        await answer.read()
    took = time.perf_counter() - started
    console.print(f"[bold]by HTTP[/]   POST /api/referrals/{referral_id}, a referral of the 2018 shape")
    console.print(f"          {answer.status} {answer.reason} in {took * 1000:.0f} ms, token and connections included")
    first = await _next_event(page)
    console.print(f"          event [green]{first['id']}[/] came out of {queues.events.name}\n")

    console.print(f"[bold]by queue[/]  {referral_id} on {queues.requests.name}")
    started = time.perf_counter()
    await queues.requests.send(base64.b64encode(referral_id.encode()).decode())
    second = await _next_event(page)
    took = time.perf_counter() - started
    console.print(f"          event [green]{second['id']}[/] came out of {queues.events.name} {took:.1f} s later\n")

    console.print(JSON.from_data(first))
    if first["id"] != second["id"]:
        raise HostError("The two events are for the same referral and should have the same id.")
    console.print(f"\n[green]Both events have the id[/] {first['id']}\n")


async def _show_consent(stack: Stack, environment: dict[str, str]) -> None:
    """Sign a user in from the command line, before the app starts.

    Raises:
        HostError: the sign-in failed.
    """
    console.print("[bold]consent[/]  python -m referral_fn consent")
    status, output = await stack.run_command(environment, "consent", "--flow", "device", "--auth", "managed-identity")
    console.print("".join(f"         {line}\n" for line in output.splitlines()), markup=False)
    if status:
        raise HostError("Without consent there is no token for Partner Center.")


async def _show_webhook(stack: Stack, page: Page, queues: Queues) -> None:
    """Register the webhook from the command line, change a referral, and show the event that follows.

    Raises:
        HostError: the registration failed, or there was no event.
    """
    url = f"{page.url}/api/webhooks/partner-center"
    console.print(f"[bold]by webhook[/]  python -m referral_fn webhook register --url {url}")
    command = ("webhook", "register", "--url", url, "--api", stack.partner_center_url)
    status, output = await stack.run_command(stack.environment(queues), *command)
    if status:
        raise HostError(f"The webhook could not be registered: {output}")
    changed = SHARED["id"]
    attempts = await stack.webhooks.change(changed, status="Closed", substatus="Won", eTag='"changed"')
    console.print(
        f"            Partner Center changes {changed}, a referral of today's shape,"
        f" and notifies the app: {attempts[-1]['responseCode']}"
    )
    event = await _next_event(page)
    console.print(f"            event [green]{event['id']}[/] arrived, caused by {event['cause']}:")
    parts = "category", "side", "dealType", "status", "substatus", "salesStage", "solutionArea"
    values = [f"{name} {event['data'].get(name)}" for name in parts]
    console.print(f"            {', '.join(values)}\n", markup=False)


async def _next_event(page: Page) -> dict[str, Any]:
    """Wait for the next event.

    Raises:
        HostError: there was none in time.
    """
    try:
        async with asyncio.timeout(_EVENT_TIMEOUT):
            return (await page.outcomes.get())[1]
    except TimeoutError:
        raise HostError(
            f"No event came within {_EVENT_TIMEOUT} seconds. The app's log:\n{page.host.log[-2000:]}"
        ) from None


def _show_what_to_try(stack: Stack, page: Page) -> None:
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


async def _watch(page: Page) -> None:
    """Print each event and reject until Ctrl-C is pressed."""
    console.print("Press Ctrl-C to stop. Events and rejects:\n")
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    showing = asyncio.create_task(_show_outcomes(page))
    await stop.wait()
    showing.cancel()


async def _show_outcomes(page: Page) -> None:
    while True:
        _show(*await page.outcomes.get())


def _show(queue: AnyQueue, event: dict[str, Any]) -> None:
    data = event["data"]
    summary = f"[red]{data['reason']}[/] {data['detail']}" if "reason" in data else data.get("name", "")
    console.print(f"{queue.name}  {event['id']}  {summary}")


def main() -> int:
    """The command line. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m local_stack", description=__doc__)
    parser.add_argument("--once", action="store_true", help="exit once the first events have arrived")
    modes = ["managed-identity", "federated-app", "app-user"]
    parser.add_argument("--auth", choices=modes, default=modes[0], help="the app's REFERRALS_AUTH")
    kinds = [STORAGE, SERVICE_BUS]
    parser.add_argument("--queue", choices=kinds, default=STORAGE, help="where the queues are; default: storage")
    options = parser.parse_args()
    try:
        asyncio.run(run(once=options.once, auth=options.auth, kind=options.queue))
    except (AzuriteError, HostError) as error:
        console.print(str(error), style="red", markup=False)
        return 1
    except (KeyboardInterrupt, asyncio.CancelledError):
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
