"""`make run` as a place to work in: its settings for other terminals, what stays on the queues, what it prints."""

import asyncio
import os
import re
import signal
import stat
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest

from local_stack.shell_settings import settings_file, with_public_authorities
from local_stack.stand_ins.referrals import REFERRALS, SEED
from local_stack.terminal import Terminal, console
from tests.contract import ROOT
from tests.local_stack.test_local_stack import children_of

LEAD = REFERRALS[1]["id"]


@pytest.mark.e2e
def test_a_shell_that_loads_the_settings_has_them_and_the_command(tmp_path: Path) -> None:
    file = tmp_path / "folder" / "settings.sh"
    with settings_file(file, {"EVENTS_URL": "https://a/b?c='$d'&e"}):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        script = f'. {file}; printf "%s %s" "$EVENTS_URL" "$PATH"'
        shown = subprocess.check_output(["/bin/sh", "-c", script], env={"PATH": "/bin:/usr/bin"}, text=True)
    assert shown == f"https://a/b?c='$d'&e {ROOT / '.venv' / 'bin'}:/bin:/usr/bin"
    assert not file.exists()


def test_the_file_of_a_later_stack_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "settings.sh"
    with settings_file(file, {"A": "1"}):
        file.write_text("another")
    assert file.read_text() == "another"


def test_the_bundle_has_the_stacks_authority_and_the_public_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    (tmp_path / "root.pem").write_text("own\n")
    file = tmp_path / "folder" / "authorities.pem"
    settings = with_public_authorities({"SSL_CERT_FILE": "x", "A": "1"}, tmp_path / "root.pem", file)
    bundle = file.read_text()
    assert bundle.startswith("own\n") and bundle.count("BEGIN CERTIFICATE") > 100
    variables = "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"
    assert settings == dict.fromkeys(variables, str(file)) | {"A": "1"}
    monkeypatch.setenv("SSL_CERT_FILE", str(file))  # as in a shell that has loaded the settings
    with_public_authorities({}, tmp_path / "root.pem", file)
    assert file.read_text() == bundle


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (
            {"event": "referral.deferred", "referralId": LEAD, "reason": "upstream-throttled", "seconds": 3.5},
            f"deferred     {LEAD}  upstream-throttled; again in 3.5 s\n",
        ),
        (
            {"event": "message.held", "messageId": "m-1", "detail": "no queue [x]", "seconds": 60},
            f"put back     {'m-1':<36}  no queue [x]; again in 60 s\n",
        ),
        ({"event": "referral.forwarded", "referralId": LEAD}, ""),
    ],
)
def test_log_events_without_a_message_of_their_own_are_lines(event: dict[str, object], line: str) -> None:
    with console.capture() as capture:
        Terminal(show_log=False).log_line("INFO Function.x.User {…}", event)
    assert capture.get() == line


@dataclass
class Run:
    """A running `make run`."""

    process: asyncio.subprocess.Process
    settings: Path
    output: str = ""

    async def prints(self, pattern: str) -> None:
        """Read its output until a line matches."""
        assert self.process.stdout
        while not re.search(pattern, self.output):
            line = await self.process.stdout.readline()
            assert line, f"ended with {await self.process.wait()}: {self.output}"
            self.output += line.decode()

    async def in_a_shell(self, command: str) -> str:
        """Run a command in a shell that has loaded the settings. Returns what it prints."""
        shell = await asyncio.create_subprocess_exec(
            *("sh", "-ec", f". {self.settings}; {command}"), cwd=ROOT, stdout=asyncio.subprocess.PIPE
        )
        output, _ = await shell.communicate()
        assert shell.returncode == 0, output.decode()
        return output.decode()


@pytest.fixture
async def make_run(tmp_path: Path) -> AsyncIterator[Run]:
    settings = tmp_path / "settings.sh"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "local_stack", "--keep", "--log", "--settings", str(settings)),
        cwd=ROOT,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    run = Run(process, settings)
    await run.prints("Press Ctrl-C to stop")
    yield run
    process.send_signal(signal.SIGTERM)
    await process.communicate()
    assert not settings.exists()


@pytest.mark.e2e
async def test_make_run_is_a_place_to_work_in(make_run: Run) -> None:
    page = re.findall(r"the page +(http://[\d.:]+)", make_run.output)[0]
    partner_center = re.findall(r"Partner Center +(https://[\d.:]+)", make_run.output)[0]
    assert f". {make_run.settings}" in make_run.output
    missing = str(uuid.uuid4())
    async with aiohttp.ClientSession() as session:

        async def request(referral_id: str) -> None:
            headers = {"Prefer": "respond-async"}
            async with session.post(f"{page}/api/referrals/{referral_id}", headers=headers) as answer:
                assert answer.status == 202

        await request(missing)
        await make_run.prints(f"(?m)^rejected +{missing}  referral-not-found: ")
        async with session.put(f"{partner_center}/_faults", json={"kind": "status", "status": 429}, ssl=False):
            await request(LEAD)
            await make_run.prints(f"(?m)^deferred +{LEAD}  upstream-throttled; again in [0-9.]+ s$")
        async with session.delete(f"{partner_center}/_faults", ssl=False):
            await make_run.prints(f"(?m)^forwarded +{LEAD}  A lead from the marketplace, version ")

    python = f"'{sys.executable}' -m referral_fn"
    assert "All " in await make_run.in_a_shell(f"{python} doctor --referral {SEED['id']}")
    assert missing in await make_run.in_a_shell(f"{python} replay")
    assert "1 put back" in await make_run.in_a_shell(f"{python} replay {missing} --requeue --yes")
    assert page in await make_run.in_a_shell(f"{python} webhook show")
    assert "listed since" in await make_run.in_a_shell(f"{python} reconcile --since 2018-01-01 --dry-run")
    assert "forwarded" in await make_run.in_a_shell(f"{python} forward {REFERRALS[2]['id']}")
    await make_run.prints(f"(?m)^forwarded +{REFERRALS[2]['id']}")
    assert '"event":"referral.forwarded"' in make_run.output  # --log

    hosts = [pid for pid in children_of(make_run.process.pid) if "functions_host" in command_line(pid)]
    (worker,) = children_of(hosts[0])
    os.kill(worker, signal.SIGKILL)
    await make_run.prints("The app's worker process has died: .+ The host starts another one")


def command_line(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_bytes().decode()
