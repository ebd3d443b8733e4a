"""Where the app's CPU goes: `python -m benchmarks.profile` samples it at 32 in flight, and prints each part's share.

A sample is taken every 2 ms of the process's CPU time, and counts for the first part of `PARTS` that is on the stack.
"""

import argparse
import asyncio
import os
import signal
import subprocess
import sys
from collections import Counter
from types import FrameType

from rich.console import Console

from benchmarks import programs
from benchmarks.__main__ import MOST, asking_for, servers

PARTS = {
    "the log": ("/referral_fn/log.py", "/logging/"),
    "telephone numbers": ("/phonenumbers/", "/phone_numbers.py"),
    "normalizing, without telephone numbers": ("/referrals/normalization.py",),
    "parsing and validating": ("/referrals/wire.py", "/referral_fn/strict_json.py"),
    "encoding": ("/referrals/events.py", "/referrals/messages.py"),
    "HTTP client, TLS and event loop": ("/aiohttp/", "/asyncio/", "/ssl.py", "/yarl/", "/multidict/", "/selectors.py"),
}
"""By part, what is in the path of its files. Whatever is in none of them is the rest."""

REST = "retries, time limits, tokens, the gate, base64"
_LAST = len(PARTS) - 1
_INTERVAL = 0.002


def part_of(frame: FrameType | None) -> str:
    """The part that a stack belongs to; the HTTP client and event loop only if they are at its top."""
    top, paths = frame, []
    while frame:
        paths.append(frame.f_code.co_filename)
        frame = frame.f_back
    for number, (part, marks) in enumerate(PARTS.items()):
        searched = paths if number < _LAST else paths[:1]
        if top and any(mark in path for path in searched for mark in marks):
            return part
    return REST


async def profile(referrals: int) -> Counter[str]:
    """Forward this many referrals. Returns the samples of each part."""
    samples: Counter[str] = Counter()
    async with programs.app() as forward:
        left = iter(range(referrals))

        async def work() -> None:
            for _ in left:
                await forward()

        await forward()
        signal.signal(signal.SIGPROF, lambda _, frame: samples.update([part_of(frame)]))
        signal.setitimer(signal.ITIMER_PROF, _INTERVAL, _INTERVAL)
        try:
            await asyncio.gather(*(work() for _ in range(MOST)))
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
    return samples


def main() -> None:
    """Print each part's share."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.profile", description=__doc__)
    parser.add_argument("-n", type=int, default=10_000, help="how many referrals; default: 10000")
    options = parser.parse_args()
    if "MESSAGE_BYTES" not in os.environ:  # the process that samples must start with the servers' certificates
        with servers() as environment:
            command = [sys.executable, "-m", "benchmarks.profile", "-n", str(options.n)]
            subprocess.run(command, check=True, env=asking_for(environment))  # noqa: S603 - ours
        return
    samples = asyncio.run(profile(options.n))
    console = Console()
    console.print(f"{samples.total():,} samples", highlight=False)
    for part in (*PARTS, REST):
        console.print(f"{part:<50}{samples[part] / samples.total():>5.0%}", highlight=False)


if __name__ == "__main__":
    main()
