"""Programs that take referrals from Partner Center to a queue: ours, and the ones it is compared with.

    python -m benchmarks.programs PROGRAM --concurrency 32 --referrals 1000

runs one, and prints as JSON what a referral cost.
"""

import argparse
import asyncio
import contextlib
import json
import logging
import os
import resource
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.documents import SEED_ID, TOKEN_LENGTH

Forward = Callable[[], Awaitable[None]]
WARM_UP = 200
"""Warm-up referrals: connections, tokens and everything else that is created once."""


@contextlib.asynccontextmanager
async def bare() -> AsyncIterator[Forward]:
    """The two HTTP calls with bare aiohttp: bytes passed through unread, no header of its own, no token."""
    import aiohttp  # noqa: PLC0415 - as of each program, only what it needs itself

    get, put = os.environ["REFERRALS_URL"].format(referralId=SEED_ID), f"{os.environ['EVENTS_URL']}/messages"
    async with aiohttp.ClientSession() as session:

        async def forward() -> None:
            async with session.get(get) as answer:
                body = await answer.read()
            async with session.post(put, data=body) as answer:
                await answer.read()

        yield forward


@contextlib.asynccontextmanager
async def floor() -> AsyncIterator[Forward]:
    """The two HTTP calls as they have to be: a new ID for each GET, tokens, and a message as long as the event's."""
    import uuid  # noqa: PLC0415

    import aiohttp  # noqa: PLC0415

    get, put = os.environ["REFERRALS_URL"].format(referralId=SEED_ID), f"{os.environ['EVENTS_URL']}/messages"
    token, message = {"Authorization": f"Bearer {'t' * TOKEN_LENGTH}"}, b"x" * int(os.environ["MESSAGE_BYTES"])
    async with aiohttp.ClientSession() as session:

        async def forward() -> None:
            async with session.get(get, headers={**token, "client-request-id": str(uuid.uuid4())}) as answer:
                await answer.read()
            async with session.post(put, data=message, headers=token) as answer:
                await answer.read()

        yield forward


@contextlib.asynccontextmanager
async def app() -> AsyncIterator[Forward]:
    """This app's `Forwarder` with only the packages of requirements.txt; its log is discarded."""
    sys.modules["opentelemetry"] = None  # type: ignore[assignment]  # installed for the tests only
    from referral_fn.app import App  # noqa: PLC0415
    from referral_fn.referrals.outcome import Forwarded  # noqa: PLC0415
    from referral_fn.referrals.request import ReferralRequest  # noqa: PLC0415

    logger = logging.getLogger("referral_fn")
    logger.setLevel(logging.INFO)
    logger.addHandler(logging.StreamHandler(Path(os.devnull).open("w")))  # noqa: ASYNC230, SIM115 - for as long as it runs
    opened = App.open(os.environ)

    async def forward() -> None:
        outcome = await opened.forwarder.forward(ReferralRequest(SEED_ID))
        assert isinstance(outcome, Forwarded), outcome  # noqa: S101 - else nothing was measured

    yield forward
    await opened.close()


@contextlib.asynccontextmanager
async def app_with_table() -> AsyncIterator[Forward]:
    """The app with `STATE_URL`. All others run without it."""
    os.environ["STATE_URL"] = os.environ["TABLE_URL"]
    async with app() as forward:
        yield forward


def app_without(*stages: str) -> Callable[[], contextlib.AbstractAsyncContextManager[Forward]]:
    """The app without some stages, whose first results are reused: shows what the stages cost in context."""

    @contextlib.asynccontextmanager
    async def program() -> AsyncIterator[Forward]:
        async with app() as forward:
            from referral_fn import forwarder, log, partner_center  # noqa: PLC0415

            places = {
                "read": (partner_center, "read_referral"),
                "normalize": (forwarder, "normalize"),
                "log": (log, "_write"),
            }
            for stage in stages:
                module, name = places[stage]
                setattr(module, name, _once(getattr(module, name)))
            yield forward

    return program


def _once(function: Callable[..., Any]) -> Callable[..., Any]:
    results: list[Any] = []

    def call(*arguments: Any, **options: Any) -> Any:
        if not results:
            results.append(function(*arguments, **options))
        return results[0]

    return call


@contextlib.asynccontextmanager
async def sdk() -> AsyncIterator[Forward]:
    """The best use of the SDKs, as documented: asynchronous, with one credential, one session and one client."""
    import aiohttp  # noqa: PLC0415
    from azure.identity.aio import ManagedIdentityCredential  # noqa: PLC0415
    from azure.storage.queue.aio import QueueClient  # noqa: PLC0415

    get = os.environ["REFERRALS_URL"].format(referralId=SEED_ID)
    async with (
        aiohttp.ClientSession() as session,
        ManagedIdentityCredential() as credential,
        QueueClient(*_account(), credential=credential) as queue,
    ):

        async def forward() -> None:
            token = await credential.get_token("https://api.partner.microsoft.com/.default")
            async with session.get(get, headers={"Authorization": f"Bearer {token.token}"}) as answer:
                answer.raise_for_status()
                referral = await answer.json()
            await queue.send_message(json.dumps(referral))

        yield forward


