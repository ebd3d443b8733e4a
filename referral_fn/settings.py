"""Every app setting: read from the environment, checked once, all problems reported together."""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, FilePath, ValidationError
from pydantic_core import PydanticCustomError

_QUEUE_NAME = re.compile(r"(?!.*--)[a-z0-9][a-z0-9-]{1,61}[a-z0-9]")
_ENTITY_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._/-]{0,258}[A-Za-z0-9])?")
_HOST = re.compile(r"[a-z0-9-]+(\.[a-z0-9-]+)*(:[0-9]{1,5})?")
_NAME = r"^[A-Za-z0-9.-]{1,100}$"
_SECRET_PATH = re.compile(r"/secrets/[A-Za-z0-9-]{1,127}")
_QUEUE_TRIGGER_CONNECTION = "ReferralRequests"
_LONGEST_DELAY = 7 * 24 * 3600


@dataclass(frozen=True, slots=True)
class SettingProblem:
    """A setting's name and the rule it breaks. Never its value, which may be a secret."""

    name: str
    rule: str


Problems = list[SettingProblem]


class SettingsError(Exception):
    """Settings are missing or wrong; `problems` holds all of them, in the order of their names."""

    def __init__(self, problems: tuple[SettingProblem, ...]) -> None:
        super().__init__("; ".join(f"{problem.name} {problem.rule}" for problem in problems))
        self.problems = problems


