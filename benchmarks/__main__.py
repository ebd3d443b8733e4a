"""What a referral costs, compared with its two HTTP calls alone and with other programs: `make bench`.

Prints tables; writes them into benchmarks/results.txt, and the first two into docs/performance.md. Programs are
compared only with others of the same run, in interleaved rounds: other work on the machine changes what they all cost.
"""

import argparse
import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress

from benchmarks import peer, report, stages, starts
from benchmarks.documents import DOCUMENTS
from benchmarks.report import Figures, Rounds

ROOT = Path(__file__).parent.parent
PAGE, RESULTS = ROOT / "docs" / "performance.md", ROOT / "benchmarks" / "results.txt"
_BEGINS, _ENDS = "<!-- printed by make bench -->", "<!-- until here -->"
LATENCY = 0.2
"""Partner Center's response time in seconds, for the part about hidden latency."""

MOST = 32
"""Referrals in flight: as many as host.json allows one worker."""

COMPARED = {"bare": 2000, "floor": 2000, "app": 2000, "sdk": 2000, "simple": 48, "peer": 2000}
"""The programs that are compared with each document at `MOST` in flight, and how many referrals each takes a round."""

STAGES = ("read", "normalize", "log", "all")
ROUNDS = 5


@contextlib.contextmanager
def servers() -> Iterator[dict[str, str]]:
    """Run the servers. Yields the environment of a program that uses them."""
    with subprocess.Popen(
        [sys.executable, "-m", "benchmarks.servers"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        try:
            assert process.stdout  # noqa: S101 - for mypy: it is a pipe
            yield {**os.environ, **json.loads(process.stdout.readline())}
        finally:
            process.terminate()


def asking_for(environment: dict[str, str], document: str = "seed", delay: float = 0) -> dict[str, str]:
    """The environment of a program that fetches this document, which takes `delay` seconds."""
    url = environment["REFERRALS_URL"].replace("/seed/0/", f"/{document}/{delay}/")
    return {**environment, "REFERRALS_URL": url, "MESSAGE_BYTES": str(stages.message_bytes(document))}


def measure(
    environment: dict[str, str],
    program: str,
    concurrency: int,
    *referrals: int,
    spread: float = 0,
    folder: Path = ROOT,
) -> list[dict[str, float]]:
    """Run a program in its own process, in the version of this folder.

    The programs are in `benchmarks.programs` and `benchmarks.peer`.
    """
    options = ["--concurrency", str(concurrency), "--referrals", *map(str, referrals)]
    if program == "peer":
        run = [sys.executable, "-m", "benchmarks.peer", *options]
    else:
        run = [sys.executable, "-m", "benchmarks.programs", program, *options, "--spread", str(spread)]
    output = subprocess.run(run, check=True, cwd=folder, env=environment, stdout=subprocess.PIPE).stdout  # noqa: S603 - ours
    measurements: list[dict[str, float]] = json.loads(output)
    return measurements


def compared(environment: dict[str, str], quick: int) -> dict[str, Rounds]:
    """By document: CPU and wall time of a referral in each round, by program and referrals in flight."""
    programs = [(program, MOST) for program in COMPARED] + [("peer", 2)]
    if not peer.is_installed():
        programs = [(program, concurrency) for program, concurrency in programs if program != "peer"]
    by_document: dict[str, Rounds] = {document: {} for document in DOCUMENTS}
    for _ in range(max(ROUNDS // quick, 1)):
        for document, rounds in by_document.items():
            target = asking_for(environment, document)
            for program, concurrency in programs:
                (measured,) = measure(target, program, concurrency, max(COMPARED[program] // quick, MOST))
                rounds.setdefault(f"{program}, {concurrency} in flight", []).append(measured)
    return by_document


def in_context(environment: dict[str, str], quick: int) -> Rounds:
    """The app with and without its stages, and one referral at a time."""
    programs = [
        ("app", MOST),
        ("app-with-table", MOST),
        *((f"app-less-{stage}", MOST) for stage in STAGES),
        ("floor", 1),
        ("app", 1),
    ]
    rounds: Rounds = {}
    for _ in range(max(ROUNDS // quick, 1)):
        for program, concurrency in programs:
            (measured,) = measure(asking_for(environment), program, concurrency, 2000 // quick)
            rounds.setdefault(f"{program}, {concurrency} in flight", []).append(measured)
    return rounds


def hidden_latency(environment: dict[str, str], quick: int) -> list[Figures]:
    """Referrals a second while Partner Center takes 200 ms, up to as many in flight as host.json allows."""
    slow = asking_for(environment, delay=LATENCY)
    figures = []
    for concurrency in (1, 2, 4, 8, 16, MOST):
        possible = concurrency / LATENCY
        point: Figures = {"concurrency": concurrency, "possible": possible}
        for name, spread in {"staggered": LATENCY, **({"together": 0} if concurrency == MOST else {})}.items():
            referrals = max(12 * concurrency // quick, 3 * concurrency)
            (measured,) = measure(slow, "app", concurrency, referrals, spread=spread)
            point[name] = measured["rate"] / possible
        figures.append(point)
    return figures


def growth(environment: dict[str, str], quick: int) -> list[dict[str, float]]:
    """CPU, memory and sockets of one worker over 100,000 referrals."""
    marks = (1_000, *range(10_000, 100_001, 10_000))
    return measure(asking_for(environment), "app", MOST, *(mark // quick for mark in marks))


def _printed(*tables: object) -> str:
    console = Console(width=100)
    with console.capture() as captured:
        for each in tables:
            console.print(each)
    return "\n".join(line.rstrip() for line in captured.get().strip().splitlines())


def write(figures: Figures) -> None:
    """Put the tables where readers look for them."""
    before, _, rest = PAGE.read_text().partition(_BEGINS)
    after = rest.partition(_ENDS)[2]
    summary = _printed(report.goals(figures), report.cost(figures))
    PAGE.write_text(f"{before}{_BEGINS}\n\n```text\n{summary}\n```\n\n{_ENDS}{after}")
    RESULTS.write_text(_printed(*report.tables(figures)) + "\n")


def main() -> None:
    """Measure, print, and write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a seventh of it, to see that it works; writes nothing")
    quick = 7 if parser.parse_args().quick else 1
    figures: Figures = {}
    with servers() as environment, Progress(console=Console(stderr=True)) as progress:
        parts: dict[str, Callable[[], Any]] = {
            "starts": lambda: starts.rounds(environment, max(ROUNDS // quick, 2)),
            "imports": starts.imports,
            "stages": lambda: stages.rounds(max(ROUNDS // quick, 1)),
            "compared": lambda: compared(environment, quick),
            "in context": lambda: in_context(environment, quick),
            "hidden latency": lambda: hidden_latency(environment, quick),
            "growth": lambda: growth(environment, quick),
        }
        bar = progress.add_task("", total=len(parts))
        for name, part in parts.items():
            progress.update(bar, description=name)
            figures[name] = part()
            progress.advance(bar)
    console = Console(width=100)
    for table in report.tables(figures):
        console.print(table)
    if not peer.is_installed():
        console.print("Redpanda Connect is not compared: its packages could not be installed on this machine.")
    if quick == 1:
        write(figures)


if __name__ == "__main__":
    main()
