"""Set up this folder: `.venv` with the packages of requirements-dev.txt, and on request what comes from npm.

    python3 scripts/bootstrap.py              # Python packages only: all that linters and unit tests need
    python3 scripts/bootstrap.py --azurite    # and Azurite, for everything that runs the app
    python3 scripts/bootstrap.py --tests      # and the API linters and TypeScript, for the tests of the contracts

Needs no package itself. Prints each step, and does nothing when everything is already there.
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
WORKER = "local_stack/requirements-worker.txt"
"""Microsoft's Python worker library. It declares Python 3.13 but runs on 3.11, too: pip is told to ignore what it
declares. Its dependencies are in requirements-dev.txt.
"""

NODE = "local_stack/requirements-node.txt"
PYTHON_INPUTS = ("requirements.txt", "requirements-dev.txt", WORKER, "scripts/bootstrap.py")
OLDEST_PYTHON = (3, 11)
OLDEST_NODE = 20


class SetUpError(Exception):
    """A step failed; the message says what to do."""


def main() -> int:
    """Install what is missing. Returns the exit status."""
    if sys.version_info < OLDEST_PYTHON:
        version = ".".join(map(str, sys.version_info[:2]))
        return _fail(
            f"This needs Python 3.11 or later, and python3 is {version}. Name another: make PYTHON=python3.12 …"
        )
    try:
        _set_up_python()
        if "--azurite" in sys.argv:
            _set_up_npm("Azurite", ROOT / "local_stack", VENV / "azurite")
        if "--tests" in sys.argv:
            _set_up_npm("API linters and TypeScript", ROOT / "schemas", VENV / "contracts")
    except SetUpError as error:
        return _fail(str(error))
    return 0


def _set_up_python() -> None:
    """Create the virtual environment, anew when the Python version or an input has changed."""
    stamp = VENV / "set-up"
    fingerprint = _fingerprint(sys.version, *(ROOT / name for name in PYTHON_INPUTS))
    if _is_current(stamp, fingerprint):
        return
    print("Setting up in .venv, once: about a minute, and 600 MB.", flush=True)
    _make_environment()
    _pip("Installing Python packages", "-r", "requirements-dev.txt")
    _pip("Installing Microsoft's Python worker", "--no-deps", "--ignore-requires-python", "-r", WORKER)
    stamp.write_text(fingerprint)
    print("Set up.\n", flush=True)


def _set_up_npm(title: str, source: Path, folder: Path) -> None:
    """Install what a package-lock.json lists, anew when it has changed."""
    stamp, fingerprint = folder / "set-up", _fingerprint("", source / "package-lock.json")
    if _is_current(stamp, fingerprint):
        return
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name in ("package.json", "package-lock.json"):
        shutil.copy(source / name, folder)
    command = [_npm(), "ci", "--prefix", str(folder), "--no-audit", "--no-fund", "--loglevel=error"]
    _step(f"Installing {title}", command, "Installing needs the network, or a registry that npm is configured for.")
    stamp.write_text(fingerprint)


def _is_current(stamp: Path, fingerprint: str) -> bool:
    return stamp.exists() and stamp.read_text() == fingerprint


def _fingerprint(version: str, *inputs: Path) -> str:
    digest = hashlib.sha256(version.encode())
    for path in inputs:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _make_environment() -> None:
    advice = "Python's venv module does not work here; on Debian and Ubuntu: apt install python3-venv"
    _step("Creating a virtual environment", [sys.executable, "-m", "venv", "--clear", str(VENV)], advice)


def _pip(title: str, *arguments: str) -> None:
    """Install with the environment's own pip, and only files whose hashes are in the requirements."""
    pip = [str(BIN / "python"), "-m", "pip", "install", "-q", "--disable-pip-version-check", "--require-hashes"]
    command = [*pip, *arguments]
    _step(title, command, "Installing needs the network, or a package index that pip is configured for.")


def _npm() -> str:
    """Path of this machine's npm, or of that from PyPI's Node.js wheel, which is then installed."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node and npm:
        version = subprocess.run([node, "--version"], check=False, capture_output=True, text=True).stdout
        number = version.strip().lstrip("v").split(".")[0]
        if number.isdigit() and int(number) >= OLDEST_NODE:
            return npm
    _pip("Installing Node.js", "-r", NODE)
    return str(BIN / "npm")


def _step(title: str, command: "list[str]", advice: str) -> None:
    """Run one command, and show on a terminal how long it has been running.

    Raises:
        SetUpError: it failed; the message ends with the last lines of its output.
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
    """Count the seconds until done, on a terminal only."""
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
