"""What a referral costs, compared with its two HTTP calls alone: `make bench`.

Prints tables, and writes them into docs/performance.md, the figures behind them as performance.json and, as plots,
performance-*.svg beside it. All times are medians of interleaved rounds, with the least and the greatest beside them.
"""

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from benchmarks import plots, stages, starts
from benchmarks.documents import SIZES

DOCS = Path(__file__).parent.parent / "docs"
HOST_JSON = Path(__file__).parent.parent / "host.json"
_BEGINS, _ENDS = "<!-- what make bench printed -->", "<!-- until here -->"
LATENCY = 0.2
"""Partner Center's response time in seconds, for the part about hidden latency."""

Figures = dict[str, Any]


def summary(values: list[float]) -> Figures:
    """The median, and its spread."""
    return {"median": statistics.median(values), "least": min(values), "greatest": max(values)}


@contextlib.contextmanager
def servers() -> Iterator[dict[str, str]]:
    """Run the servers. Yields the environment of a program that uses them."""
    with subprocess.Popen(
        [sys.executable, "-m", "benchmarks.servers"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as far:
        try:
            assert far.stdout  # noqa: S101
            yield {**os.environ, **json.loads(far.stdout.readline())}
        finally:
            far.terminate()


def measure(
    environment: dict[str, str], program: str, concurrency: int, *referrals: int, spread: float = 0
) -> list[Figures]:
    """Run a program in its own process; see `benchmarks.programs`."""
    options = ["--concurrency", str(concurrency), "--spread", str(spread), "--referrals", *map(str, referrals)]
    run = [sys.executable, "-m", "benchmarks.programs", program, *options]
    output = subprocess.run(run, check=True, env=environment, stdout=subprocess.PIPE).stdout  # noqa: S603
    measurements: list[Figures] = json.loads(output)
    return measurements


def against_the_floor(environment: dict[str, str], quick: int) -> Figures:
    """CPU and wall time of a referral, by concurrency and program."""
    figures: Figures = {}
    for concurrency in (1, 32, 128):
        programs = {"floor": 800, "app": 800}
        if concurrency == 32:  # noqa: PLR2004 - as many as host.json allows
            less = dict.fromkeys((f"app-less-{stage}" for stage in ("read", "normalize", "log", "all")), 800)
            programs |= {**less, "sdk": 400, "simple": 64}
        rounds: dict[str, list[Figures]] = {program: [] for program in programs}
        for _ in range(max((5 if concurrency == 32 else 3) // quick, 1)):  # noqa: PLR2004
            for program, referrals in programs.items():
                rounds[program] += measure(environment, program, concurrency, referrals // quick)
        figures[str(concurrency)] = {
            program: {time: summary([each[time] for each in measured]) for time in ("cpu", "wall")}
            for program, measured in rounds.items()
        }
    return figures


def hidden_latency(environment: dict[str, str], quick: int) -> list[Figures]:
    """Referrals a second while Partner Center takes 200 ms, up to as many in flight as host.json allows."""
    queues = json.loads(HOST_JSON.read_text())["extensions"]["queues"]
    most = queues["batchSize"] + queues["newBatchThreshold"]
    slow = {**environment, "REFERRALS_URL": environment["REFERRALS_URL"].replace("/2000/0/", f"/2000/{LATENCY}/")}
    figures = []
    concurrency = 1
    while concurrency <= most:
        possible, point = concurrency / LATENCY, {"concurrency": concurrency}
        for name, spread in {"spread": LATENCY, **({"in step": 0} if concurrency == most else {})}.items():
            referrals = max(12 * concurrency // quick, 3 * concurrency)
            (measured,) = measure(slow, "app", concurrency, referrals, spread=spread)
            point[name] = measured["rate"] / possible
        figures.append({**point, "possible": possible})
        concurrency *= 2
    return figures


def growth(environment: dict[str, str], quick: int) -> list[Figures]:
    """CPU, memory and sockets of one worker over 100,000 referrals."""
    return measure(environment, "app", 32, *(mark // quick for mark in (1_000, *range(10_000, 100_001, 10_000))))


def table(title: str, *columns: str, rows: Iterable[tuple[str, ...]]) -> Table:
    """A table with right-aligned numbers."""
    rendered = Table(title=title, title_justify="left", title_style="bold")
    for number, column in enumerate(columns):
        rendered.add_column(column, justify="right" if number else "left")
    for row in rows:
        rendered.add_row(*row)
    return rendered


def _spread(figures: Figures, number: str = "{:,.0f}") -> tuple[str, str]:
    spread = f"{number.format(figures['least'])} to {number.format(figures['greatest'])}"
    return number.format(figures["median"]), spread


def tables(figures: Figures) -> list[Table]:
    """All figures as tables."""
    rendered = []
    rows: list[tuple[str, ...]] = []
    for concurrency, programs in figures["against the floor"].items():
        floor = programs["floor"]["cpu"]["median"]
        for program, times in programs.items():
            ratio = f"{times['cpu']['median'] / floor:.2f}"
            rows.append(
                (f"{program}, {concurrency} in flight", *_spread(times["cpu"]), ratio, _spread(times["wall"])[0])
            )
    rendered.append(table("One referral", "program", "CPU, µs", "spread", "ratio to floor", "wall, µs", rows=rows))
    by_program = figures["against the floor"]["32"]
    rendered.append(_in_place(by_program))
    better = min(("sdk", "simple"), key=lambda program: by_program[program]["cpu"]["median"])
    times = by_program[better]["cpu"]["median"] / by_program["app"]["cpu"]["median"]
    rendered[0].caption = f"the better alternative, {better}, takes {times:.1f} times the app's CPU"
    floor = figures["starts"]["the four packages"]["wall"]["median"]
    rows = [
        (name, *_spread(start["wall"]), f"{start['wall']['median'] / floor:.2f}", f"{start['memory']:.0f}")
        for name, start in figures["starts"].items()
    ]
    rendered.append(table("A new process", "program", "ms", "spread", "ratio to first", "memory, MiB", rows=rows))
    rows = [(name, f"{milliseconds:.1f}") for name, milliseconds in figures["imports"].items()]
    rendered.append(table("What the imports of function_app cost", "package", "ms", rows=rows))
    rows = [
        (
            str(point["concurrency"]),
            f"{point['possible']:.0f}",
            f"{point['spread']:.1%}",
            f"{point['in step']:.1%}" if "in step" in point else "",
        )
        for point in figures["hidden latency"]
    ]
    rendered.append(
        table(
            "Throughput while Partner Center takes 200 ms",
            "in flight",
            "possible per second",
            "staggered start",
            "simultaneous start",
            rows=rows,
        )
    )
    rows = [
        (f"{mark['referrals']:,}", f"{mark['cpu']:,.0f}", f"{mark['memory'] / 2**20:.0f}", f"{mark['sockets']:.0f}")
        for mark in figures["growth"]
    ]
    rendered.append(
        table("One worker, 32 in flight", "after referrals", "CPU, µs", "memory, MiB", "sockets", rows=rows)
    )
    rows = [
        (stage, *(f"{by_size[str(size)]['median']:,.1f}" if str(size) in by_size else "" for size in SIZES))
        for stage, by_size in figures["stages"].items()
    ]
    rendered.append(table("CPU of each stage, µs", "stage", *(f"{size // 1000} KB" for size in SIZES), rows=rows))
    return rendered


def _in_place(at_32: Figures) -> Table:
    """The parts of a referral's CPU time, measured by leaving stages out."""
    cpu = {program: times["cpu"]["median"] for program, times in at_32.items()}
    rows = [("the two calls with bare aiohttp", f"{cpu['floor']:,.0f}")]
    rows += [
        (what, f"{cpu['app'] - cpu[f'app-less-{stage}']:,.0f}")
        for what, stage in (("parse and validate", "read"), ("normalize", "normalize"), ("log", "log"))
    ]
    rest = "everything else: headers, timeouts, retries, tokens, gate, serializing"
    rows.append((rest, f"{cpu['app-less-all'] - cpu['floor']:,.0f}"))
    return table("In context: CPU saved by leaving out a stage", "stage", "CPU, µs", rows=rows)


def goals(figures: Figures) -> Table:
    """The goals, and the measured values."""
    at_32, starting = figures["against the floor"]["32"], figures["starts"]
    cpu = {program: times["cpu"]["median"] for program, times in at_32.items()}
    walls = {name: start["wall"]["median"] for name, start in starting.items()}
    packages = walls["the four packages"]
    hidden, marks = figures["hidden latency"][-1], figures["growth"]
    first, last = (statistics.median(mark["cpu"] for mark in half) for half in (marks[1:6], marks[6:]))
    reached = [
        ("CPU of a referral / CPU of the two calls alone", "at most", 1.5, cpu["app"] / cpu["floor"]),
        (
            "CPU of the better alternative / CPU of the app",
            "at least",
            5,
            min(cpu["sdk"], cpu["simple"]) / cpu["app"],
        ),
        ("importing function_app / the four packages", "at most", 0.6, walls["function_app"] / packages),
        (
            "first event / importing the four packages",
            "at most",
            1.1,
            walls["function_app, and a first referral"] / packages,
        ),
        ("share of the possible rate at 200 ms, started together", "at least", 0.95, hidden["in step"]),
        ("share of the possible rate at 200 ms, staggered", "at least", 0.95, hidden["spread"]),
        ("CPU of the second 50,000 referrals / of the first", "at most", 1.1, last / first),
        ("memory after 100,000 referrals / after 1,000", "at most", 1.05, marks[-1]["memory"] / marks[0]["memory"]),
    ]
    rows = [
        (what, f"{how} {goal}", f"{value:.2f}", "yes" if (value <= goal) == (how == "at most") else "no")
        for what, how, goal, value in reached
    ]
    return table("Goals", "what", "goal", "measured", "met", rows=rows)


def write(text: str, figures: Figures) -> None:
    """Put tables, figures and plots into docs/."""
    page = DOCS / "performance.md"
    before, _, rest = page.read_text().partition(_BEGINS)
    after = rest.partition(_ENDS)[2]
    page.write_text(f"{before}{_BEGINS}\n\n```text\n{text.strip()}\n```\n\n{_ENDS}{after}")
    (DOCS / "performance.json").write_text(json.dumps(figures, indent=1) + "\n")
    plots.draw(figures, DOCS)


def main() -> None:
    """Measure, print, and write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of it, to see that it works; writes nothing")
    quick = 7 if parser.parse_args().quick else 1
    console = Console(width=100, record=True)
    figures: Figures = {}
    with servers() as environment, Progress(console=Console(stderr=True)) as progress:
        parts: dict[str, Callable[[], Any]] = {
            "starts": lambda: {
                name: {"wall": summary(walls), "memory": statistics.median(memories)}
                for name, (walls, memories) in starts.rounds(environment, max(5 // quick, 2)).items()
            },
            "imports": starts.imports,
            "stages": lambda: {
                stage: {size: summary(values) for size, values in by_size.items()}
                for stage, by_size in stages.rounds(max(5 // quick, 1)).items()
            },
            "against the floor": lambda: against_the_floor(environment, quick),
            "hidden latency": lambda: hidden_latency(environment, quick),
            "growth": lambda: growth(environment, quick),
        }
        bar = progress.add_task("", total=len(parts))
        for name, part in parts.items():
            progress.update(bar, description=name)
            figures[name] = part()
            progress.advance(bar)
    for rendered in (goals(figures), *tables(figures)):
        console.print(rendered)
    if quick == 1:
        write("\n".join(line.rstrip() for line in console.export_text().splitlines()), figures)


if __name__ == "__main__":
    main()
