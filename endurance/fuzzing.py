"""Coverage-guided fuzzing: mutated inputs for everything that reads untrusted bytes; any undocumented error fails.

An input that reaches a line of the package for the first time, or has an outcome that none had before, is kept, and
further inputs are derived from it.
"""

import argparse
import functools
import os
import random
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table

from endurance.fuzz_targets import Target, targets
from endurance.lines import Lines

DEFAULT_INPUTS = 1_000_000
MAX_SECONDS = 1.0
"""CPU time that one input may take."""

_MAX_CORPUS = 2000
_MAX_OUTCOMES = 5000
_PACKAGE = "referral_fn"


@dataclass
class Defect:
    """An undocumented error, with the shortest input that causes it."""

    kind: str
    data: bytes
    trace: str
    count: int = 1


@dataclass
class Result:
    """What fuzzing one target came to."""

    target: str
    inputs: int = 0
    accepted: int = 0
    seconds: float = 0
    slowest: float = 0
    """CPU seconds of the slowest input."""
    lines: int = 0
    """Lines of the package that ran for the first time in this target."""
    corpus: list[bytes] = field(default_factory=list)
    outcomes: set[str] = field(default_factory=set)
    defects: dict[str, Defect] = field(default_factory=dict)

    def add(self, error: Exception, data: bytes) -> None:
        """Record a defect; those of the same type and place are one."""
        frames = traceback.extract_tb(error.__traceback__)
        own = [frame for frame in frames if f"/{_PACKAGE}/" in frame.filename] or frames
        place = f"{Path(own[-1].filename).name}:{own[-1].lineno}" if own else "?"
        kind = f"{type(error).__name__} at {place}"
        known = self.defects.setdefault(kind, Defect(kind, data, "".join(traceback.format_exception(error)), 0))
        known.count += 1
        if len(data) < len(known.data):
            known.data = data


class SlowInputError(Exception):
    """An input took longer than `MAX_SECONDS`."""


def _fuzz_by_name(name: str, inputs: int, seed: int) -> Result:
    """Fuzz one target, in any process."""
    warnings.simplefilter("ignore")  # cryptography warns of what is odd in certificates
    target = next(target for target in targets() if target.name == name)
    lines = Lines()
    try:
        return fuzz(target, max(inputs, len(target.seeds)), random.Random(seed), lines)
    finally:
        lines.close()


def fuzz(target: Target, inputs: int, rng: random.Random, lines: Lines) -> Result:
    """Call a target with its seeds and then with mutated inputs, until there have been enough."""
    result = Result(target.name)
    started, known_lines = time.perf_counter(), lines.count
    for data in _inputs(target, inputs, rng, result.corpus):
        before, cpu = lines.count, time.process_time()
        is_new = _try(target, data, result, lines)
        seconds = time.process_time() - cpu
        result.slowest = max(result.slowest, seconds)
        if seconds > MAX_SECONDS:
            result.add(SlowInputError(f"{seconds:.1f} s"), data)
        if is_new or lines.count > before:
            result.corpus.append(data)
            if len(result.corpus) > _MAX_CORPUS:
                del result.corpus[rng.randrange(len(target.seeds), len(result.corpus))]
    result.seconds, result.lines = time.perf_counter() - started, lines.count - known_lines
    return result


def _inputs(target: Target, count: int, rng: random.Random, corpus: list[bytes]) -> Iterator[bytes]:
    yield from target.seeds[:count]
    for _ in range(count - len(target.seeds)):
        kept = corpus or target.seeds
        pools = (kept, kept, target.seeds, kept[-20:])  # what is new leads to what is next to it
        yield target.mutate(rng, rng.choice(rng.choice(pools)), kept)


def _try(target: Target, data: bytes, result: Result, lines: Lines) -> bool:
    """Call the target once. Returns whether the outcome is new."""
    result.inputs += 1
    try:
        outcome = lines.run(target.run, data)
    except Exception as error:  # noqa: BLE001 - finding these is what this is for
        result.add(error, data)
        return False
    result.accepted += "accepted" in outcome
    is_new = outcome not in result.outcomes and len(result.outcomes) < _MAX_OUTCOMES
    if is_new:
        result.outcomes.add(outcome)
    return is_new


def _fuzz_all(names: list[str], inputs: int, seed: int, jobs: int) -> Iterator[Result]:
    run = functools.partial(_fuzz_by_name, inputs=inputs, seed=seed)
    if jobs == 1:
        yield from map(run, names)
        return
    with ProcessPoolExecutor(min(jobs, len(names))) as pool:
        yield from pool.map(run, names)


def _table(results: list[Result]) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in ("target", "inputs", "accepted", "outcomes", "kept", "lines", "a second", "slowest", "unhandled"):
        table.add_column(name, justify="left" if name == "target" else "right")
    for result in results:
        table.add_row(
            result.target,
            f"{result.inputs:,}",
            f"{result.accepted / result.inputs:.0%}",
            f"{len(result.outcomes):,}",
            f"{len(result.corpus):,}",
            f"{result.lines:,}",
            f"{result.inputs / result.seconds:,.0f}",
            f"{result.slowest * 1000:,.0f} ms",
            f"{sum(defect.count for defect in result.defects.values()):,}",
        )
    return table


def _report(result: Result, folder: Path) -> None:
    """Write each defect's input into a file, and print how to run it again."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, defect in enumerate(result.defects.values(), 1):
        file = folder / f"{result.target}-{number}"
        file.write_bytes(defect.data)
        print(f"\n{result.target}: {defect.kind}, {defect.count:,} times\n{defect.trace}")
        print(f"again: python -m endurance.fuzzing --target {result.target} --input {file}")


def _parse_arguments(names: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m endurance.fuzzing", description=__doc__)
    parser.add_argument("-n", type=int, default=DEFAULT_INPUTS, help="inputs for all targets together (%(default)s)")
    parser.add_argument("--target", choices=names, action="append", help="only this one; may be repeated")
    parser.add_argument("--seed", type=int, help="repeats the run that printed this number")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes (%(default)s)")
    parser.add_argument("--input", type=Path, help="a file: call the target with it, once")
    default = Path(tempfile.gettempdir()) / "referral-fn-fuzzing"
    parser.add_argument("--folder", type=Path, default=default, help="where failing inputs go (%(default)s)")
    options = parser.parse_args()
    if options.input and not options.target:
        parser.error("--input needs a --target")
    return options


def main() -> int:
    """Fuzz the chosen targets, one per core at a time. Returns the exit status: 1 if anything was unhandled."""
    everything = targets()
    options = _parse_arguments([target.name for target in everything])
    if options.input:
        (target,) = (target for target in everything if target.name in options.target)
        print(target.run(options.input.read_bytes()))
        return 0
    chosen = options.target or [target.name for target in everything]
    seed = random.SystemRandom().randrange(2**32) if options.seed is None else options.seed
    console = Console(width=None if sys.stdout.isatty() else 100)
    console.print(f"{options.n:,} inputs, Python {sys.version.split()[0]}, --seed {seed}")
    started = time.perf_counter()
    results = []
    for result in _fuzz_all(chosen, options.n // len(chosen), seed, options.jobs):
        results.append(result)
        console.print(f"{result.target}: {result.inputs:,} inputs in {result.seconds:,.0f} s")
    console.print(_table(results))
    console.print(f"{time.perf_counter() - started:,.0f} s")
    for result in results:
        _report(result, options.folder)
    return int(any(result.defects for result in results))


if __name__ == "__main__":
    sys.exit(main())
