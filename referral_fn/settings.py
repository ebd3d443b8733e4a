"""The app settings: read from the environment and checked, with all problems reported together."""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, TypeVar
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, FilePath, ValidationError

from referral_fn.setting_types import (
    Delays,
    Hosts,
    HttpsUrl,
    QueueUrl,
    ReferralUrl,
    Schedule,
    SecretUrl,
    TableUrl,
    queue_name,
)

_NAME = r"^[A-Za-z0-9.-]{1,100}$"
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


def _host_json_limit() -> int:
    """The maxDequeueCount of host.json; without one the host's default is 5."""
    host_json = json.loads((Path(__file__).parent.parent / "host.json").read_text(encoding="utf-8"))
    return int(host_json.get("extensions", {}).get("queues", {}).get("maxDequeueCount", 5))


class CredentialSettings(BaseModel):
    """What decides whose tokens are used. Field aliases are the names of the environment variables."""

    model_config = ConfigDict(frozen=True)

    referrals_auth: Literal["app-user", "federated-app", "managed-identity", "developer"] = Field(
        alias="REFERRALS_AUTH"
    )
    """Whose tokens Partner Center sees. No default: what works depends on the API and the tenant."""
    client_id: str | None = Field(None, alias="AZURE_CLIENT_ID")
    app_tenant_id: Annotated[str, Field(pattern=_NAME)] | None = Field(None, alias="REFERRALS_APP_TENANT_ID")
    app_client_id: Annotated[str, Field(pattern=_NAME)] | None = Field(None, alias="REFERRALS_APP_CLIENT_ID")
    refresh_token_secret: SecretUrl | None = Field(None, alias="REFERRALS_REFRESH_TOKEN_SECRET")
    referrals_scope: str = Field("https://api.partner.microsoft.com/.default", alias="REFERRALS_SCOPE")


class Settings(CredentialSettings):
    """All of the app's settings."""

    referrals_url: ReferralUrl = Field(
        "https://api.partner.microsoft.com/v1.0/engagements/referrals/{referralId}", alias="REFERRALS_URL"
    )
    events_url: QueueUrl = Field(alias="EVENTS_URL")
    rejects_url: QueueUrl = Field(alias="REJECTS_URL")
    requests_url: QueueUrl = Field(alias="REQUESTS_URL")
    state_url: TableUrl | None = Field(None, alias="STATE_URL")
    """The table that remembers what was forwarded; None turns off everything that needs it."""
    state_retention_days: Annotated[int, Field(ge=1, le=3650)] = Field(400, alias="STATE_RETENTION_DAYS")
    """Days after its last event after which the row of a closed referral is removed."""
    reconcile_schedule: Schedule = Field("0 17 * * * *", alias="RECONCILE_SCHEDULE")
    backfill_rate: Annotated[float, Field(gt=0, le=1000, allow_inf_nan=False)] = Field(5, alias="BACKFILL_RATE")
    """How many referrals a second a backfill requests. What Partner Center allows is not published."""
    contacts: Literal["full", "contactable", "consented", "none"] = Field("full", alias="REFERRAL_CONTACTS")
    webhook_url: HttpsUrl | None = Field(None, alias="WEBHOOK_URL")
    """Where notifications should go, if not to the app's own host name."""
    website_hostname: str | None = Field(None, alias="WEBSITE_HOSTNAME")
    """The app's host name, which Azure sets."""
    webhook_api: HttpsUrl = Field("https://api.partnercenter.microsoft.com", alias="WEBHOOK_API")
    webhook_certificate_hosts: Hosts = Field(
        ("3psostorageacct.blob.core.windows.net",), alias="WEBHOOK_CERTIFICATE_HOSTS"
    )
    webhook_extra_roots: FilePath | None = Field(None, alias="WEBHOOK_EXTRA_ROOTS")
    """A PEM file of roots that signing certificates may chain to, in addition to Mozilla's."""
    webhook_max_age: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = Field(None, alias="WEBHOOK_MAX_AGE")
    """Seconds after which a notification is refused. No limit by default, because Partner Center retries for long."""
    service_bus_max_message: Annotated[int, Field(ge=64 * 1024, le=100 * 1024 * 1024)] = Field(
        256 * 1024, alias="SERVICE_BUS_MAX_MESSAGE"
    )
    """Bytes, properties included: 256 KiB on Standard, up to 100 MiB on Premium, by entity."""
    service_bus_max_delivery_count: Annotated[int, Field(ge=3)] = Field(10, alias="SERVICE_BUS_MAX_DELIVERY_COUNT")
    """How often Service Bus delivers a request before it dead-letters it: the queue's own setting, 10 by default."""
    max_dequeue_count: Annotated[int, Field(ge=3)] = Field(default_factory=_host_json_limit, alias=MAX_DEQUEUE_COUNT)
    """How often the host delivers a request from a Storage queue before it moves it to the poison queue."""
    retry_budget: Annotated[float, Field(gt=0, le=30, allow_inf_nan=False)] = Field(20, alias="REFERRALS_RETRY_BUDGET")
    """Seconds that all quick attempts at one referral may take together."""
    deferral_schedule: Delays = Field(
        (10, 60, 300, 1800, 7200, 21600, 43200, 86400), alias="REFERRALS_DEFERRAL_SCHEDULE", min_length=1
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
    problems = [problem for check in (_app_problems, *checks) for problem in check(present)]
    try:
        settings = model.model_validate(present)
    except ValidationError as error:
        problems += [SettingProblem(str(e["loc"][0]), _rule(e["loc"][0], e["type"], e["msg"])) for e in error.errors()]
    if problems:
        raise SettingsError(tuple(sorted(set(problems), key=lambda problem: problem.name)))
    return settings


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


def _rule(name: object, kind: str, message: str) -> str:
    if kind == "missing":
        return _AUTH_CHOICE if name == "REFERRALS_AUTH" else "is required"
    return message.replace("Input should", "must")


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
        parts = urlsplit(present[name].lower())
        return name, f"{parts.netloc}{parts.path}".rstrip("/")
    name = f"{CONNECTION}__accountName"
    return (name, f"{present[name].lower()}.queue.core.windows.net") if name in present else None
