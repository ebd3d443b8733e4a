"""The benchmark's programs do what they are measured at."""

import subprocess
import sys
from collections.abc import Iterator

import pytest

from benchmarks import peer, profile, programs, starts
from benchmarks.__main__ import ROOT, asking_for, measure, servers
from benchmarks.documents import DOCUMENTS

pytestmark = pytest.mark.e2e  # each program is a process of its own


@pytest.fixture(scope="module")
def environment() -> Iterator[dict[str, str]]:
    with servers() as environment:
        yield environment


@pytest.mark.parametrize("document", DOCUMENTS)
def test_the_app_forwards_each_document(environment: dict[str, str], document: str) -> None:
    (measured,) = measure(asking_for(environment, document), "app", 2, 8)
    assert measured["cpu"] > 0


@pytest.mark.parametrize("program", ["bare", "floor", "app-less-all", "sdk"])
def test_each_program_takes_referrals_to_the_queue(environment: dict[str, str], program: str) -> None:
    (measured,) = measure(asking_for(environment), program, 2, 8)
    assert measured["cpu"] > 0


@pytest.mark.parametrize("program", [name for name in programs.PROGRAMS if name.startswith("app")])
def test_no_program_of_the_app_pays_for_opentelemetry(environment: dict[str, str], program: str) -> None:
    script = f"""
import asyncio
from benchmarks.programs import PROGRAMS

async def main():
    async with PROGRAMS["{program}"]() as forward:
        await forward()
    from referral_fn import telemetry
    print(telemetry.opentelemetry)

asyncio.run(main())
"""
    run = [sys.executable, "-c", script]
    target = asking_for(environment)
    assert subprocess.run(run, check=True, capture_output=True, text=True, env=target).stdout == "None\n"


@pytest.mark.skipif(not peer.is_installed(), reason="Redpanda Connect is not installed")
def test_the_peer_takes_referrals_to_the_queue(environment: dict[str, str]) -> None:
    (measured,) = measure(asking_for(environment), "peer", 2, 8)
    assert measured["cpu"] > 0


def test_a_first_referral_is_forwarded_by_a_new_process(environment: dict[str, str]) -> None:
    assert set(starts.rounds(environment, 1)) >= {"the four packages", "function_app, and a first referral"}


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="no repository")
def test_a_commit_is_compared_with_what_is_here() -> None:
    run = [sys.executable, "-m", "benchmarks.against", "HEAD", "--rounds", "1", "-n", "64"]
    then, now, ratio = subprocess.run(run, check=True, capture_output=True, text=True).stdout.splitlines()
    assert (then.split()[0], now.split()[0], ratio.split()[0]) == ("then", "now", "ratio")
    assert float(ratio.split()[1]) > 0


def test_the_profile_counts_each_part_of_the_app() -> None:
    run = [sys.executable, "-m", "benchmarks.profile", "-n", "500"]
    lines = subprocess.run(run, check=True, capture_output=True, text=True).stdout.splitlines()
    shares = {line[:50].strip(): int(line[50:].strip().rstrip("%")) for line in lines[1:]}
    assert shares.keys() == {*profile.PARTS, profile.REST}
    assert max(shares, key=shares.__getitem__) == "HTTP client, TLS and event loop"
    assert sum(shares.values()) == pytest.approx(100, abs=5)
