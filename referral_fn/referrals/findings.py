"""What is odd about a referral: JSON Pointers, and the warnings of its event."""

from collections.abc import Collection

from referral_fn.errors import Finding


def pointer(*keys: str | int) -> str:
    """Return the JSON Pointer (RFC 6901) made of object keys and list indices."""
    return "".join("/" + str(key).replace("~", "~0").replace("/", "~1") for key in keys)


MAX_WARNINGS = 100
"""Warnings in one event. An answer may have thousands of odd values, and the event has to fit on a queue."""


class Warnings:
    """Collects the warnings of one event. Paths are those of the event, not of the answer."""

    def __init__(self) -> None:
        self.findings: list[Finding] = []

    def add(self, path: str, rule: str) -> None:
        """Add a warning about the field at a JSON Pointer; the last one allowed says that there are more."""
        if len(self.findings) < MAX_WARNINGS - 1:
            self.findings.append(Finding(path=path, rule=rule))
        elif len(self.findings) < MAX_WARNINGS:
            self.findings.append(Finding(path="", rule="has more odd fields than are listed here"))

    def check_code(self, value: str | None, documented: Collection[str], path: str) -> None:
        """Warn if a code is none of those that Partner Center documents."""
        if value is not None and value not in documented:
            self.add(path, "is not a value that Partner Center documents")
