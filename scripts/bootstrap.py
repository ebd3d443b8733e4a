"""Set up this folder: the packages in `.venv`, and on request what comes from npm.

    python3 scripts/bootstrap.py --run      # what the app and the local stack need, and Azurite: for `make run`
    python3 scripts/bootstrap.py            # the Python packages of linters and unit tests, too, but no Azurite
    python3 scripts/bootstrap.py --azurite  # both, for everything that tests the app in its host
    python3 scripts/bootstrap.py --tests    # and what tests take from npm: linters, generators, SDKs, a parser
    python3 scripts/bootstrap.py --peer     # and what the benchmark compares with, where it can be installed

Needs no package itself. Prints each step and what it downloads, and does nothing when everything is already there.
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
RUN = "local_stack/requirements.txt"
DEV = "requirements-dev.txt"
WORKER = "local_stack/requirements-worker.txt"
"""Microsoft's Python worker library. It declares Python 3.13 but runs on 3.11, too: pip is told to ignore what it
declares. Its dependencies are in local_stack/requirements.txt.
"""

NODE = "local_stack/requirements-node.txt"
PEER = "benchmarks/requirements-peer.txt"
NODE_TESTS = ROOT / "tests" / "contracts" / "node"
PYTHON_INPUTS = (RUN, DEV, WORKER, "pyproject.toml", "scripts/bootstrap.py")
SIZES = {"run": (20, 150), "dev": (190, 670), "azurite": (30, 80), "tests": (150, 510), "peer": (120, 400)}
"""Of each part: megabytes to download and on disk, measured on Linux with Python 3.11."""

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
    options = set(sys.argv[1:])
    try:
        _set_up({"azurite"} if "--run" in options else {"dev", *(option.strip("-") for option in options)})
    except SetUpError as error:
        return _fail(str(error))
    return 0


def _set_up(parts: "set[str]") -> None:
    """Install the named parts, as far as they are missing, and what all of them need."""
    fingerprint = _fingerprint(sys.version, *(ROOT / name for name in PYTHON_INPUTS))
    stamps = {
        "run": (VENV / "set-up", fingerprint),
        "dev": (VENV / "set-up-dev", fingerprint),
        "azurite": (VENV / "azurite" / "set-up", _fingerprint("", ROOT / "local_stack" / "package-lock.json")),
        "tests": (VENV / "contracts" / "set-up", _fingerprint("", NODE_TESTS / "package-lock.json")),
        "peer": (VENV / "set-up-peer", _fingerprint(sys.version, ROOT / PEER)),
    }
    wanted = [name for name in stamps if name in {"run", *parts}]
    is_new = not _is_current(*stamps["run"])
    missing = [name for name in wanted if is_new or not _is_current(*stamps[name])]
    if not missing:
        return
    download, disk = (sum(SIZES[name][kind] for name in missing) for kind in (0, 1))
    print(f"Setting up in .venv, once: about {download} MB to download, {disk} MB on disk.", flush=True)
    for name in missing:
        try:
            INSTALLERS[name]()
        except SetUpError as error:
            if name != "peer":
                raise
            print(f"{error}\nThe benchmark goes on without Redpanda Connect.", flush=True)
            continue
        stamp, content = stamps[name]
        stamp.write_text(content)
    print("Set up.\n", flush=True)


def _install_run() -> None:
    """Create the virtual environment anew, with the app, its command, the local stack's packages and the worker."""
    _make_environment()
    _pip("Installing the app's packages", "--require-hashes", "-r", RUN)
    _pip(
        "Installing Microsoft's Python worker",
        "--require-hashes",
        "--no-deps",
        "--ignore-requires-python",
        "-r",
        WORKER,
    )
    _pip("Installing the command referral-fn", "--no-deps", "--no-index", "--no-build-isolation", "-e", ".")


def _install_dev() -> None:
    _pip("Installing linters and test tools", "--require-hashes", "-r", DEV)


def _install_azurite() -> None:
    _install_npm("Azurite", ROOT / "local_stack", VENV / "azurite")


def _install_tests() -> None:
    _install_npm("API linters, generators and the Kusto parser", NODE_TESTS, VENV / "contracts")


def _install_peer() -> None:
    _pip("Installing Redpanda Connect", "--require-hashes", "--no-deps", "-r", PEER)


INSTALLERS = {
    "run": _install_run,
    "dev": _install_dev,
    "azurite": _install_azurite,
    "tests": _install_tests,
    "peer": _install_peer,
}
"""In this order: each needs those before it."""


def _install_npm(title: str, source: Path, folder: Path) -> None:
    """Install what a package-lock.json lists, in a folder of its own."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name in ("package.json", "package-lock.json"):
        shutil.copy(source / name, folder)
    quiet = ("--no-audit", "--no-fund", "--loglevel=error")
    command = [_npm(), "ci", "--prefix", str(folder), "--ignore-scripts", *quiet]  # no package needs its scripts
    _step(f"Installing {title}", command, "Installing needs the network, or a registry that npm is configured for.")


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
    """Install with the environment's own pip. Downloads are only accepted with their hashes."""
    command = [str(BIN / "python"), "-m", "pip", "install", "-q", "--disable-pip-version-check", *arguments]
    _step(title, command, "Installing needs the network, or a package index that pip is configured for.")


def _npm() -> str:
    """Path of this machine's npm, or of that from PyPI's Node.js wheel, which is then installed."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node and npm:
        version = subprocess.run([node, "--version"], check=False, capture_output=True, text=True).stdout
        number = version.strip().lstrip("v").split(".")[0]
        if number.isdigit() and int(number) >= OLDEST_NODE:
            return npm
    _pip("Installing Node.js (60 MB)", "--require-hashes", "-r", NODE)
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
