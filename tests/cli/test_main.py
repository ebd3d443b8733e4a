"""The frame of all commands: arguments, exit statuses, what reaches the terminal."""

import io
import re
from argparse import Namespace

import pytest

from referral_fn.cli import forward, output
from referral_fn.cli.main import COMMANDS, build_parser, main
from referral_fn.referrals.outcome import REJECT_REASONS
from tests.cli.conftest import Cli
from tests.contract import OPENAPI


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_a_command_states_the_roles_needed(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main([name, "--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert (exit_.value.code, f"Roles needed: {COMMANDS[name].ROLES}." in text) == (0, True)


def test_without_arguments_the_help_is_printed_with_examples(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    text = capsys.readouterr().out
    assert set(re.findall(r"(?m)^    (\w+)\b", text)) >= set(COMMANDS)
    examples = re.findall(r"(?m)^  (referral-fn .+?)  ", text.partition("examples:")[2])
    assert len(examples) >= 4
    for example in examples:
        build_parser().parse_args(example.split()[1:])


def test_the_version_is_that_of_the_published_api(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["--version"])
    assert (exit_.value.code, capsys.readouterr().out) == (0, f"referral-fn {OPENAPI['info']['version']}\n")


@pytest.mark.parametrize("arguments", [["unknown"], ["replay", "--json", "--whole"], ["webhook"]])
def test_wrong_usage_ends_with_status_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    assert (exit_.value.code, "usage:" in capsys.readouterr().err) == (2, True)


def test_an_unknown_reason_is_refused_with_the_list(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["replay", "--reason", "upstream-denied"])
    message = capsys.readouterr().err
    assert exit_.value.code == 2
    assert all(reason in message for reason in REJECT_REASONS)


def test_yes_alone_says_what_it_needs(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["replay", "--yes"])
    assert exit_.value.code == 2
    assert "--yes needs --requeue, which puts rejects back, or --remove-leftovers" in capsys.readouterr().err


async def test_missing_settings_are_named(cli: Cli) -> None:
    result = await cli("replay", EVENTS_URL="", REJECTS_URL="")
    failure, advice = result.err.splitlines()
    assert (result.status, failure) == (1, "Failed: EVENTS_URL is required; REJECTS_URL is required")
    assert "docs/settings.md" in advice and "make run" in advice


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
    assert main(["forward", "x"]) == 0
    assert raw.getvalue() == b"\\u0141\\xf3d\\u017a\n"
