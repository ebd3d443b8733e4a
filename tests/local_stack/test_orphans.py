"""What is left of `make run` when its process is killed: nothing."""

import asyncio
import contextlib
import os
import sys
from pathlib import Path

import pytest

from tests.conftest import POLL_INTERVAL
from tests.contract import ROOT

PROCESSES = Path("/proc")


def relatives(folder: Path) -> list[int]:
    """The processes that have the folder in their command or their environment."""
    found = []
    for process in PROCESSES.glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if str(folder).encode() in (process / "cmdline").read_bytes() + (process / "environ").read_bytes():
                found.append(int(process.name))
    return found


def keys(folder: Path) -> list[Path]:
    return list(folder.rglob("*.key"))


@pytest.mark.e2e
@pytest.mark.skipif(not PROCESSES.exists(), reason="lists processes by /proc")
async def test_a_killed_make_run_leaves_no_process_and_no_key(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "local_stack", "--settings", str(tmp_path / "settings.sh")),
        cwd=ROOT,
        env=os.environ | {"TMPDIR": str(tmp_path), "PYTHONUNBUFFERED": "1"},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout
    while b"http://127.0.0.1:" not in await process.stdout.readline():
        assert process.returncode is None
    children = set(relatives(tmp_path)) - {process.pid}
    assert len(children) >= 3, "Azurite, the host and its worker"
    assert keys(tmp_path)
    process.kill()
    await process.wait()
    while relatives(tmp_path) or keys(tmp_path):
        await asyncio.sleep(POLL_INTERVAL)
