"""The installation, as far as it can be checked without Azure: infra/, azure.yaml, host.json, .github/."""

import json
import re
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from pycep import BicepParser

from referral_fn.settings import Settings

ROOT = Path(__file__).parent.parent.parent
INFRA = ROOT / "infra"
BICEP = sorted(INFRA.glob("*.bicep"))
QUERIES = sorted((INFRA / "queries").glob("*.kql"))
BIN = Path(sys.executable).parent

ROLES = {
    "Monitoring Metrics Publisher": "3913510d-42f4-4e42-8a64-420c390055eb",
    "Storage Blob Data Owner": "b7e6dc6d-f1e8-4753-8033-0f276bb0955b",
    "Storage Queue Data Message Sender": "c6a89b2d-59bc-44d0-9896-0f6e12d7b80a",
    "Storage Table Data Contributor": "0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3",
    "Storage Queue Data Contributor": "974c5e8b-45b9-4653-ba55-5f855dd0fb88",
    "Azure Service Bus Data Sender": "69a216fc-b8fb-44d8-bc22-1f3c2cd27a39",
    "Azure Service Bus Data Receiver": "4f6d3b9b-027b-4f4c-9142-0e5a2a2247e0",
    "Key Vault Secrets Officer": "b86a8fe4-44ce-4948-aee5-eccb2c155cd7",
}
"""As "Azure built-in roles" in the documentation of Azure RBAC has them."""

OF_THE_HOST = {
    *("AzureWebJobsStorage__accountName", "AzureWebJobsStorage__credential", "AzureWebJobsStorage__clientId"),
    *("APPLICATIONINSIGHTS_CONNECTION_STRING", "APPLICATIONINSIGHTS_AUTHENTICATION_STRING"),
    *("ReferralRequests__queueServiceUri", "ReferralRequests__fullyQualifiedNamespace"),
    *("ReferralRequests__credential", "ReferralRequests__clientId", "REFERRAL_REQUESTS_QUEUE"),
}
OF_LIBRARIES = {
    "FUNCTIONS_WORKER_RUNTIME",
    "WEBSITE_HOSTNAME",
    "AzureFunctionsJobHost__extensions__queues__maxDequeueCount",
}
"""What the code reads and the platform sets, or what overrides host.json."""


def text(path: Path) -> str:
    return path.read_text("utf-8")


def code_of(path: Path) -> str:
    """A Bicep file without its comments."""
    return re.sub(r"(?m)^\s*//.*$", "", text(path))


@pytest.fixture(scope="module")
def parser() -> BicepParser:
    return BicepParser()


@pytest.mark.parametrize("path", BICEP, ids=lambda path: path.name)
def test_every_bicep_file_parses(path: Path, parser: BicepParser) -> None:
    assert parser.parse(text=text(path))


@pytest.mark.parametrize("path", BICEP, ids=lambda path: path.name)
def test_nothing_in_a_bicep_file_is_unused(path: Path) -> None:
    code = code_of(path)
    for name in re.findall(r"(?m)^(?:param|var) (\w+)", code):
        assert len(re.findall(rf"\b{name}\b", code)) > 1, f"{name} is not used"
    outputs = re.findall(r"(?m)^output (\w+)", code)
    if path.name != "main.bicep":
        others = "".join(code_of(other) for other in BICEP if other != path)
        assert [name for name in outputs if f"outputs.{name}" not in others] == []


def test_every_file_of_infra_is_used() -> None:
    code = "".join(code_of(path) for path in BICEP)
    used = {*re.findall(r"'([\w-]+\.bicep)'", code), *re.findall(r"loadTextContent\('queries/([\w-]+\.kql)'\)", code)}
    entries = {"main.bicep", "main.parameters.json", "federated-credential.sh"}
    assert {path.name for path in INFRA.rglob("*") if path.is_file()} == used | entries


def test_modules_are_given_the_parameters_that_they_have() -> None:
    for path in BICEP:
        for name, params in re.findall(r"(?ms)^module \w+ '([\w-]+\.bicep)'.*?^  params: \{\n(.*?)^  \}", text(path)):
            module = code_of(INFRA / name)
            given = set(re.findall(r"(?m)^    (\w+):", params))
            wanted = set(re.findall(r"(?m)^param (\w+)", module))
            optional = set(re.findall(r"(?m)^param (\w+) \w+ =", module))
            assert wanted - optional <= given <= wanted, f"{path.name} calls {name}"


def test_modules_need_no_registry() -> None:
    assert [name for path in BICEP for name in re.findall(r"'(br[:/][^']*)'", text(path))] == []


def mapped() -> dict[str, str]:
    """The app's settings, and the expression that infra sets each to."""
    connections = re.findall(r"connection: \{ (\w+): (\w+) \}", "".join(map(text, BICEP)))
    block = re.search(r"(?ms)^    appSettings: union\(queues.connection, \{\n(.*?)^    \}", text(INFRA / "main.bicep"))
    assert block
    return dict([*connections, *re.findall(r"(?m)^      (\w+): (.+)$", block[1])])


