"""What the command lines of the long runs share: they print figures and violations, and exit with 1 if a run failed."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from rich.console import Console

from local_stack.azurite import AzuriteError
from local_stack.host.process import HostError

Figures = dict[str, Any]
"""What a run counted, by name: numbers, and numbers by kind. `violations` is a list of sentences."""


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
