"""The Bicep files as a whole: they parse, fit together, use what they declare, and are formatted as Bicep does."""

import json
import re
from pathlib import Path

import pytest

from tests.infra.bicep import BICEP, INFRA, code_of, declarations, syntax_errors, text

API_VERSIONS = {
    "Microsoft.Authorization/locks": "2020-05-01",
    "Microsoft.Authorization/roleAssignments": "2022-04-01",
    "Microsoft.Insights/actionGroups": "2023-01-01",
    "Microsoft.Insights/components": "2020-02-02",
    "Microsoft.Insights/diagnosticSettings": "2021-05-01-preview",
    "Microsoft.Insights/metricAlerts": "2026-01-01",
    "Microsoft.Insights/scheduledQueryRules": "2026-03-01",
    "Microsoft.Insights/webtests": "2022-06-15",
    "Microsoft.Insights/workbooks": "2023-06-01",
    "Microsoft.KeyVault/vaults": "2026-05-15",
    "Microsoft.ManagedIdentity/userAssignedIdentities": "2024-11-30",
    "Microsoft.Network/networkSecurityGroups": "2026-03-01",
    "Microsoft.Network/privateDnsZones": "2024-06-01",
    "Microsoft.Network/privateDnsZones/virtualNetworkLinks": "2024-06-01",
    "Microsoft.Network/privateEndpoints": "2026-03-01",
    "Microsoft.Network/privateEndpoints/privateDnsZoneGroups": "2026-03-01",
    "Microsoft.Network/virtualNetworks": "2026-03-01",
    "Microsoft.OperationalInsights/workspaces": "2026-03-01",
    "Microsoft.Resources/resourceGroups": "2025-04-01",
    "Microsoft.ServiceBus/namespaces": "2026-01-01",
    "Microsoft.ServiceBus/namespaces/queues": "2026-01-01",
    "Microsoft.Storage/storageAccounts": "2026-06-01",
    "Microsoft.Storage/storageAccounts/blobServices": "2026-06-01",
    "Microsoft.Storage/storageAccounts/blobServices/containers": "2026-06-01",
    "Microsoft.Storage/storageAccounts/queueServices": "2026-06-01",
    "Microsoft.Storage/storageAccounts/queueServices/queues": "2026-06-01",
    "Microsoft.Storage/storageAccounts/tableServices": "2026-06-01",
    "Microsoft.Storage/storageAccounts/tableServices/tables": "2026-06-01",
    "Microsoft.Web/serverfarms": "2025-03-01",
    "Microsoft.Web/sites": "2025-03-01",
}
"""The newest released ones, as of November 2026; of diagnosticSettings the released one is of 2016."""


@pytest.mark.parametrize("path", BICEP, ids=lambda path: path.name)
def test_every_bicep_file_parses(path: Path) -> None:
    assert syntax_errors(text(path)) == []


def test_a_file_with_an_error_does_not_parse() -> None:
    assert syntax_errors("param tags { *: string } = {\n") != []


def test_every_resource_has_the_newest_released_api_version() -> None:
    used = {tuple(one.target.split("@")) for one in declarations("resource") if "@" in one.target}
    assert used == set(API_VERSIONS.items())


def test_the_one_preview_version_is_a_known_exception_of_the_linter() -> None:
    for path in BICEP:
        lines = text(path).splitlines()
        preview = [number for number, line in enumerate(lines) if "-preview'" in line]
        silenced = [number for number, line in enumerate(lines) if line.startswith("#disable-next-line")]
        assert [number - 1 for number in preview] == silenced, path.name


@pytest.mark.parametrize("path", BICEP, ids=lambda path: path.name)
def test_nothing_in_a_bicep_file_is_unused(path: Path) -> None:
    code = code_of(path)
    for kind in ("parameter", "variable"):
        for one in declarations(kind, path.name):
            assert len(re.findall(rf"\b{one.symbol}\b", code)) > 1, f"{one.symbol} is not used"
    if path.name != "main.bicep":
        others = "".join(code_of(other) for other in BICEP if other != path)
        unused = [one.symbol for one in declarations("output", path.name) if f"outputs.{one.symbol}" not in others]
        assert unused == []
    for one in declarations("resource", path.name):
        if one.is_existing and "@" in one.target:
            assert len(re.findall(rf"\b{one.symbol}\b", code)) > 1, f"{one.symbol} is not used"


