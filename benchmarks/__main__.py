"""Print what each stage of a referral costs, and what a cold start does, each beside its floor of the same run."""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from rich.console import Console
from rich.table import Table

from referral_fn.normalization import normalize
from referral_fn.referral import read_referral

ROUNDS = 15
CALLS = 400
SEED = (Path(__file__).parent.parent / "local_stack" / "seed_referral.json").read_bytes()
T = TypeVar("T")
SEED_ID = json.loads(SEED)["id"]


def _microseconds(call: Callable[[], object]) -> float:
    started = time.process_time()
    for _ in range(CALLS):
        call()
    return (time.process_time() - started) / CALLS * 1e6


def _milliseconds(statement: str) -> float:
    """A new process that runs the statement, its modules compiled beforehand, as a deployment's are."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", statement], check=True, capture_output=True, env=environment)  # noqa: S603
    return (time.perf_counter() - started) * 1e3


def _compare(title: str, unit: str, measure: Callable[[T], float], cases: dict[str, T], rounds: int) -> Table:
    """One table: every case measured in turn, round after round, the first being the floor."""
    table = Table("", f"median, {unit}", "spread", "times the floor", title=title)
    measured: dict[str, list[float]] = {name: [] for name in cases}
    for case in cases.values():
        measure(case)  # once for nothing: what is compiled or loaded once belongs to nobody
    for _ in range(rounds):
        for name, case in cases.items():
            measured[name].append(measure(case))
    floor = statistics.median(next(iter(measured.values())))
    for name, values in measured.items():
        median = statistics.median(values)
        table.add_row(name, f"{median:.1f}", f"{min(values):.1f} to {max(values):.1f}", f"{median / floor:.2f}")
    return table


def main() -> None:
    """Measure and print."""
    referral = read_referral(SEED, SEED_ID)
    made = normalize(referral, collection="https://example.com/referrals")
    stages: dict[str, Callable[[], object]] = {
        "floor: json.loads and json.dumps": lambda: json.dumps(json.loads(SEED)),
        "read and check": lambda: read_referral(SEED, SEED_ID),
        "normalize": lambda: normalize(referral, collection="https://example.com/referrals"),
        "normalize, people left out": lambda: normalize(referral, collection="https://example.com/r", policy="none"),
        "encode the event": made.encode,
    }
    starts = {
        "floor: the four packages": "import azure.functions, aiohttp, azure.identity.aio, pydantic",
        "function_app": "import function_app",
        "function_app and the first request's imports": "import function_app, referral_fn.forwarder, phonenumbers",
    }
    console = Console()
    console.print(_compare("CPU of a stage, for the seed's referral", "µs", _microseconds, stages, ROUNDS))
    console.print(_compare("A new process that imports", "ms", _milliseconds, starts, 7))


if __name__ == "__main__":
    main()
