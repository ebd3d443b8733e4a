"""The app settings: read from the environment and checked, with all problems reported together."""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, TypeVar
from urllib.parse import urlsplit

from referral_fn import setting_types as types
from referral_fn.setting_types import queue_name

CONNECTION = "ReferralRequests"
"""The name of the queue trigger's connection, a prefix of settings that the host reads."""

MAX_DEQUEUE_COUNT = "AzureFunctionsJobHost__extensions__queues__maxDequeueCount"
"""Overrides host.json, as documented in "Override host.json values"; and must be the same for host and app."""

_AUTH_CHOICE = (
    "is required: app-user for today's referrals API, which wants an app with a user; federated-app for the 2018 API"
    " with an app alone; managed-identity for a gateway of your own; or developer for your `az login`"
)


@dataclass(frozen=True, slots=True)
class SettingProblem:
    """A setting's name and the rule it breaks. Never its value, which may be a secret."""

    name: str
    rule: str


Problems = list[SettingProblem]


class SettingsError(Exception):
    """Settings are missing or invalid; `problems` lists all of them, in the order of their names."""

    def __init__(self, problems: tuple[SettingProblem, ...]) -> None:
        super().__init__("; ".join(f"{problem.name} {problem.rule}" for problem in problems))
        self.problems = problems


def _setting(name: str, read: Callable[[str], Any], default: Any = MISSING) -> Any:
    """A setting that comes from an environment variable.

    Args:
        name: the variable.
        read: returns the value of its text, or raises ValueError with the rule that it breaks.
        default: the value without it; without a default, it is required.
    """
    return field(default=default, metadata={"name": name, "read": read})


def _host_json_limit() -> int:
    """The maxDequeueCount of host.json; without one the host's default is 5. An installed command has no host.json."""
    path = Path(__file__).parent.parent / "host.json"
    host_json = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return int(host_json.get("extensions", {}).get("queues", {}).get("maxDequeueCount", 5))


@dataclass(frozen=True, kw_only=True)
class CredentialSettings:
    """What decides whose tokens are used."""

    referrals_auth: Literal["app-user", "federated-app", "managed-identity", "developer"] = _setting(
        "REFERRALS_AUTH", types.one_of("app-user", "federated-app", "managed-identity", "developer")
    )
    """Whose tokens Partner Center sees. No default: what works depends on the API and the tenant."""
    client_id: str | None = _setting("AZURE_CLIENT_ID", str, None)
    app_tenant_id: str | None = _setting("REFERRALS_APP_TENANT_ID", types.name, None)
    app_client_id: str | None = _setting("REFERRALS_APP_CLIENT_ID", types.name, None)
    refresh_token_secret: str | None = _setting("REFERRALS_REFRESH_TOKEN_SECRET", types.secret_url, None)
    referrals_scope: str = _setting("REFERRALS_SCOPE", str, "https://api.partner.microsoft.com/.default")


