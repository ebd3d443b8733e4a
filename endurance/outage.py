"""Partner Center is down for two days, an hour a second: does every referral arrive once it is back, without a rush?

For the first day connections break; on the second, answers are 503 with a `Retry-After` of an hour. Requests keep
coming all the time. The run fails if one of them leads to no event, or to a reject.
"""

import asyncio
import contextlib
import json
import sys
import time
import uuid
from collections import Counter
from pathlib import Path
from typing import Any

import aiohttp
from rich.console import Console
from rich.progress import Progress

from endurance.command import add_queue, parser
from endurance.fates import AnyReferral
from endurance.load import open_queues
from endurance.platform import Platform
from local_stack.stack import STORAGE, Stack, running
from local_stack.stand_ins.partner_center import ANY, Fault
from referral_fn.queues.base import Message, Queue

HOURS = 48
DEFAULT_N = 300
_SCHEDULE = (10, 60, 300, 1800, 7200, 21600, 43200, 86400)
"""The app's own, in seconds. Compressed, delays under an hour take an hour: a queue counts in whole seconds."""

_PATIENCE = 60
"""Hours after the outage in which every referral must arrive: twice the longest deferral."""


async def run(count: int, hour: float, progress: Progress, kind: str = STORAGE) -> dict[str, Any]:
    """Run it.

    Args:
        count: referrals asked for.
        hour: seconds that an hour takes.
        progress: shows how far it is.
        kind: of the queues.
    """
    async with running() as stack:
        queues = await stack.queues(inbound=kind, outbound=kind)
        settings = {
            "REFERRALS_DEFERRAL_SCHEDULE": ",".join(str(delay * hour / 3600) for delay in _SCHEDULE),
            "REFERRALS_RETRY_BUDGET": "0.5",
            "AzureFunctionsJobHost__extensions__queues__maxPollingInterval": "00:00:00.2",
        }
        stack.partner_center.referrals = AnyReferral()
        connector = aiohttp.TCPConnector(ssl=stack.authority.client_context())
        async with (
            aiohttp.ClientSession(connector=connector) as session,
            Platform(stack, stack.environment(queues, **settings)) as platform,
        ):
            requests, events, _ = open_queues(stack, session, queues)
            await platform.up.wait()
            started = time.monotonic()
            asked = [str(uuid.uuid4()) for _ in range(count)]
            arrived: dict[str, float] = {}
            collecting = asyncio.create_task(_collect(events, arrived))
            at_first = 0
            try:
                stack.partner_center.faults[ANY] = Fault("reset")
                bar = progress.add_task("down", total=HOURS)
                for number, referral_id in enumerate(asked):  # half of them at the very beginning
                    due = max(0, 2 * number / count - 1) * HOURS * hour
                    await _until(started + due, progress, bar, started, hour, stack)
                    await requests.put(Message(referral_id.encode()))
                    if due <= HOURS / 4 * hour:
                        at_first = platform.host.peak_memory if platform.host else 0
                await _until(started + HOURS * hour, progress, bar, started, hour, stack)
                stack.partner_center.faults.clear()
                back = time.monotonic()
                bar = progress.add_task("back", total=count)
                while len(arrived) < count and time.monotonic() < back + _PATIENCE * hour + 20:
                    progress.update(bar, completed=len(arrived))
                    await asyncio.sleep(0.1)
            finally:
                collecting.cancel()
                await asyncio.gather(collecting, return_exceptions=True)
            platform.look()
            calls = [(call.at - started) / hour for call in stack.partner_center.calls]
            latest = max(arrived.values(), default=back)
            return {
                "referrals": count,
                "arrived": len(arrived),
                "rejected": await queues.rejects.count(),
                "in the poison queue": await queues.poison.count(),
                "calls while it was down": sum(at < HOURS for at in calls),
                "calls once it was back": sum(at >= HOURS for at in calls),
                "most calls in an hour, down": _most(at for at in calls if at < HOURS),
                "most calls in an hour, back": _most(at for at in calls if at >= HOURS),
                "last arrival, hours after it was back": round((latest - back) / hour, 1),
                "worker's memory after half a day, MiB": round(at_first / 2**20),
                "worker's peak memory, MiB": round(platform.peak_memory / 2**20),
                "calls": calls,
                "arrivals": [(at - started) / hour for at in arrived.values()],
            }


async def _until(moment: float, progress: Progress, bar: Any, started: float, hour: float, stack: Stack) -> None:
    """Wait for a moment, and let the trouble change in the middle."""
    while (now := time.monotonic()) < moment:
        hours = (now - started) / hour
        progress.update(bar, completed=hours)
        if hours > HOURS / 2 and stack.partner_center.faults[ANY].kind == "reset":
            retry_after = str(max(1, round(hour)))
            stack.partner_center.faults[ANY] = Fault("status", status=503, retry_after=retry_after)
        await asyncio.sleep(min(0.1, moment - now))


async def _collect(events: Queue, arrived: dict[str, float]) -> None:
    while True:
        for message in (taken := await events.take(60)):
            arrived.setdefault(json.loads(message.body)["subject"], time.monotonic())
            await events.remove(message)
        if not taken:
            await asyncio.sleep(0.1)


def _most(moments: Any) -> int:
    return max(Counter(int(moment) for moment in moments).values(), default=0)


def plot(figures: dict[str, Any], path: Path) -> None:
    """Draw the calls per hour, and the arrivals, as SVG."""
    import matplotlib as mpl  # noqa: PLC0415 - half a second

    mpl.use("svg")
    from matplotlib import pyplot as plt  # noqa: PLC0415

    mpl.rcParams["svg.hashsalt"] = "referral-fn"
    last = int(max(figures["calls"] + figures["arrivals"], default=HOURS)) + 2
    figure, axes = plt.subplots(figsize=(9, 4), layout="constrained")
    axes.axvspan(0, HOURS / 2, color="#d62728", alpha=0.10, label="connections break")
    axes.axvspan(HOURS / 2, HOURS, color="#ff7f0e", alpha=0.15, label="503, Retry-After: an hour")
    axes.hist(figures["calls"], bins=range(last), color="#1f77b4", label="calls to Partner Center")
    axes.hist(figures["arrivals"], bins=range(last), color="#2ca02c", histtype="step", linewidth=2, label="events")
    axes.set(xlabel="hours since it went down", ylabel="in an hour", xlim=(0, last), yscale="symlog")
    axes.legend()
    figure.savefig(path, metadata={"Date": None})


def main() -> int:
    """Run it from the command line. Returns the exit status."""
    arguments = parser("outage", __doc__, DEFAULT_N)
    arguments.add_argument("--hour", type=float, default=1, help="seconds that an hour takes; default: 1")
    add_queue(arguments)
    arguments.add_argument("--plot", type=Path, help="where to draw it, an .svg")
    options = arguments.parse_args()
    with Progress(console=Console(stderr=True)) as progress, contextlib.suppress(KeyboardInterrupt):
        figures = asyncio.run(run(options.n, options.hour, progress, options.queue))
    if options.plot:
        plot(figures, options.plot)
    for what, value in figures.items():
        if not isinstance(value, list):
            print(f"{what:<40}{value:>10,}")
    return (
        0 if figures["arrived"] == options.n and not figures["rejected"] and not figures["in the poison queue"] else 1
    )


if __name__ == "__main__":
    sys.exit(main())