@contextlib.asynccontextmanager
async def simple() -> AsyncIterator[Forward]:
    """A common implementation: everything is created in each invocation, in the threads that Functions runs it in."""
    import requests  # noqa: PLC0415
    from azure.identity import DefaultAzureCredential  # noqa: PLC0415
    from azure.storage.queue import QueueClient  # noqa: PLC0415

    get = os.environ["REFERRALS_URL"].format(referralId=SEED_ID)

    def invoke() -> None:
        credential = DefaultAzureCredential()
        token = credential.get_token("https://api.partner.microsoft.com/.default")
        answer = requests.get(get, headers={"Authorization": f"Bearer {token.token}"}, timeout=30)
        answer.raise_for_status()
        referral = json.loads(answer.text)
        QueueClient(*_account(), credential=credential).send_message(json.dumps(referral))

    with ThreadPoolExecutor(32) as threads:

        async def forward() -> None:
            await asyncio.get_running_loop().run_in_executor(threads, invoke)

        yield forward


def _account() -> tuple[str, str]:
    account, _, queue = os.environ["EVENTS_URL"].rpartition("/")
    return account, queue


PROGRAMS = {
    "bare": bare,
    "floor": floor,
    "app": app,
    "app-with-table": app_with_table,
    "app-less-read": app_without("read"),
    "app-less-normalize": app_without("normalize"),
    "app-less-log": app_without("log"),
    "app-less-all": app_without("read", "normalize", "log"),
    "sdk": sdk,
    "simple": simple,
}


def state() -> dict[str, float]:
    """The resources that the process has used so far, and its current memory and sockets."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    descriptors = list(Path("/proc/self/fd").iterdir())
    return {
        "cpu": time.process_time(),
        "wall": time.perf_counter(),
        "memory": pages * resource.getpagesize(),
        "sockets": sum(path.is_symlink() and "socket" in str(path.readlink()) for path in descriptors),
    }


async def _many(forward: Forward, referrals: int, concurrency: int, spread: float = 0) -> float:
    """Forward this many. Returns referrals per second, without the first and last of each worker."""
    left, done = iter(range(referrals)), 0
    begun = ended = time.perf_counter()

    async def work(number: int) -> None:
        nonlocal done, begun, ended
        await asyncio.sleep(spread * number / concurrency)
        for _ in left:
            await forward()
            done += 1
            if done == concurrency:
                begun = time.perf_counter()
            if done == referrals - concurrency:
                ended = time.perf_counter()

    await asyncio.gather(*(work(number) for number in range(concurrency)))
    return (referrals - 2 * concurrency) / (ended - begun) if ended > begun else 0


async def measure(program: str, concurrency: int, marks: list[int], spread: float = 0) -> list[dict[str, float]]:
    """Forward until each mark in turn.

    Args:
        program: which.
        concurrency: referrals in flight.
        marks: how many referrals.
        spread: seconds over which the first ones start; with none, they start at once and go on in step.

    Returns:
        For each stretch between marks: CPU and wall time of a referral in microseconds, referrals a second, memory in
        bytes and sockets at its end.
    """
    measurements = []
    async with PROGRAMS[program]() as forward:
        await _many(forward, min(WARM_UP, marks[0]) if program != "simple" else concurrency, concurrency)
        done, before = 0, state()
        for mark in marks:
            rate = await _many(forward, mark - done, concurrency, spread)
            after = state()
            each = {name: (after[name] - before[name]) / (mark - done) * 1e6 for name in ("cpu", "wall")}
            measurements.append(
                {**each, "rate": rate, "referrals": mark, "memory": after["memory"], "sockets": after["sockets"]}
            )
            done, before = mark, after
    return measurements


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.programs")
    parser.add_argument("program", choices=PROGRAMS)
    parser.add_argument("--concurrency", type=int, default=32)
    parser.add_argument("--referrals", type=int, nargs="+", default=[1000], help="how many; several: marks on the way")
    parser.add_argument("--spread", type=float, default=0, help="seconds over which the first ones start")
    options = parser.parse_args()
    measurements: Any = asyncio.run(measure(options.program, options.concurrency, options.referrals, options.spread))
    json.dump(measurements, sys.stdout)


if __name__ == "__main__":
    main()
