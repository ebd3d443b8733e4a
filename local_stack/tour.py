"""What `make run` shows first: a referral by HTTP, by queue and by webhook."""

import asyncio
import base64
import time
from typing import Any

import aiohttp
from rich.json import JSON

from local_stack.demo import Page
from local_stack.host.process import HostError
from local_stack.stack import Queues, Stack
from local_stack.stand_ins.referrals import SEED, SHARED
from local_stack.terminal import console

_EVENT_TIMEOUT = 30
"""Seconds to wait for an event."""


async def show_consent(stack: Stack, environment: dict[str, str]) -> None:
    """Sign a user in from the command line, before the app starts.

    Raises:
        HostError: the sign-in failed.
    """
    console.print("[bold]consent[/]  referral-fn consent")
    status, output = await stack.run_command(environment, "consent", "--flow", "device", "--auth", "managed-identity")
    console.print("".join(f"         {line}\n" for line in output.splitlines()), markup=False)
    if status:
        raise HostError("Without consent there is no token for Partner Center.")


async def show_both_ways(page: Page, queues: Queues) -> None:
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
    console.print(f"          event [green]{first['id']}[/] is on {queues.events.name}\n")

    console.print(f"[bold]by queue[/]  {referral_id} on {queues.requests.name}")
    started = time.perf_counter()
    await queues.requests.send(base64.b64encode(referral_id.encode()).decode())
    second = await _next_event(page)
    took = time.perf_counter() - started
    console.print(f"          event [green]{second['id']}[/] is on {queues.events.name} {took:.1f} s later\n")

    console.print(JSON.from_data(first))
    if first["id"] != second["id"]:
        raise HostError("The two events are for the same referral and should have the same id.")
    console.print(f"\n[green]Both events have the id[/] {first['id']}\n")


async def show_webhook(stack: Stack, page: Page) -> None:
    """Register the webhook from the command line, change a referral, and show the event that follows.

    Raises:
        HostError: the registration failed, or there was no event.
    """
    url = f"{page.url}/api/webhooks/partner-center"
    console.print(f"[bold]by webhook[/]  referral-fn webhook register --url {url}")
    status, output = await stack.run_command(page.settings, "webhook", "register", "--url", url)
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
