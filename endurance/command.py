"""What the command lines of the long runs share: they print figures and violations, and exit with 1 if a run failed."""

import argparse
import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from rich.console import Console

from local_stack.azurite import AzuriteError
from local_stack.host.process import HostError
from local_stack.stack import SERVICE_BUS, STORAGE

Figures = dict[str, Any]
"""What a run counted, by name: numbers, and numbers by kind. `violations` is a list of sentences."""


def parser(name: str, description: str | None, referrals: int) -> argparse.ArgumentParser:
    """The parser of a run's arguments, with `-n` and how many referrals that is by default."""
    built = argparse.ArgumentParser(prog=f"python -m endurance.{name}", description=description)
    built.add_argument("-n", type=int, default=referrals, help=f"how many referrals; default: {referrals}")
    return built


def add_queue(to: argparse.ArgumentParser) -> None:
    """Let the kind of queue be chosen."""
    kinds = [STORAGE, SERVICE_BUS]
    to.add_argument("--queue", choices=kinds, default=STORAGE, help="where the queues are; default: storage")


def execute(run: Callable[[Console], Coroutine[Any, Any, Figures]], failed: Callable[[Figures], bool]) -> int:
    """Run it, and print its figures. Returns the exit status."""
    console = Console(stderr=True)
    try:
        figures = asyncio.run(run(console))
    except (AzuriteError, HostError) as error:
        console.print(str(error), style="red", markup=False)
        return 1
    for what, value in figures.items():
        if what == "violations":
            continue
        for name, number in value.items() if isinstance(value, dict) else [("", value)]:
            print(f"{what}{': ' if name else ''}{name}".ljust(48) + f"{number:>10,}")
    for violation in figures["violations"]:
        print(f"VIOLATION: {violation}")
    return 1 if failed(figures) else 0