def read_by_the_code() -> set[str]:
    """Every name that the code looks up in its environment."""
    found = {field.alias for field in Settings.model_fields.values() if field.alias}
    for path in [ROOT / "function_app.py", *(ROOT / "referral_fn").rglob("*.py")]:
        found |= set(re.findall(r'environ(?:ment)?(?:\.get\(|\[)"(\w+)"', text(path)))
        found |= set(re.findall(r'"(\w+)" (?:not )?in given', text(path)))
        found |= set(re.findall(r'present\.get\("(\w+)"', text(path)))
        found |= set(re.findall(r"%([A-Z_]+)%", text(path)))
    return found - OF_LIBRARIES


def test_infra_sets_what_the_code_reads_and_nothing_else() -> None:
    host = set(re.findall(r"(?m)^      (\w+__\w+|APPLICATIONINSIGHTS_\w+):", text(INFRA / "function-app.bicep")))
    assert {*mapped(), *host} == read_by_the_code() | OF_THE_HOST


def test_parameters_have_the_codes_own_defaults() -> None:
    main = text(INFRA / "main.bicep")
    for field in Settings.model_fields.values():
        if field.alias in OF_LIBRARIES or field.is_required():
            continue
        name = mapped()[field.alias or ""]
        name = re.sub(r"^string\((\w+)\)$|^(\w+) \? 'true' : 'false'$", lambda match: match[1] or match[2], name)
        declared = re.search(rf"(?m)^param {name} (?:string|int|bool) = '?(.*?)'?$", main)
        if declared is None:  # what infra knows by itself
            assert "." in name or name.startswith("needsVault"), name
            continue
        default = field.default
        if isinstance(default, tuple):
            default = ",".join(str(value) for value in default)
        assert declared[1] == ("" if default is None else str(default)), name


@pytest.mark.parametrize("path", BICEP, ids=lambda path: path.name)
def test_every_role_is_the_one_its_comment_names_and_says_what_it_is_for(path: Path) -> None:
    source = text(path)
    found = re.findall(
        r"(?ms)^// ([A-Z][\w ]+): ([^\n]+)\n(?:// [^\n]*\n)*"
        r"resource \w+ 'Microsoft.Authorization/roleAssignments@.*?^}",
        source,
    )
    whole = re.findall(r"(?ms)^resource \w+ 'Microsoft.Authorization/roleAssignments@.*?^}", source)
    assert len(found) == len(whole)
    for (role, _), assignment in zip(found, whole, strict=True):
        assert set(re.findall(r"'([0-9a-f]{8}-[0-9a-f-]{27})'", assignment)) == {ROLES[role]}
        assert re.search(r"(?m)^  scope: \w+$", assignment), "on a resource, not on the whole group"


def test_no_secret_comes_out_of_infra_or_goes_in() -> None:
    for path in BICEP:
        assert not re.search(
            r"listKeys|listAccountSas|@secure|sharedAccessKey|AccountKey=", code_of(path), re.IGNORECASE
        )
        for name, value in re.findall(r"(?m)^output (\w+) \w+ = (.+)$", code_of(path)):
            assert not re.search("key|password|token|secret$", name, re.IGNORECASE), name
            assert "secrets/" not in value or name == "secretUrl"  # where the consent is kept, not what it says


def test_keys_are_off_and_tls_is_new() -> None:
    code = {path.name: code_of(path) for path in BICEP}
    for name in ("host-storage.bicep", "storage-queues.bicep", "state-table.bicep"):
        for wanted in ("allowSharedKeyAccess: false", "allowBlobPublicAccess: false", "minimumTlsVersion: 'TLS1_2'"):
            assert wanted in code[name]
    assert "disableLocalAuth: true" in code["service-bus.bicep"]
    assert "minimumTlsVersion: '1.2'" in code["service-bus.bicep"]
    assert "disableLocalAuth: true" in code["monitoring.bicep"]
    assert "DisableLocalAuth: true" in code["monitoring.bicep"]
    assert "enablePurgeProtection: true" in code["vault.bicep"]
    for name in ("host-storage.bicep", "storage-queues.bicep", "state-table.bicep", "service-bus.bicep", "vault.bicep"):
        assert "publicNetworkAccess: isPrivate ? 'Disabled' : 'Enabled'" in code[name]
        assert "Microsoft.Insights/diagnosticSettings" in code[name]


def logged() -> dict[str, set[str]]:
    """The events that the code writes, each with the fields that docs/operations.md says it has."""
    events = set()
    for path in [ROOT / "function_app.py", *(ROOT / "referral_fn").rglob("*.py")]:
        events |= set(re.findall(r'log\.(?:info|warning|error|at_startup)\(\s*"([a-z.-]+)"', text(path)))
    documented = {}
    for row in re.findall(r"(?m)^\| `[a-z]+\.[a-z-]+` \|.*$", text(ROOT / "docs" / "operations.md")):
        _, event, _, _, fields, _ = row.split("|")
        documented[event.strip(" `")] = {"referralId", "attempt", "cause", *re.findall(r"`(\w+)`", fields)}
        if "the stages' durations" in fields:
            documented[event.strip(" `")] |= {"fetchMs", "normalizeMs", "publishMs"}
    assert set(documented) == events
    return documented


