"""The rules for single values of settings, as annotated types. A broken rule is reported without the value."""

import re
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_core import PydanticCustomError

_QUEUE_NAME = re.compile(r"(?!.*--)[a-z0-9][a-z0-9-]{1,61}[a-z0-9]")
_ENTITY_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._/-]{0,258}[A-Za-z0-9])?")
_TABLE_PATH = re.compile(r"(/[a-z0-9]+)?/[A-Za-z][A-Za-z0-9]{2,62}")
_NCRONTAB = re.compile(r"[0-9A-Za-z*/,-]+( +[0-9A-Za-z*/,-]+){5}")
_HOST = re.compile(r"[a-z0-9-]+(\.[a-z0-9-]+)*(:[0-9]{1,5})?")
_SECRET_PATH = re.compile(r"/secrets/[A-Za-z0-9-]{1,127}")
_LONGEST_DELAY = 7 * 24 * 3600


def queue_name(url: str) -> str:
    """The queue a queue URL names: its last path segment; for Service Bus, the whole path."""
    parts = urlsplit(url)
    return parts.path.removeprefix("/") if parts.scheme == "sb" else parts.path.rpartition("/")[2]


def _https(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme != "https" or not parts.hostname or parts.username or parts.fragment:
        raise PydanticCustomError("https", "must be an https URL without user info or fragment")
    return url


def _referral_url(url: str) -> str:
    if _https(url).count("{referralId}") != 1 or "{referralId}" not in urlsplit(url).path:
        raise PydanticCustomError("template", "must hold {referralId} once, in its path")
    return url


def _queue_url(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("https", "sb") or not parts.hostname or parts.username or parts.query or parts.fragment:
        raise PydanticCustomError(
            "queue",
            "must be https://{account}.queue.core.windows.net/{queue}"
            " or sb://{namespace}.servicebus.windows.net/{queue or topic}",
        )
    if parts.scheme == "sb" and not _ENTITY_NAME.fullmatch(queue_name(url)):
        raise PydanticCustomError("queue", "must end in a queue's or a topic's name: letters, digits and . - _ /")
    if parts.scheme == "https" and not _QUEUE_NAME.fullmatch(queue_name(url)):
        raise PydanticCustomError(
            "queue", "must end in a queue name: 3 to 63 lower-case letters, digits and single hyphens"
        )
    return url


def _table_url(url: str) -> str:
    parts = urlsplit(_https(url))
    if parts.query or not _TABLE_PATH.fullmatch(parts.path):
        raise PydanticCustomError(
            "table",
            "must be https://{account}.table.core.windows.net/{table}, the table's name of 3 to 63 letters and digits",
        )
    return url


def _schedule(expression: str) -> str:
    if not _NCRONTAB.fullmatch(expression):
        raise PydanticCustomError("schedule", "must be an NCRONTAB expression of six fields, such as 0 17 * * * *")
    return expression


def _hosts(hosts: tuple[str, ...]) -> tuple[str, ...]:
    if not hosts or not all(_HOST.fullmatch(host) for host in hosts):
        raise PydanticCustomError("hosts", "must be host names, or host:port, separated by commas")
    return hosts


def _split_list(text: Any) -> Any:
    return [part.strip() for part in text.split(",")] if isinstance(text, str) else text


def _secret_url(url: str) -> str:
    parts = urlsplit(_https(url))
    if parts.query or not _SECRET_PATH.fullmatch(parts.path):
        raise PydanticCustomError("secret", "must be https://{vault}.vault.azure.net/secrets/{name}")
    return url


HttpsUrl = Annotated[str, AfterValidator(_https)]
ReferralUrl = Annotated[str, AfterValidator(_referral_url)]
QueueUrl = Annotated[str, AfterValidator(_queue_url)]
TableUrl = Annotated[str, AfterValidator(_table_url)]
SecretUrl = Annotated[str, AfterValidator(_secret_url)]
Schedule = Annotated[str, AfterValidator(_schedule)]
Hosts = Annotated[tuple[str, ...], BeforeValidator(_split_list), AfterValidator(_hosts)]
Delay = Annotated[float, Field(gt=0, le=_LONGEST_DELAY, allow_inf_nan=False)]
Delays = Annotated[tuple[Delay, ...], BeforeValidator(_split_list)]
