"""What a referral costs, compared with another commit: `python -m benchmarks.against COMMIT`.

Both versions take the same referrals from the same servers, in turn, with the packages that are installed.
"""

import argparse
import io
import statistics
import subprocess
import tarfile
import tempfile
from pathlib import Path

from rich.console import Console

from benchmarks.__main__ import MOST, ROOT, asking_for, measure, servers


def main() -> None:
    """Print the CPU of both versions, and their ratio."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.against", description=__doc__)
    parser.add_argument("commit", help="which; its benchmarks/programs.py must know the same settings")
    parser.add_argument("-n", type=int, default=3000, help="referrals in each round; default: 3000")
    parser.add_argument("--rounds", type=int, default=10, help="default: 10")
    options = parser.parse_args()
    costs: dict[str, list[float]] = {"then": [], "now": []}
    with tempfile.TemporaryDirectory() as directory, servers() as environment:
        command = ["git", "archive", options.commit]
        archive = subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.PIPE).stdout  # noqa: S603 - of a developer
        with tarfile.open(fileobj=io.BytesIO(archive)) as files:
            files.extractall(directory, filter="data")
        target = asking_for(environment)
        for number in range(options.rounds):
            for version in ("then", "now") if number % 2 else ("now", "then"):
                folder = Path(directory) if version == "then" else ROOT
                (measured,) = measure(target, "app", MOST, options.n, folder=folder)
                costs[version].append(measured["cpu"])
    console = Console(highlight=False)
    for version, cpu in costs.items():
        console.print(f"{version:<6}{statistics.median(cpu):>8,.0f} µs of CPU ({min(cpu):,.0f} to {max(cpu):,.0f})")
    ratios = [now / then for now, then in zip(costs["now"], costs["then"], strict=True)]
    console.print(f"ratio {statistics.median(ratios):>8.2f} ({min(ratios):.2f} to {max(ratios):.2f})")


if __name__ == "__main__":
    main()
