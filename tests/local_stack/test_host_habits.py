"""Details of the host's behaviour: log levels, console lines, pauses between polls, schedules, defaults."""

import io
import os
from datetime import UTC, datetime, timedelta

import pytest

from local_stack.host.backoff import Backoff
from local_stack.host.host_json import seconds
from local_stack.host.logs import HostLog, console_level
from local_stack.host.queue_listener import QueueOptions
from local_stack.host.timer_listener import next_time

LEVELS = {"default": "Warning", "Function": "Information", "Function.quiet": "Error", "Function.quiet.User": "None"}


@pytest.mark.parametrize(
    ("category", "level"),
    [
        ("Function.forward_referral.User", "Information"),
        ("Function.forward_referral", "Information"),
        ("function.QUIET", "Error"),
        ("Function.quiet.User", "None"),
        ("Host.Function.Console", "Warning"),
    ],
)
def test_the_most_specific_category_of_host_json_decides(category: str, level: str) -> None:
    assert HostLog({"logging": {"logLevel": LEVELS}}).level(category) == level


def test_without_levels_information_is_logged_and_debug_is_not() -> None:
    output = io.StringIO()
    log = HostLog({}, output)
    for level in ("Debug", "Information", "Critical"):
        log.write(level, "Host.General", level)
    assert output.getvalue() == "INFO Host.General Information\nCRITICAL Host.General Critical\n"


@pytest.mark.parametrize(
    ("line", "is_stderr", "level"),
    [
        ("all is well", True, "Information"),
        ("an ERROR", True, "Error"),
        ("it failed", True, "Error"),
        ("Unhandled Exception", True, "Error"),
        ("severe", True, "Error"),
        ("a warning about an error", True, "Warning"),
        ("an error", False, "Information"),
    ],
)
def test_the_words_of_a_line_on_stderr_decide_its_level(line: str, is_stderr: bool, level: str) -> None:
    assert console_level(line, is_stderr=is_stderr) == level


def test_the_workers_own_console_lines_belong_to_the_platform() -> None:
    output = io.StringIO()
    HostLog({}, output).console("LanguageWorkerConsoleLog ERROR: no channel", is_stderr=True)
    assert output.getvalue() == "ERROR Worker.rpcWorkerProcess  ERROR: no channel\n"


def test_pauses_between_polls_grow_as_measured() -> None:
    measured = (0.1, 0.2, 0.3, 0.5, 0.9, 1.7)
    for _ in range(50):
        backoff = Backoff(60)
        pauses = [backoff.next(found=True), *(backoff.next(found=False) for _ in measured[1:])]
        for pause, expected in zip(pauses, measured, strict=True):
            assert abs(pause - expected) <= 0.2 * (expected - 0.1) + 1e-9


@pytest.mark.parametrize("longest", [2, 10, 60])
def test_after_an_idle_period_a_message_waits_up_to_the_longest_pause(longest: float) -> None:
    backoff = Backoff(longest)
    backoff.next(found=True)
    pauses = [backoff.next(found=False) for _ in range(12)]
    assert pauses == sorted(pauses)
    assert pauses[-1] == longest
    assert backoff.next(found=True) == 0.1


def test_the_default_threshold_is_half_the_batch_times_the_cores() -> None:
    options = QueueOptions.read({})
    assert (options.batch_size, options.max_dequeue_count, options.visibility_timeout) == (16, 5, 0)
    assert options.new_batch_threshold == 8 * (os.cpu_count() or 1)
    assert (options.max_polling_interval, options.is_base64) == (60, True)
    assert QueueOptions.read({"newBatchThreshold": "3", "messageEncoding": "none"}).new_batch_threshold == 3


@pytest.mark.parametrize(("text", "length"), [("00:02:00", 120), ("00:00:00.2", 0.2), ("01:00:00", 3600)])
def test_time_spans_are_read(text: str, length: float) -> None:
    assert seconds(text) == pytest.approx(length)


@pytest.mark.parametrize(
    ("schedule", "after", "expected"),
    [
        ("0 17 * * * *", "2026-11-24T04:17:00", "2026-11-24T05:17:00"),
        ("*/10 * * * * *", "2026-11-24T04:17:01", "2026-11-24T04:17:10"),
        ("0 0 9 * * Mon-Fri", "2026-11-27T10:00:00", "2026-11-30T09:00:00"),
        ("0 0 0 13 * Fri", "2026-11-24T00:00:00", "2027-08-13T00:00:00"),
    ],
)
def test_schedules_have_seconds_first_and_both_kinds_of_day_must_match(
    schedule: str, after: str, expected: str
) -> None:
    run_at = next_time(schedule, datetime.fromisoformat(after).replace(tzinfo=UTC))
    assert run_at == datetime.fromisoformat(expected).replace(tzinfo=UTC)
    assert run_at.utcoffset() == timedelta(0)


@pytest.mark.parametrize("schedule", ["17 * * * *", "hourly", "00:05:00", "0 61 * * * *"])
def test_other_schedules_are_refused(schedule: str) -> None:
    with pytest.raises(LookupError, match="not recognized as a valid cron expression"):
        next_time(schedule, datetime.now(UTC))
