"""The command line as a process: how it starts, and how Ctrl-C and a closed pipe end it."""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from local_stack.stack import Stack
from local_stack.stand_ins.partner_center import Fault
from local_stack.stand_ins.referrals import SEED
from tests.contract import ROOT

pytestmark = pytest.mark.e2e

PROGRAM = [sys.executable, "-m", "referral_fn"]
_HEED_CTRL_C = (
    "import runpy, signal; signal.signal(signal.SIGINT, signal.default_int_handler);"
    "runpy.run_module('referral_fn', run_name='__main__', alter_sys=True)"
)
INTERRUPTIBLE = [sys.executable, "-c", _HEED_CTRL_C]
"""The program, heeding Ctrl-C, which a shell lets the commands ignore that it starts in the background."""
INTERRUPTED = 130


def test_the_repository_installs_the_command(tmp_path: Path) -> None:
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*pip, "--target", str(tmp_path), str(ROOT)], check=True, cwd=tmp_path)
    command = [str(tmp_path / "bin" / "referral-fn"), "--version"]
    result = subprocess.run(command, env={"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, check=True)
    assert result.stdout.startswith("referral-fn ")
    assert not (tmp_path / "local_stack").exists()


def test_without_its_packages_the_program_says_how_to_run_it(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "referral_fn", tmp_path / "referral_fn", ignore=shutil.ignore_patterns("__pycache__"))
    command = [sys.executable, "-S", "-m", "referral_fn", "doctor"]  # -S: no installed packages
    result = subprocess.run(command, cwd=tmp_path, env={}, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert result.stderr.startswith("The package ")
    assert "`make setup`" in result.stderr and "pip install" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("arguments", [["--help"], ["forward", "--help"], []])
def test_help_for_a_reader_that_has_gone_ends_quietly(arguments: list[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    result = subprocess.run([*PROGRAM, *arguments], stdout=writer, stderr=subprocess.PIPE, check=False, cwd=ROOT)
    os.close(writer)
    assert result.returncode in {0, 1}, (
        "argparse may ignore the error itself, and an interpreter that cannot ends with 120"
    )
    assert result.stderr == b""


def test_a_reader_that_goes_away_ends_the_command_quietly() -> None:
    program = (
        "import sys; from referral_fn import __main__; from referral_fn.cli import forward, output\n"
        "async def run(_):\n"
        "    for _ in range(10_000): output.line('x' * 1000)\n"
        "    return 0\n"
        "forward.run = run\n"
        "sys.exit(__main__.main())"
    )
    command = [sys.executable, "-c", program, "forward", "x"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout and process.stderr
        process.stdout.readline()
        process.stdout.close()  # as `head` does
        assert (process.stderr.read(), process.wait()) == (b"", 1)


def test_ctrl_c_ends_a_command_that_reads_from_a_terminal() -> None:
    terminal, inner = os.openpty()
    command = [*INTERRUPTIBLE, "forward"]
    with subprocess.Popen(command, cwd=ROOT, stdin=inner, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        assert "Ctrl-D" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        assert (process.stderr.read(), process.wait()) == ("Interrupted.\n", INTERRUPTED)
    os.close(terminal)
    os.close(inner)


async def test_ctrl_c_ends_a_command_that_waits_for_partner_center(stack: Stack) -> None:
    called = asyncio.Event()
    stack.partner_center.faults[SEED["id"]] = Fault("stall")
    stack.partner_center.on_call = lambda _: called.set()
    process = await asyncio.create_subprocess_exec(
        *(*INTERRUPTIBLE, "forward", SEED["id"]),
        cwd=ROOT,
        env=os.environ | stack.environment(await stack.fresh_queues()),
        stderr=asyncio.subprocess.PIPE,
    )
    await called.wait()
    process.send_signal(signal.SIGINT)
    _, errors = await process.communicate()
    stack.partner_center.on_call = lambda _: None
    assert (process.returncode, errors) == (INTERRUPTED, b"Interrupted.\n")
