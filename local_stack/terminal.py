"""What `make run` prints while it runs: a line for each thing that happens to a referral, with its ID."""

from typing import Any

from rich.console import Console

from local_stack.stack import AnyQueue

console = Console(highlight=False, soft_wrap=True)

_WORKER_DIED = "Language Worker Process exited."
_SENTENCES = {
    "referral.deferred": ("deferred", "{reason}; again in {seconds} s"),
    "referral.unchanged": ("unchanged", "this version was published before: {eventId}"),
    "referral.missed": ("missed", "a notification should have announced it; requested by reconciliation"),
    "handover.failed": ("redelivered", "{reason}: {detail}"),
    "message.held": ("put back", "{detail}; again in {seconds} s"),
    "webhook.refused": ("refused", "a notification, by the check {check}: {detail}"),
    "backfill.finished": ("backfill", "{listed} listed, {requested} requested"),
    "backfill.failed": ("backfill", "stopped at page {page}: {detail}"),
}
"""By log event, those that no message on the events or rejects queue shows: a word, and the rest of the line."""


class Terminal:
    """Prints lines about referrals, and on request the app's whole log."""

    def __init__(self, *, show_log: bool) -> None:
        self._shows_log = show_log

    def log_line(self, line: str, event: dict[str, Any] | None) -> None:
        """Print a line of the app's log, or what it means.

        Args:
            line: as the host wrote it.
            event: its log event, if it is one.
        """
        if self._shows_log:
            console.print(line.rstrip("\n"), style="dim", markup=False)
        if _WORKER_DIED in line:
            console.print(
                f"[red]The app's worker process has died[/]: {line.partition(_WORKER_DIED)[2].strip()}. "
                "The host starts another one within ten seconds, and delivers its messages again within a minute."
            )
        if event and event.get("event") in _SENTENCES:
            word, rest = _SENTENCES[event["event"]]
            subject = event.get("referralId") or event.get("messageId") or event.get("run") or "-"
            _print(word, subject, rest.format_map(_OrUnknown(event)), style="yellow")

    def outcome(self, queue: AnyQueue, event: dict[str, Any]) -> None:
        """Print an event or a reject, as it came out of its queue."""
        data, subject = event["data"], event.get("subject") or "-"
        if "reason" in data:
            _print(
                "rejected", subject, f"{data['reason']}: {data['detail']}; {queue.name} has {event['id']}", style="red"
            )
            return
        changed = f"; changed: {event['changed']}" if "changed" in event else ""
        version = event["id"].partition("@")[2]
        _print("forwarded", subject, f"{data.get('name', '')}, version {version}{changed}", style="green")


class _OrUnknown(dict[str, Any]):
    """Fields of a log event; one that is missing reads `unknown`."""

    def __missing__(self, _: str) -> str:
        return "unknown"


def _print(word: str, subject: str, rest: str, *, style: str) -> None:
    console.print(f"{word:<11}", style=style, end="")
    console.print(f"  {subject:<36}  {rest}", markup=False)