def test_every_file_of_infra_is_used() -> None:
    code = "".join(code_of(path) for path in BICEP)
    used = {*re.findall(r"'([\w-]+\.bicep)'", code), *re.findall(r"loadTextContent\('queries/([\w-]+\.kql)'\)", code)}
    by_tools = {"main.bicep", "main.parameters.json", "bicepconfig.json"}
    by_people_and_workflows = {"federated-credential.sh", "hooks.py", "public.bicepparam", "private.bicepparam"}
    files = {path.name for path in INFRA.rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    assert files == used | by_tools | by_people_and_workflows


def test_modules_get_the_parameters_that_they_have() -> None:
    for one in declarations("module"):
        passed = {name.split(".")[1] for name in one.properties if name.startswith("params.")}
        assert passed == {parameter.symbol for parameter in declarations("parameter", one.target)}, one


def test_modules_need_no_registry() -> None:
    assert [name for path in BICEP for name in re.findall(r"'(br[:/][^']*)'", text(path))] == []


def test_resources_that_a_module_looks_up_are_named_as_another_creates_them() -> None:
    created = {(one.type, one.properties["name"]) for one in declarations("resource") if not one.is_existing}
    for one in declarations("resource"):
        if one.is_existing and "@" in one.target:
            assert (one.type, one.properties["name"]) in created, f"{one.file}: {one.symbol}"
    assert "name: 'endpoints'" in text(INFRA / "network.bicep") and "name: 'app'" in text(INFRA / "network.bicep")


def test_a_module_waits_for_what_it_looks_up() -> None:
    creators = {one.properties["name"]: one.file for one in declarations("resource") if not one.is_existing}
    for module in declarations("module", "main.bicep"):
        looked_up = {
            creators[one.properties["name"]]
            for one in declarations("resource", module.target)
            if one.is_existing and "@" in one.target
        }
        symbols = {one.symbol for one in declarations("module", "main.bicep") if one.target in looked_up}
        awaited = set(re.findall(r"\w+", module.properties.get("dependsOn", "")))
        assert symbols <= awaited, module.symbol
        redundant = {symbol for symbol in awaited if f"{symbol}.outputs" in module.text or f"{symbol}!." in module.text}
        assert redundant == set(), module.symbol


def test_no_name_condition_or_scope_depends_on_a_value_of_a_resource() -> None:
    """Otherwise what-if cannot show what a deployment would do."""
    runtime = r"\.properties\b|\.outputs\b"
    for one in [*declarations("resource"), *declarations("module")]:
        for value in (one.properties.get("name", ""), one.properties.get("scope", ""), one.condition or ""):
            assert not re.search(runtime, value), one
    for module in declarations("module"):
        for name, value in module.properties.items():
            if not name.startswith("params.") or not re.search(runtime, value):
                continue
            parameter = name.split(".")[1]
            for one in [*declarations("resource", module.target), *declarations("module", module.target)]:
                places = f"{one.properties.get('name', '')} {one.properties.get('scope', '')} {one.condition or ''}"
                assert not re.search(rf"\b{parameter}\b", places), f"{module.target}: {parameter}"


def test_maps_and_records_are_typed() -> None:
    for one in [*declarations("parameter"), *declarations("output")]:
        assert not re.search(r"\b(?:object|array)\b", one.target), f"{one.file}: {one.symbol}"
    assert {one.target for one in declarations("output") if one.symbol == "queues"} == {"queues"}


def test_modules_have_no_names_of_their_own() -> None:
    assert [one.symbol for one in declarations("module") if "name" in one.properties] == []


@pytest.mark.parametrize("path", BICEP, ids=lambda path: path.name)
def test_lines_and_indentation_are_as_the_formatter_would_write_them(path: Path) -> None:
    width = json.loads(text(INFRA / "bicepconfig.json"))["formatting"]["width"]
    source = text(path)
    assert source.endswith("\n") and not source.endswith("\n\n")
    assert "\n\n\n" not in source and "{\n\n" not in source and "\n\n}" not in source
    for line in source.splitlines():
        assert line == line.rstrip() and "\t" not in line
        assert (len(line) - len(line.lstrip())) % 2 == 0
        assert len(line) <= width or line.lstrip().startswith("//")
        assert not re.search(r"\[for |\[ ", line), "the formatter breaks loops, and puts no blanks into brackets"


def test_every_rule_of_the_linter_that_is_named_is_an_error() -> None:
    core = json.loads(text(INFRA / "bicepconfig.json"))["analyzers"]["core"]
    assert core["enabled"] is True
    assert {rule["level"] for rule in core["rules"].values()} == {"error"}
    off_by_default = {
        *("use-recent-api-versions", "use-user-defined-types", "what-if-short-circuiting", "no-module-name"),
        *("no-hardcoded-location", "no-loc-expr-outside-params", "explicit-values-for-loc-params", "no-explicit-any"),
    }
    assert off_by_default <= set(core["rules"])
