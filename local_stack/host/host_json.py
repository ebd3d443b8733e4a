"""host.json as the host reads it, with the overrides and references that app settings make."""

import json
import os
import re
from datetime import timedelta
from pathlib import Path
from typing import Any


def read_host_json(root: Path) -> dict[str, Any]:
    """host.json with the overrides of the environment: `AzureFunctionsJobHost__extensions__queues__batchSize=1`."""
    host: dict[str, Any] = json.loads((root / "host.json").read_text(encoding="utf-8"))
    for name, value in os.environ.items():
        prefix, *path = name.split("__")
        if prefix == "AzureFunctionsJobHost" and path:
            section = host
            for key in path[:-1]:
                section = section.setdefault(key, {})
            section[path[-1]] = value
    return host


def seconds(text: str) -> float:
    """A .NET time span, `hh:mm:ss` with an optional fraction, in seconds."""
    hours, minutes, rest = text.split(":")
    return timedelta(hours=int(hours), minutes=int(minutes), seconds=float(rest)).total_seconds()


def resolve(value: str) -> str:
    """A binding's value with its `%NAME%`s replaced by app settings.

    Raises:
        LookupError: there is no such setting.
    """

    def setting(match: re.Match[str]) -> str:
        if not os.environ.get(match[1]):
            raise LookupError(f"'%{match[1]}%' does not resolve to a value.")
        return os.environ[match[1]]

    return re.sub(r"%([^%]+)%", setting, value)
