"""`python -m referral_fn`, and the console script `referral-fn`."""

import os
import sys

OLDEST_PYTHON = (3, 11)
HOW_TO_RUN = (
    "{problem}. In the repository, run `make setup`, then `.venv/bin/referral-fn`. "
    "To install the command for yourself, run `pip install '.[cli]'` there."
)
INTERRUPTED = 130
"""The exit status after Ctrl-C, as shells have it."""


def main() -> int:
    """Run the command line.

    Returns:
        The exit status: 0 when all went well, 1 when something failed, 2 for invalid usage, 130 after Ctrl-C. Ctrl-C
        and a closed pipe end it without a traceback.
    """
    try:
        return _run()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the interpreter flushes it on exit
        return 1
    except KeyboardInterrupt:
        _complain("Interrupted.")
        return INTERRUPTED


def _run() -> int:
    if sys.version_info < OLDEST_PYTHON:
        version = ".".join(map(str, sys.version_info[:2]))
        _complain(HOW_TO_RUN.format(problem=f"This needs Python 3.11 or later, and this is Python {version}"))
        return 1
    try:
        from referral_fn.cli.main import main as run  # noqa: PLC0415 - its packages may be missing
    except ModuleNotFoundError as error:
        _complain(HOW_TO_RUN.format(problem=f"The package {error.name} is not installed for {sys.executable}"))
        return 1
    try:
        status = run()
    except SystemExit as exit_:  # argparse has printed help, or what is wrong with the arguments
        status = int(exit_.code or 0)
    print(end="", flush=True)  # noqa: T201 - a closed pipe is noticed here, not when the interpreter ends
    return status


def _complain(text: str) -> None:
    print(text, file=sys.stderr)  # noqa: T201 - cli/output.py cannot be imported without the packages


if __name__ == "__main__":
    sys.exit(main())
