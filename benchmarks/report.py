"""The figures as tables, and the goals."""

import statistics
from collections.abc import Iterable
from typing import Any

from rich.table import Table

from benchmarks.documents import DOCUMENTS

Figures = dict[str, Any]
Rounds = dict[str, list[dict[str, float]]]
"""By program: what it cost in each round."""

NAMES = {
    "bare, 32 in flight": "the two calls, bare",
    "floor, 32 in flight": "the two calls, with what they need",
    "app, 32 in flight": "this app",
    "sdk, 32 in flight": "the SDKs, used well",
    "simple, 32 in flight": "the SDKs, everything opened per message",
    "peer, 2 in flight": "Redpanda Connect, 2 in flight",
    "peer, 32 in flight": "Redpanda Connect, 32 in flight",
}
"""The compared programs, in the order of the table."""


def _median(rounds: Rounds, program: str, time: str = "cpu") -> float:
    return statistics.median(measured[time] for measured in rounds[program])


def ratio(rounds: Rounds, program: str, to: str) -> float:
    """The median ratio of two programs' CPU in the same round."""
    pairs = zip(rounds[program], rounds[to], strict=True)
    return statistics.median(one["cpu"] / other["cpu"] for one, other in pairs)


def table(title: str, *columns: str, rows: Iterable[tuple[str, ...]]) -> Table:
    """A table with right-aligned numbers."""
    rendered = Table(title=title, title_justify="left", title_style="bold")
    for number, column in enumerate(columns):
        rendered.add_column(column, justify="right" if number else "left")
    for row in rows:
        rendered.add_row(*row)
    return rendered


def tables(figures: Figures) -> list[Table]:
    """Everything, the most important first."""
    return [
        goals(figures),
        cost(figures),
        _spread(figures["compared"]["seed"] | figures["in context"]),
        _in_context(figures["in context"], figures["compared"]["seed"]),
        _starts(figures["starts"]),
        table(
            "What the imports of function_app cost",
            "package",
            "ms",
            rows=[(name, f"{milliseconds:.1f}") for name, milliseconds in figures["imports"].items()],
        ),
        _hidden_latency(figures["hidden latency"]),
        _growth(figures["growth"]),
        _stages(figures["stages"]),
    ]


def cost(figures: Figures) -> Table:
    """What a referral costs, by program and document."""
    by_document: dict[str, Rounds] = figures["compared"]
    rows = []
    for program, name in NAMES.items():
        if program in by_document["seed"]:
            medians = (f"{_median(rounds, program):,.0f}" for rounds in by_document.values())
            rows.append((name, *medians, f"{ratio(by_document['seed'], program, 'app, 32 in flight'):.2f}"))
    return table("CPU of one referral, µs", "program", *DOCUMENTS, "seed / app", rows=rows)


def _spread(rounds: Rounds) -> Table:
    rows = []
    for program, measured in rounds.items():
        cpu = [each["cpu"] for each in measured]
        wall = f"{_median(rounds, program, 'wall'):,.0f}"
        rows.append((program, f"{statistics.median(cpu):,.0f}", f"{min(cpu):,.0f} to {max(cpu):,.0f}", wall))
    return table("The seed's referral", "program", "CPU, µs", "spread", "wall, µs", rows=rows)


def _in_context(rounds: Rounds, compared: Rounds) -> Table:
    """The parts of a referral's CPU time, measured by leaving stages out."""

    def saved(program: str, than: str) -> str:
        """The median difference of two programs in the same round."""
        pairs = zip(rounds[f"{than}, 32 in flight"], rounds[f"{program}, 32 in flight"], strict=True)
        return f"{statistics.median(one['cpu'] - other['cpu'] for one, other in pairs):,.0f}"

    floor = _median(compared, "floor, 32 in flight")
    stages = {"read": "parse and validate", "normalize": "normalize", "log": "log"}
    rows = [("the two calls, with what they need", f"{floor:,.0f}")]
    rows += [(name, saved(f"app-less-{stage}", "app")) for stage, name in stages.items()]
    rest = "everything else: timeouts, retries, tokens, gate, serializing, base64"
    rows.append((rest, f"{_median(rounds, 'app-less-all, 32 in flight') - floor:,.0f}"))
    rows.append(("in addition, with STATE_URL: the table", saved("app", "app-with-table")))
    return table("In context: CPU saved by leaving out a stage", "stage", "CPU, µs", rows=rows)