@dataclass(frozen=True, kw_only=True)
class Settings(CredentialSettings):
    """All of the app's settings."""

    referrals_url: str = _setting(
        "REFERRALS_URL",
        types.referral_url,
        "https://api.partner.microsoft.com/v1.0/engagements/referrals/{referralId}",
    )
    events_url: str = _setting("EVENTS_URL", types.queue_url)
    rejects_url: str = _setting("REJECTS_URL", types.queue_url)
    requests_url: str = _setting("REQUESTS_URL", types.queue_url)
    state_url: str | None = _setting("STATE_URL", types.table_url, None)
    """The table that remembers what was forwarded; None turns off everything that needs it."""
    state_retention_days: int = _setting("STATE_RETENTION_DAYS", types.whole(least=1, most=3650), 400)
    """Days after its last event after which the row of a closed referral is removed."""
    reconcile_schedule: str = _setting("RECONCILE_SCHEDULE", types.schedule, "0 17 * * * *")
    backfill_rate: float = _setting("BACKFILL_RATE", types.positive(most=1000), 5)
    """How many referrals a second a backfill requests. What Partner Center allows is not published."""
    contacts: Literal["full", "contactable", "consented", "none"] = _setting(
        "REFERRAL_CONTACTS", types.one_of("full", "contactable", "consented", "none"), "full"
    )
    webhook_url: str | None = _setting("WEBHOOK_URL", types.https_url, None)
    """Where notifications should go, if not to the app's own host name."""
    website_hostname: str | None = _setting("WEBSITE_HOSTNAME", str, None)
    """The app's host name, which Azure sets."""
    webhook_api: str = _setting("WEBHOOK_API", types.https_url, "https://api.partnercenter.microsoft.com")
    webhook_certificate_hosts: tuple[str, ...] = _setting(
        "WEBHOOK_CERTIFICATE_HOSTS", types.hosts, ("3psostorageacct.blob.core.windows.net",)
    )
    webhook_extra_roots: Path | None = _setting("WEBHOOK_EXTRA_ROOTS", types.file, None)  # noqa: RUF009 - returns a field
    """A PEM file of roots that signing certificates may chain to, in addition to Mozilla's."""
    webhook_max_age: float | None = _setting("WEBHOOK_MAX_AGE", types.positive(), None)
    """Seconds after which a notification is refused. No limit by default: Partner Center retries up to ten times."""
    service_bus_max_message: int = _setting(
        "SERVICE_BUS_MAX_MESSAGE", types.whole(least=64 * 1024, most=100 * 1024 * 1024), 256 * 1024
    )
    """Bytes, properties included: 256 KiB on Standard, up to 100 MiB on Premium, by entity."""
    service_bus_max_delivery_count: int = _setting("SERVICE_BUS_MAX_DELIVERY_COUNT", types.whole(least=3), 10)
    """How often Service Bus delivers a request before it dead-letters it: the queue's own setting, 10 by default."""
    max_dequeue_count: int = _setting(MAX_DEQUEUE_COUNT, types.whole(least=3), _host_json_limit())
    """How often the host delivers a request from a Storage queue before it moves it to the poison queue."""
    retry_budget: float = _setting("REFERRALS_RETRY_BUDGET", types.positive(most=30), 20)
    """Seconds that all quick attempts at one referral may take together."""
    deferral_schedule: tuple[float, ...] = _setting(
        "REFERRALS_DEFERRAL_SCHEDULE", types.delays, (10, 60, 300, 1800, 7200, 21600, 43200, 86400)
    )
    """Seconds to wait before each further attempt at a request that failed."""

    @property
    def source(self) -> str:
        """The referrals collection's URL: `REFERRALS_URL` up to the ID."""
        return self.referrals_url.split("/{referralId}")[0]

    @property
    def expected_webhook_url(self) -> str | None:
        """The URL that the webhook registration should name; None if it is not known."""
        if self.webhook_url or not self.website_hostname:
            return self.webhook_url
        return f"https://{self.website_hostname}/api/webhooks/partner-center"

    @property
    def max_deliveries(self) -> int:
        """How often a request is delivered before the host, or Service Bus, gives it up."""
        on_bus = self.requests_url.startswith("sb://")
        return self.service_bus_max_delivery_count if on_bus else self.max_dequeue_count


M = TypeVar("M", bound=CredentialSettings)


def on_service_bus(environment: Mapping[str, str]) -> bool:
    """Whether requests arrive on Service Bus. Works even when other settings are invalid."""
    return environment.get("REQUESTS_URL", "").strip().startswith("sb://")


def read_settings(environment: Mapping[str, str]) -> Settings:
    """Read and check every setting. A blank variable counts as absent, as it does in the portal.

    Raises:
        SettingsError: with every problem found.
    """
    return _read(Settings, environment, _queue_problems, _trigger_problems)


def read_credential_settings(environment: Mapping[str, str]) -> CredentialSettings:
    """Read and check what decides whose tokens are used, for a command that needs no queue.

    Raises:
        SettingsError: with every problem found.
    """
    return _read(CredentialSettings, environment)