def _https(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme != "https" or not parts.hostname or parts.username or parts.fragment:
        raise PydanticCustomError("https", "must be an https URL without user info or fragment")
    return url


def _referral_url(url: str) -> str:
    if _https(url).count("{referralId}") != 1 or "{referralId}" not in urlsplit(url).path:
        raise PydanticCustomError("template", "must hold {{referralId}} once, in its path")
    return url


def _queue_url(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("https", "sb") or not parts.hostname or parts.username or parts.query or parts.fragment:
        raise PydanticCustomError(
            "queue",
            "must be https://{{account}}.queue.core.windows.net/{{queue}}"
            " or sb://{{namespace}}.servicebus.windows.net/{{queue or topic}}",
        )
    if parts.scheme == "sb" and not _ENTITY_NAME.fullmatch(queue_name(url)):
        raise PydanticCustomError("queue", "must end in a queue's or a topic's name: letters, digits and . - _ /")
    if parts.scheme == "https" and not _QUEUE_NAME.fullmatch(queue_name(url)):
        raise PydanticCustomError(
            "queue", "must end in a queue name: 3 to 63 lower-case letters, digits and single hyphens"
        )
    return url


def _hosts(hosts: tuple[str, ...]) -> tuple[str, ...]:
    if not hosts or not all(_HOST.fullmatch(host) for host in hosts):
        raise PydanticCustomError("hosts", "must be host names, or host:port, separated by commas")
    return hosts


def _list(text: Any) -> Any:
    return [part.strip() for part in text.split(",")] if isinstance(text, str) else text


Delay = Annotated[float, Field(gt=0, le=_LONGEST_DELAY, allow_inf_nan=False)]


def _secret_url(url: str) -> str:
    parts = urlsplit(_https(url))
    if parts.query or not _SECRET_PATH.fullmatch(parts.path):
        raise PydanticCustomError("secret", "must be https://{{vault}}.vault.azure.net/secrets/{{name}}")
    return url


class CredentialSettings(BaseModel):
    """What decides whose tokens are used. Field aliases are the names of the environment variables."""

    model_config = ConfigDict(frozen=True)

    referrals_auth: Literal["managed-identity", "federated-app", "app-user", "developer"] = Field(
        "managed-identity", alias="REFERRALS_AUTH"
    )
    client_id: str | None = Field(None, alias="AZURE_CLIENT_ID")
    app_tenant_id: Annotated[str, Field(pattern=_NAME)] | None = Field(None, alias="REFERRALS_APP_TENANT_ID")
    app_client_id: Annotated[str, Field(pattern=_NAME)] | None = Field(None, alias="REFERRALS_APP_CLIENT_ID")
    refresh_token_secret: Annotated[str, AfterValidator(_secret_url)] | None = Field(
        None, alias="REFERRALS_REFRESH_TOKEN_SECRET"
    )
    referrals_scope: str = Field("https://api.partner.microsoft.com/.default", alias="REFERRALS_SCOPE")


class Settings(CredentialSettings):
    """The app's settings."""

    referrals_url: Annotated[str, AfterValidator(_referral_url)] = Field(
        "https://api.partner.microsoft.com/v1/referrals/{referralId}", alias="REFERRALS_URL"
    )
    events_url: Annotated[str, AfterValidator(_queue_url)] = Field(alias="EVENTS_URL")
    rejects_url: Annotated[str, AfterValidator(_queue_url)] = Field(alias="REJECTS_URL")
    requests_url: Annotated[str, AfterValidator(_queue_url)] = Field(alias="REQUESTS_URL")
    contacts: Literal["full", "consented", "none"] = Field("full", alias="REFERRAL_CONTACTS")
    webhook_certificate_hosts: Annotated[tuple[str, ...], BeforeValidator(_list), AfterValidator(_hosts)] = Field(
        ("3psostorageacct.blob.core.windows.net",), alias="WEBHOOK_CERTIFICATE_HOSTS"
    )
    webhook_extra_roots: FilePath | None = Field(None, alias="WEBHOOK_EXTRA_ROOTS")
    """A PEM file of roots that signing certificates may chain to, beside Mozilla's."""
    webhook_max_age: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = Field(None, alias="WEBHOOK_MAX_AGE")
    """Seconds after which a notification is refused. By default none is: Partner Center retries for long."""
    service_bus_max_message: Annotated[int, Field(ge=64 * 1024, le=100 * 1024 * 1024)] = Field(
        256 * 1024, alias="SERVICE_BUS_MAX_MESSAGE"
    )
    """Bytes, properties included: 256 KiB on Standard, up to 100 MiB on Premium, by entity."""
    service_bus_sessions: Literal["true", "false"] = Field("false", alias="SERVICE_BUS_SESSIONS")
    service_bus_max_delivery_count: Annotated[int, Field(ge=1)] = Field(10, alias="SERVICE_BUS_MAX_DELIVERY_COUNT")
    """How often the broker delivers a request before it gives it up: as set on the queue, whose own default is 10."""
    retry_budget: Annotated[float, Field(gt=0, le=60, allow_inf_nan=False)] = Field(20, alias="REFERRALS_RETRY_BUDGET")
    """Seconds that the quick attempts at one referral may take together."""
    deferral_schedule: Annotated[tuple[Delay, ...], BeforeValidator(_list)] = Field(
        (10, 60, 300, 1800, 7200, 21600, 43200, 86400), alias="REFERRALS_DEFERRAL_SCHEDULE", min_length=1
    )
    """Seconds to wait before each further try of a request in trouble."""

    @property
    def source(self) -> str:
        """The referrals collection's URL: `REFERRALS_URL` up to the ID."""
        return self.referrals_url.split("/{referralId}")[0]


M = TypeVar("M", bound=CredentialSettings)


def queue_name(url: str) -> str:
    """The queue a queue URL names: its last path segment; for Service Bus, the whole path."""
    parts = urlsplit(url)
    return parts.path.removeprefix("/") if parts.scheme == "sb" else parts.path.rpartition("/")[2]


def on_service_bus(environment: Mapping[str, str]) -> bool:
    """Whether requests come by Service Bus. Read when the triggers are indexed, whatever else may be wrong."""
    return environment.get("REQUESTS_URL", "").strip().startswith("sb://")


def with_sessions(environment: Mapping[str, str]) -> bool:
    """Whether the requests queue has sessions, of Service Bus."""
    return environment.get("SERVICE_BUS_SESSIONS", "").strip().lower() == "true"


def read_settings(environment: Mapping[str, str]) -> Settings:
    """Read and check every setting. A blank variable counts as absent, as it does in the portal.

    Raises:
        SettingsError: with every problem found.
    """
    return _read(Settings, environment, _trigger_problems)


def read_credential_settings(environment: Mapping[str, str]) -> CredentialSettings:
    """Read and check what decides whose tokens are used, for a command that needs no queue.

    Raises:
        SettingsError: with every problem found.
    """
    return _read(CredentialSettings, environment)


def _read(model: type[M], environment: Mapping[str, str], *checks: Callable[[Mapping[str, str]], Problems]) -> M:
    given = {name: value.strip() for name, value in environment.items() if value.strip()}
    problems = [problem for check in (_app_problems, *checks) for problem in check(given)]
    try:
        settings = model.model_validate(given)
    except ValidationError as error:
        problems += [SettingProblem(str(e["loc"][0]), _rule(e["type"], e["msg"])) for e in error.errors()]
    if problems:
        raise SettingsError(tuple(sorted(set(problems), key=lambda problem: problem.name)))
    return settings


def _app_problems(given: Mapping[str, str]) -> Problems:
    """What the two app modes need."""
    needed = {
        "federated-app": ("REFERRALS_APP_TENANT_ID", "REFERRALS_APP_CLIENT_ID"),
        "app-user": ("REFERRALS_APP_TENANT_ID", "REFERRALS_APP_CLIENT_ID", "REFERRALS_REFRESH_TOKEN_SECRET"),
    }
    mode = given.get("REFERRALS_AUTH", "")
    return [
        SettingProblem(name, f"is required by REFERRALS_AUTH={mode}")
        for name in needed.get(mode, ())
        if name not in given
    ]


def read_for_holding(environment: Mapping[str, str]) -> tuple[Settings, SettingsError | None]:
    """Read the settings; where some are wrong, those with which messages can at least be put back on their queue.

    Raises:
        SettingsError: not even that; `REQUESTS_URL` is among the problems.
    """
    try:
        return read_settings(environment), None
    except SettingsError as error:
        wrong = {problem.name for problem in error.problems}
        if "REQUESTS_URL" in wrong:
            raise
        right = {name: value.strip() for name, value in environment.items() if name not in wrong and value.strip()}
        queues = {"EVENTS_URL": right["REQUESTS_URL"], "REJECTS_URL": right["REQUESTS_URL"]}
        if right.get("REFERRALS_AUTH") != "developer":
            queues["REFERRALS_AUTH"] = "managed-identity"
        return Settings.model_validate({**right, **queues}), error


def read_max_dequeue_count(host_json: Path, environment: Mapping[str, str]) -> int:
    """How often a message is delivered before it is given up.

    By the host, as host.json says, or the setting that overrides it ("Override host.json values" in the Azure Functions
    documentation); on Service Bus by the broker.
    """
    if on_service_bus(environment):
        count = environment.get("SERVICE_BUS_MAX_DELIVERY_COUNT", "").strip()
        return int(count) if count.isdecimal() else Settings.model_fields["service_bus_max_delivery_count"].default
    override = environment.get("AzureFunctionsJobHost__extensions__queues__maxDequeueCount")
    return int(override or json.loads(host_json.read_text())["extensions"]["queues"]["maxDequeueCount"])


def _rule(kind: str, message: str) -> str:
    return "is required" if kind == "missing" else message.replace("Input should", "must")


def _trigger_problems(given: Mapping[str, str]) -> Problems:
    """What only the host reads. A host is there when it says so by FUNCTIONS_WORKER_RUNTIME."""
    problems = []
    watched, target = given.get("REFERRAL_REQUESTS_QUEUE"), given.get("REQUESTS_URL")
    if watched and target and watched != queue_name(target):
        problems.append(SettingProblem("REFERRAL_REQUESTS_QUEUE", "must name the queue that REQUESTS_URL ends in"))
    if "FUNCTIONS_WORKER_RUNTIME" in given:
        if not watched:
            problems.append(SettingProblem("REFERRAL_REQUESTS_QUEUE", "is required"))
        if not any(re.match(rf"{_QUEUE_TRIGGER_CONNECTION}($|__)", name) for name in given):
            where = "fullyQualifiedNamespace" if on_service_bus(given) else "queueServiceUri"
            problems.append(SettingProblem(f"{_QUEUE_TRIGGER_CONNECTION}__{where}", "is required"))
    return problems
