"""Run the commands that README and docs mark as runnable, as printed, in a fresh copy with an empty home directory.

    python3 scripts/run_docs.py                 # installs everything anew in the copy, as for a first reader
    python3 scripts/run_docs.py --venv .venv    # uses an environment that is there, as the test suite does
    python3 scripts/run_docs.py --list          # only lists them

A comment before a code block marks it:

    <!-- run -->                      run it; it must succeed
    <!-- run; prints: TEXT -->        and its output must contain the text
    <!-- run until: TEXT -->          keep it running in the background once its output contains the text
    <!-- save as NAME -->             save it as a file

All blocks of all pages run in one shell, one after the other. Where the page has `{ID}`, they
get the ID of a referral of the local stack.
"""

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGES = ("README.md", "docs/local-stack.md", "docs/architecture.md", "docs/consumers.md", "docs/operations.md")
PLACEHOLDERS = dict.fromkeys(("{ID}", "{an ID you know}"), "fa2ebe8d-754c-4d43-baa1-c31688a9c8ff")
USUAL_ADDRESS = "127.0.0.1:7071"
TIMEOUT = 240
"""Seconds that a block may take; the first one may install everything."""

_MARK = re.compile(r"<!-- (?:run(?P<rule>; prints| until)?(?:: (?P<text>.+?))?|save as (?P<name>\S+)) -->")
_DONE = "== done =="


class CommandFailedError(Exception):
    """A command of the documentation does not work; the message has its output."""


@dataclass(frozen=True)
class Block:
    """A marked code block."""

    page: str
    code: str
    rule: str
    """`run`, `prints`, `until` or `save`."""
    text: str = ""
    """What its output must contain, or the name of the file."""


def blocks(page: str) -> Iterator[Block]:
    """The marked blocks of a page, fenced or indented."""
    lines = (ROOT / page).read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines, 1):
        if mark := _MARK.fullmatch(line.strip()):
            rule = "save" if mark["name"] else (mark["rule"] or "run").strip("; ")
            yield Block(page, _code(lines[number:]), rule, mark["name"] or mark["text"] or "")


def _code(lines: list[str]) -> str:
    """The code block at the start of the lines."""
    text = "\n".join(lines).lstrip("\n") + "\n"
    if fenced := re.match(r"( *)```\w*\n(.*?)^\1```", text, re.DOTALL | re.MULTILINE):
        return textwrap.dedent(fenced[2])
    indented = re.match(r"(?: {4}.*\n|\n)+", text)
    return textwrap.dedent(indented[0] if indented else "").strip("\n") + "\n"


class Shell:
    """One shell in which blocks run after each other, as a reader types them."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self._folder = folder
        self._environment = environment
        self._address = USUAL_ADDRESS
        self._background: list[subprocess.Popen[str]] = []
        self._discarding: list[threading.Thread] = []
        self._shell = self._start(["bash", "-e"])

    def _start(self, command: list[str]) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            command,
            cwd=self._folder,
            env=self._environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(self, block: Block) -> None:
        """Run a block.

        Raises:
            CommandFailedError: it failed, took too long, or its output lacks a text.
        """
        code = block.code.replace(USUAL_ADDRESS, self._address)
        for placeholder, value in PLACEHOLDERS.items():
            code = code.replace(placeholder, value)
        if block.rule == "save":
            (self._folder / block.text).write_text(code, encoding="utf-8")
        elif block.rule == "until":
            process = self._start(["bash", "-ec", code])
            self._background.append(process)
            output = _read_until(process, block.text, block)
            if address := re.search(r"the page +http://(127\.0\.0\.1:\d+)", output):
                self._address = address[1]
            self._discarding.append(threading.Thread(target=_discard, args=(process,)))
            self._discarding[-1].start()
        else:
            self._type(f"{code}echo '{_DONE}'\n")
            output = _read_until(self._shell, _DONE, block)
            if block.text not in output:
                raise CommandFailedError(f"{block.page}: the output lacks {block.text!r}:\n{block.code}\n{output}")

    def _type(self, text: str) -> None:
        assert self._shell.stdin  # noqa: S101 - it was started with a pipe
        self._shell.stdin.write(text)
        self._shell.stdin.flush()

    def close(self) -> None:
        """End the shell, and Ctrl-C what runs in the background."""
        for process in (self._shell, *self._background):
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGTERM if process is self._shell else signal.SIGINT)
        for process in (self._shell, *self._background):
            process.wait(timeout=60)
        for thread in self._discarding:
            thread.join()
        for process in (self._shell, *self._background):
            for pipe in (process.stdin, process.stdout):
                if pipe:
                    pipe.close()


def _read_until(process: "subprocess.Popen[str]", text: str, block: Block) -> str:
    """Read a process's output up to a line with a text.

    Raises:
        CommandFailedError: the process ended before, or took too long.
    """
    output = ""
    limit = threading.Timer(TIMEOUT, process.kill)
    limit.start()
    try:
        for line in process.stdout or ():
            output += line
            if text in line:
                return output.removesuffix(f"{_DONE}\n")
    finally:
        limit.cancel()
    raise CommandFailedError(f"{block.page}: this failed:\n{block.code}\n{output}")


def _discard(process: "subprocess.Popen[str]") -> None:
    for _ in process.stdout or ():
        pass


def run_all(venv: Path | None) -> None:
    """Run all blocks in a copy of the files that Git knows.

    Args:
        venv: an environment to use; None has the commands set up their own.

    Raises:
        CommandFailedError: a command does not work.
    """
    with tempfile.TemporaryDirectory(prefix="referral-fn-docs-") as folder:
        copy, home = Path(folder) / "referral-fn", Path(folder) / "home"
        home.mkdir()
        files = subprocess.run(
            ["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True
        ).stdout.split("\0")
        for name in filter(None, files):
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, copy / name)
        environment = os.environ | {"HOME": str(home)}
        if venv:
            (copy / ".venv").symlink_to(venv.resolve())
            environment["PYTHON"] = "true"  # the Makefile's name for what sets everything up
        shell = Shell(copy, environment)
        try:
            for page in PAGES:
                for block in blocks(page):
                    started = time.monotonic()
                    shell.run(block)
                    print(f"{time.monotonic() - started:6.1f} s  {page}: {block.code.splitlines()[0]}", flush=True)
        finally:
            shell.close()


def main() -> int:
    """The command line. Returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--venv", type=Path, help="an environment to use in place of a new one")
    parser.add_argument("--list", action="store_true", help="list the blocks, and run nothing")
    options = parser.parse_args()
    if options.list:
        for block in (block for page in PAGES for block in blocks(page)):
            print(f"{block.page}: {block.rule} {block.text}\n{block.code}")
        return 0
    try:
        run_all(options.venv)
    except CommandFailedError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