@pytest.mark.parametrize("path", QUERIES, ids=lambda path: path.name)
def test_a_query_asks_for_events_and_fields_that_the_code_writes(path: Path) -> None:
    query = re.sub(r"(?m)^//.*$", "", text(path))
    if "StorageQueueLogs" in query:
        queues = {name.strip("/") for name in re.findall(r'Uri contains "([\w/-]+)"', query)}
        assert queues <= {"referral-requests", "referral-requests-poison"}
        assert "name: 'referral-requests'" in text(INFRA / "storage-queues.bicep")
        assert "name: '${requests.name}-poison'" in text(INFRA / "storage-queues.bicep")
        return
    wanted = re.findall(r'"([a-z]+\.[a-z-]+)"', query)
    assert wanted
    known = logged()
    assert set(wanted) <= set(known)
    fields = set(re.findall(r"said\.(\w+)", query)) - {"event"}
    assert fields <= set().union(*(known[event] for event in wanted))
    for reason in re.findall(r'reason\) == "([a-z-]+)"', query):
        assert f'"{reason}"' in text(ROOT / "referral_fn" / "partner_center.py")


HOST_JSON: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["version"],
    "properties": {
        "version": {"const": "2.0"},
        "functionTimeout": {"$ref": "#/$defs/span"},
        "extensionBundle": {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "id": {"const": "Microsoft.Azure.Functions.ExtensionBundle"},
                "version": {"type": "string", "pattern": r"^[\[(]\d+\.\d+\.\d+, \d+\.\d+\.\d+[\])]$"},
            },
        },
        "extensions": {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "http": {"type": "object", "additionalProperties": False, "properties": {"routePrefix": {}}},
                "queues": {
                    "type": "object",
                    "additionalProperties": False,
                    "properties": {
                        "maxPollingInterval": {"$ref": "#/$defs/span"},
                        "visibilityTimeout": {"$ref": "#/$defs/span"},
                        "batchSize": {"type": "integer", "minimum": 1, "maximum": 32},
                        "maxDequeueCount": {"type": "integer", "minimum": 1},
                        "newBatchThreshold": {"type": "integer", "minimum": 0},
                        "messageEncoding": {"enum": ["base64", "none"]},
                    },
                },
                "serviceBus": {
                    "type": "object",
                    "additionalProperties": False,
                    "properties": {
                        "maxConcurrentCalls": {"type": "integer", "minimum": 1},
                        "maxConcurrentSessions": {"type": "integer", "minimum": 1},
                        "maxAutoLockRenewalDuration": {"$ref": "#/$defs/span"},
                    },
                },
            },
        },
        "logging": {"type": "object"},
    },
    "$defs": {"span": {"type": "string", "pattern": r"^(\d+\.)?\d\d:\d\d:\d\d(\.\d+)?$"}},
}
"""The part of the published schema that this app's host.json touches."""

AZURE_YAML: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["name"],
    "properties": {
        "name": {"type": "string", "minLength": 2},
        "infra": {"properties": {"provider": {"enum": ["bicep", "terraform"]}, "path": {"type": "string"}}},
        "services": {
            "additionalProperties": {
                "type": "object",
                "additionalProperties": False,
                "required": ["host", "project"],
                "properties": {"host": {"const": "function"}, "language": {"const": "python"}, "project": {}},
            }
        },
    },
}
"""The same of azd's."""


def test_host_json_and_azure_yaml_keep_to_their_schemas() -> None:
    jsonschema.validate(json.loads(text(ROOT / "host.json")), HOST_JSON)
    azure = yaml.safe_load(text(ROOT / "azure.yaml"))
    jsonschema.validate(azure, AZURE_YAML)
    (service,) = azure["services"]
    assert f"'azd-service-name': '{service}'" in text(INFRA / "function-app.bicep")


def test_azd_passes_parameters_that_there_are() -> None:
    passed = json.loads(text(INFRA / "main.parameters.json"))["parameters"]
    assert set(passed) <= set(re.findall(r"(?m)^param (\w+)", text(INFRA / "main.bicep")))
    deploy = text(ROOT / ".github" / "workflows" / "deploy.yml")
    for value in passed.values():
        name = re.fullmatch(r"\$\{(\w+)(?:=([\w-]*))?\}", value["value"])
        assert name, value
        assert f"\n      {name[1]}: ${{{{ " in deploy


def test_ci_tries_every_version_of_python_that_can_be_deployed() -> None:
    tried = yaml.safe_load(text(ROOT / ".github" / "workflows" / "ci.yml"))["jobs"]["test"]["strategy"]["matrix"][
        "python"
    ]
    deployable = re.search(r"@allowed\(\[([^\]]*)\]\)\nparam pythonVersion", text(INFRA / "main.bicep"))
    assert deployable
    assert tried == re.findall(r"'([\d.]+)'", deployable[1])