def _read(model: type[M], environment: Mapping[str, str], *checks: Callable[[Mapping[str, str]], Problems]) -> M:
    present = {name: value.strip() for name, value in environment.items() if value.strip()}
    problems, values = _app_problems(present), {}
    for setting in fields(model):
        name = setting.metadata["name"]
        if name in present:
            try:
                values[setting.name] = setting.metadata["read"](present[name])
            except ValueError as error:
                problems.append(SettingProblem(name, str(error)))
        elif setting.default is MISSING:
            problems.append(SettingProblem(name, _AUTH_CHOICE if name == "REFERRALS_AUTH" else "is required"))
    invalid = {problem.name for problem in problems}
    valid = {name: value for name, value in present.items() if name not in invalid}
    problems += [problem for check in checks for problem in check(valid)]
    if problems:
        raise SettingsError(tuple(sorted(set(problems), key=lambda problem: problem.name)))
    return model(**values)


def _app_problems(present: Mapping[str, str]) -> Problems:
    """Settings that the two app modes need."""
    needed = {
        "federated-app": ("REFERRALS_APP_TENANT_ID", "REFERRALS_APP_CLIENT_ID"),
        "app-user": ("REFERRALS_APP_TENANT_ID", "REFERRALS_APP_CLIENT_ID", "REFERRALS_REFRESH_TOKEN_SECRET"),
    }
    mode = present.get("REFERRALS_AUTH", "")
    return [
        SettingProblem(name, f"is required by REFERRALS_AUTH={mode}")
        for name in needed.get(mode, ())
        if name not in present
    ]


def _queue_problems(present: Mapping[str, str]) -> Problems:
    """The three queues must differ: an app that reads what it writes never ends."""
    problems: Problems = []
    names_by_url: dict[str, str] = {}
    for name in ("EVENTS_URL", "REJECTS_URL", "REQUESTS_URL"):
        url = present.get(name, "").lower().rstrip("/")
        if url and url in names_by_url:
            problems.append(SettingProblem(name, f"must be another queue than {names_by_url[url]}"))
        names_by_url.setdefault(url, name)
    return problems


def _trigger_problems(present: Mapping[str, str]) -> Problems:
    """Settings that only the host reads, which is there if FUNCTIONS_WORKER_RUNTIME is set.

    The trigger must read the queue that the app writes deferrals to, or deferred requests are never seen again.
    """
    problems: Problems = []
    queue, target = present.get("REFERRAL_REQUESTS_QUEUE"), present.get("REQUESTS_URL")
    has_host = "FUNCTIONS_WORKER_RUNTIME" in present
    if has_host and not queue:
        problems.append(SettingProblem("REFERRAL_REQUESTS_QUEUE", "is required"))
    if queue and target and queue.lower() != queue_name(target).lower():
        problems.append(SettingProblem("REFERRAL_REQUESTS_QUEUE", "must name the queue that REQUESTS_URL ends in"))
    if target and (address := _trigger_address(present)):
        name, account = address
        if account != _account(target):
            problems.append(SettingProblem(name, "must be the account or namespace of REQUESTS_URL"))
    elif has_host and not any(re.match(rf"{CONNECTION}($|__)", name) for name in present):
        member = "fullyQualifiedNamespace" if on_service_bus(present) else "queueServiceUri"
        problems.append(SettingProblem(f"{CONNECTION}__{member}", "is required"))
    return problems


def _account(queue_url: str) -> str:
    """A queue URL up to its queue, without the scheme: the account or namespace."""
    parts = urlsplit(queue_url.lower())
    path = "" if parts.scheme == "sb" else parts.path.rpartition("/")[0]
    return f"{parts.netloc}{path}".rstrip("/")


def _trigger_address(present: Mapping[str, str]) -> tuple[str, str] | None:
    """The setting that names the account or namespace of the queue trigger, and what it names, as `_account` does.

    None for a connection string, or where the setting is missing.
    """
    if on_service_bus(present):
        name = f"{CONNECTION}__fullyQualifiedNamespace"
        return (name, present[name].lower().rstrip("/")) if name in present else None
    name = f"{CONNECTION}__queueServiceUri"
    if name in present:
        try:
            parts = urlsplit(present[name].lower())
        except ValueError:
            return name, ""  # not the account, whatever it is
        return name, f"{parts.netloc}{parts.path}".rstrip("/")
    name = f"{CONNECTION}__accountName"
    return (name, f"{present[name].lower()}.queue.core.windows.net") if name in present else None
