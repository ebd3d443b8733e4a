"""The frame of all commands: arguments, exit statuses, what reaches the terminal."""

import io
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import pytest

from referral_fn.cli import forward, output
from referral_fn.cli.main import COMMANDS, INTERRUPTED, main
from tests.cli.conftest import Cli

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.e2e
def test_the_package_runs_as_a_program() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "referral_fn", "--help"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    text = " ".join(result.stdout.split())
    assert all(f" {name} " in text for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_a_command_states_the_roles_needed(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main([name, "--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert (exit_.value.code, f"Roles needed: {COMMANDS[name].ROLES}." in text) == (0, True)


@pytest.mark.parametrize("arguments", [[], ["unknown"], ["replay", "--json", "--whole"], ["webhook"]])
def test_wrong_usage_ends_with_status_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    assert (exit_.value.code, "usage:" in capsys.readouterr().err) == (2, True)


def test_ctrl_c_ends_with_a_word_and_no_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], logging_restored: None
) -> None:
    async def interrupted(_: Namespace) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(forward, "run", interrupted)
    assert main(["forward", "x"]) == INTERRUPTED
    assert capsys.readouterr().err == "Interrupted.\n"


async def test_missing_settings_are_named(cli: Cli) -> None:
    result = await cli("replay", EVENTS_URL="", REJECTS_URL="")
    assert (result.status, result.err) == (1, "Failed: EVENTS_URL is required; REJECTS_URL is required\n")


@pytest.mark.e2e
def test_a_reader_that_goes_away_ends_the_command_quietly() -> None:
    program = (
        "import sys; from referral_fn.cli import forward, main, output\n"
        "async def run(_):\n"
        "    for _ in range(10_000): output.line('x' * 1000)\n"
        "    return 0\n"
        "forward.run = run\n"
        "sys.exit(main.main(['forward']))"
    )
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout and process.stderr
        process.stdout.readline()
        process.stdout.close()  # as `head` does
        assert (process.stderr.read(), process.wait()) == (b"", 1)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("Łódź 東京 مرحبا 👍", "Łódź 東京 مرحبا 👍"),
        ("a\x1b[31mb", "a\\u001b[31mb"),
        ("a\nb\tc\x9b", "a\\u000ab\\u0009c\\u009b"),
        ("\u202eabc\u2066", "\\u202eabc\\u2066"),
        ("\u2028\ue000\ud800", "\\u2028\\ue000\\ud800"),
        ("\U000e0041", "\\udb40\\udc41"),
        ("[bold]x[/]", "[bold]x[/]"),
    ],
)
def test_text_without_a_glyph_is_escaped(text: str, shown: str) -> None:
    assert output.visible(text) == shown


def test_a_terminal_that_lacks_a_letter_gets_its_escape(
    monkeypatch: pytest.MonkeyPatch, logging_restored: None
) -> None:
    async def run(_: Namespace) -> int:
        output.line("Łódź")
        return 0

    raw = io.BytesIO()
    monkeypatch.setattr(forward, "run", run)
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(raw, encoding="ascii"))
    assert main(["forward"]) == 0
    assert raw.getvalue() == b"\\u0141\\xf3d\\u017a\n"
