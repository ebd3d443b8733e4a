"""The rules for single values of settings: readers, which return the value of a text.

Each raises ValueError with the rule that the text breaks, without the text, which may be a secret. They do without
pydantic, whose import would make indexing the functions take a third longer.
"""

import math
import re
from collections.abc import Callable
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

_QUEUE_NAME = re.compile(r"(?!.*--)[a-z0-9][a-z0-9-]{1,61}[a-z0-9]")
_ENTITY_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._/-]{0,258}[A-Za-z0-9])?")
_TABLE_PATH = re.compile(r"(/[a-z0-9]+)?/[A-Za-z][A-Za-z0-9]{2,62}")
_NCRONTAB = re.compile(r"[0-9A-Za-z*/,-]+( +[0-9A-Za-z*/,-]+){5}")
_HOST = re.compile(r"[a-z0-9-]+(\.[a-z0-9-]+)*(:[0-9]{1,5})?")
_SECRET_PATH = re.compile(r"/secrets/[A-Za-z0-9-]{1,127}")
_NAME = re.compile(r"[A-Za-z0-9.-]{1,100}")
_LONGEST_DELAY = 7 * 24 * 3600


def queue_name(url: str) -> str:
    """The queue a queue URL names: its last path segment; for Service Bus, the whole path."""
    parts = urlsplit(url)
    return parts.path.removeprefix("/") if parts.scheme == "sb" else parts.path.rpartition("/")[2]


def _split_url(url: str) -> SplitResult:
    try:
        return urlsplit(url)
    except ValueError:  # its text may quote the URL
        raise ValueError("must be a URL") from None


def https_url(url: str) -> str:
    """An https URL."""
    parts = _split_url(url)
    if parts.scheme != "https" or not parts.hostname or parts.username or parts.fragment:
        raise ValueError("must be an https URL without user info or fragment")
    return url


def referral_url(url: str) -> str:
    """The URL of a referral, with a place for its ID."""
    if https_url(url).count("{referralId}") != 1 or "{referralId}" not in _split_url(url).path:
        raise ValueError("must hold {referralId} once, in its path")
    return url


def queue_url(url: str) -> str:
    """The URL of a queue of Azure Storage, or of a queue or topic of Service Bus."""
    parts = _split_url(url)
    if parts.scheme not in ("https", "sb") or not parts.hostname or parts.username or parts.query or parts.fragment:
        raise ValueError(
            "must be https://{account}.queue.core.windows.net/{queue}"
            " or sb://{namespace}.servicebus.windows.net/{queue or topic}",
        )
    if parts.scheme == "sb" and not _ENTITY_NAME.fullmatch(queue_name(url)):
        raise ValueError("must end in a queue's or a topic's name: letters, digits and . - _ /")
    if parts.scheme == "https" and not _QUEUE_NAME.fullmatch(queue_name(url)):
        raise ValueError("must end in a queue name: 3 to 63 lower-case letters, digits and single hyphens")
    return url


def table_url(url: str) -> str:
    """The URL of a table of Azure Storage."""
    parts = _split_url(https_url(url))
    if parts.query or not _TABLE_PATH.fullmatch(parts.path):
        raise ValueError(
            "must be https://{account}.table.core.windows.net/{table}, the table's name of 3 to 63 letters and digits",
        )
    return url


def schedule(expression: str) -> str:
    """An NCRONTAB expression."""
    if not _NCRONTAB.fullmatch(expression):
        raise ValueError("must be an NCRONTAB expression of six fields, such as 0 17 * * * *")
    return expression


def hosts(text: str) -> tuple[str, ...]:
    """Host names, perhaps with ports, separated by commas."""
    names = _split(text)
    if not all(map(_HOST.fullmatch, names)):
        raise ValueError("must be host names, or host:port, separated by commas")
    return names


def secret_url(url: str) -> str:
    """The URL of a secret in Key Vault."""
    parts = _split_url(https_url(url))
    if parts.query or not _SECRET_PATH.fullmatch(parts.path):
        raise ValueError("must be https://{vault}.vault.azure.net/secrets/{name}")
    return url


def name(text: str) -> str:
    """A GUID or a domain name, as tenants and app registrations have them."""
    if not _NAME.fullmatch(text):
        raise ValueError("must be letters, digits, hyphens and dots")
    return text


def file(text: str) -> Path:
    """The path of a file."""
    path = Path(text)
    if not path.is_file():
        raise ValueError("must be the path of a file")
    return path


def one_of(*choices: str) -> Callable[[str], str]:
    """A reader of one of several words."""

    def read(text: str) -> str:
        if text not in choices:
            raise ValueError(f"must be {', '.join(choices[:-1])} or {choices[-1]}")
        return text

    return read


def whole(*, least: int, most: int | None = None) -> Callable[[str], int]:
    """A reader of whole numbers between two limits."""
    rule = f"must be a whole number, at least {least}" + (f" and at most {most}" if most else "")

    def read(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            raise ValueError(rule) from None
        if number < least or (most is not None and number > most):
            raise ValueError(rule)
        return number

    return read


def positive(*, most: float | None = None) -> Callable[[str], float]:
    """A reader of finite numbers above 0, up to a limit."""
    rule = "must be a number above 0" + (f", at most {most}" if most else "")

    def read(text: str) -> float:
        try:
            number = float(text)
        except ValueError:
            raise ValueError(rule) from None
        if not (number > 0 and math.isfinite(number)) or (most is not None and number > most):
            raise ValueError(rule)
        return number

    return read


def delays(text: str) -> tuple[float, ...]:
    """Numbers of seconds, separated by commas."""
    return tuple(map(positive(most=_LONGEST_DELAY), _split(text)))


def _split(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(","))