def _starts(starts: dict[str, tuple[list[float], list[float]]]) -> Table:
    rows = []
    for name, (times, memories) in starts.items():
        spread = f"{min(times):,.0f} to {max(times):,.0f}"
        ratio = f"{_start_ratio(starts, name):.2f}"
        rows.append((name, f"{statistics.median(times):,.0f}", spread, ratio, f"{statistics.median(memories):.0f}"))
    return table("A new process", "program", "CPU, ms", "spread", "ratio to first", "memory, MiB", rows=rows)


def _start_ratio(starts: dict[str, tuple[list[float], list[float]]], name: str) -> float:
    pairs = zip(starts[name][0], starts["the four packages"][0], strict=True)
    return statistics.median(one / packages for one, packages in pairs)


def _hidden_latency(points: list[Figures]) -> Table:
    rows = [
        (
            str(point["concurrency"]),
            f"{point['possible']:.0f}",
            f"{point['staggered']:.1%}",
            f"{point['together']:.1%}" if "together" in point else "",
        )
        for point in points
    ]
    columns = ("in flight", "possible per second", "staggered start", "simultaneous start")
    return table("Throughput while Partner Center takes 200 ms", *columns, rows=rows)


def _growth(marks: list[dict[str, float]]) -> Table:
    rows = [
        (f"{mark['referrals']:,}", f"{mark['cpu']:,.0f}", f"{mark['memory'] / 2**20:.0f}", f"{mark['sockets']:.0f}")
        for mark in marks
    ]
    return table("One worker, 32 in flight", "after referrals", "CPU, µs", "memory, MiB", "sockets", rows=rows)


def _stages(stages: dict[str, dict[str, list[float]]]) -> Table:
    rows = [
        (stage, *(f"{statistics.median(times[name]):,.1f}" if name in times else "" for name in DOCUMENTS))
        for stage, times in stages.items()
    ]
    return table("CPU of each stage, µs", "stage", *DOCUMENTS, rows=rows)


def goals(figures: Figures) -> Table:
    """The goals, and the measured values."""
    seed: Rounds = figures["compared"]["seed"]
    app, peer = "app, 32 in flight", {"its best": "peer, 2 in flight", "32 in flight": "peer, 32 in flight"}
    hidden, marks, starting = figures["hidden latency"][-1], figures["growth"], figures["starts"]
    first, last = (statistics.median(mark["cpu"] for mark in half) for half in (marks[1:6], marks[6:]))
    reached = [
        ("CPU: the app / the two calls", "at most", 2.3, ratio(seed, app, "floor, 32 in flight")),
        ("CPU: the SDKs, used well / the app", "at least", 1.9, ratio(seed, "sdk, 32 in flight", app)),
    ]
    for (when, program), goal in zip(peer.items(), (1.3, 0.45), strict=True):
        if program in seed:
            reached.append((f"CPU: the app / Redpanda Connect, {when}", "at most", goal, ratio(seed, app, program)))
    reached += [
        ("importing function_app / the four packages", "at most", 0.5, _start_ratio(starting, "function_app")),
        (
            "first event / importing the four packages",
            "at most",
            1.0,
            _start_ratio(starting, "function_app, and a first referral"),
        ),
        ("share of the possible rate at 200 ms, started together", "at least", 0.95, hidden["together"]),
        ("share of the possible rate at 200 ms, staggered", "at least", 0.95, hidden["staggered"]),
        ("CPU of the second 50,000 referrals / of the first", "at most", 1.1, last / first),
        ("memory after 100,000 referrals / after 1,000", "at most", 1.05, marks[-1]["memory"] / marks[0]["memory"]),
    ]
    rows = [
        (name, f"{bound} {goal}", f"{value:.2f}", "yes" if (value <= goal) == (bound == "at most") else "no")
        for name, bound, goal, value in reached
    ]
    return table("Goals", "value", "goal", "measured", "met", rows=rows)
