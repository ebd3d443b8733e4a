"""What an installation can choose, and the combinations that are refused before anything is created."""

import dataclasses
import json
import re
from typing import Any

import pytest
import yaml

from referral_fn.settings import Settings
from tests.infra.bicep import BICEP, INFRA, ROOT, code_of, declarations, deployed, text
from tests.infra.evaluation import RefusedError, variable

VARIABLES = {
    name: (match[1], match[2])
    for name, entry in json.loads(text(INFRA / "main.parameters.json"))["parameters"].items()
    if (match := re.fullmatch(r"\$\{(\w+)(?:=([\w.-]*))?\}", entry["value"]))
}
"""The parameters as azd passes them: the variable and its default, which is None where azd must ask."""

APP = {"referralsAppTenantId": "tenant", "referralsAppClientId": "client"}

HOST_SETTINGS = {
    *("AzureWebJobsStorage__blobServiceUri", "AzureWebJobsStorage__credential", "AzureWebJobsStorage__clientId"),
    *("APPLICATIONINSIGHTS_CONNECTION_STRING", "APPLICATIONINSIGHTS_AUTHENTICATION_STRING"),
    *("ReferralRequests__queueServiceUri", "ReferralRequests__fullyQualifiedNamespace"),
    *("ReferralRequests__credential", "ReferralRequests__clientId", "REFERRAL_REQUESTS_QUEUE"),
}
PLATFORM_SETTINGS = {
    "FUNCTIONS_WORKER_RUNTIME",
    "WEBSITE_HOSTNAME",
    "AzureFunctionsJobHost__extensions__queues__maxDequeueCount",
}
"""What the code reads and the platform sets, or what overrides host.json."""


def parameter(name: str) -> Any:
    (found,) = [one for one in declarations("parameter", "main.bicep") if one.symbol == name]
    return found


@pytest.mark.parametrize(
    ("name", "parameters", "refusal"),
    [
        ("appTenantId", {"referralsAuth": "app-user"}, "app-user needs REFERRALS_APP_TENANT_ID"),
        ("appClientId", {"referralsAuth": "app-user"}, "app-user needs REFERRALS_APP_CLIENT_ID"),
        ("appTenantId", {"referralsAuth": "federated-app"}, "federated-app needs REFERRALS_APP_TENANT_ID"),
        ("appClientId", {"referralsAuth": "federated-app"}, "federated-app needs REFERRALS_APP_CLIENT_ID"),
        ("operatorsEmail", {"environmentName": "prod"}, "needs ALERT_EMAIL"),
        ("operatorsEmail", {"environmentName": "Production-eu"}, "needs ALERT_EMAIL"),
        ("appZoneRedundant", {"location": "westus", "zoneRedundant": True}, "westus has no zones"),
        ("readyInstances", {"alwaysReady": 41}, "ALWAYS_READY is more than MAXIMUM_INSTANCES"),
    ],
)
def test_a_wrong_combination_is_refused(name: str, parameters: dict[str, Any], refusal: str) -> None:
    with pytest.raises(RefusedError, match=refusal):
        variable(name, parameters)


@pytest.mark.parametrize(
    ("name", "parameters", "value"),
    [
        ("appTenantId", {"referralsAuth": "app-user", **APP}, "tenant"),
        ("appClientId", {"referralsAuth": "federated-app", **APP}, "client"),
        ("appClientId", {"referralsAuth": "managed-identity"}, ""),
        ("operatorsEmail", {"environmentName": "prod", "alertEmail": "a@example.com"}, "a@example.com"),
        ("operatorsEmail", {"environmentName": "test"}, ""),
        ("appZoneRedundant", {"location": "westeurope", "zoneRedundant": True}, True),
        ("appZoneRedundant", {"location": "westus"}, False),
        ("hostStorage", {"location": "westeurope"}, "Standard_LRS"),
        ("hostStorage", {"location": "westeurope", "zoneRedundant": True}, "Standard_ZRS"),
        ("readyInstances", {"alwaysReady": 40}, 40),
        ("queueStorage", {"location": "westeurope"}, "Standard_ZRS"),
        ("queueStorage", {"location": "westus"}, "Standard_LRS"),
        ("queueStorage", {"location": "westeurope", "queueRedundancy": "Standard_GZRS"}, "Standard_GZRS"),
    ],
)
def test_other_combinations_are_accepted(name: str, parameters: dict[str, Any], value: Any) -> None:
    assert variable(name, parameters) == value


def test_refusals_do_not_wait_for_values_of_resources() -> None:
    """ARM evaluates a parameter of a module up front only if nothing in it comes from another resource."""
    checked = [one.symbol for one in declarations("variable", "main.bicep") if "fail(" in one.value]
    assert checked == ["appTenantId", "appClientId", "operatorsEmail", "appZoneRedundant", "readyInstances"]
    (app,) = [one for one in declarations("module", "main.bicep") if one.symbol == "app"]
    (alerts,) = [one for one in declarations("module", "main.bicep") if one.symbol == "alerts"]
    assert "outputs" not in app.properties["params.settings"]
    assert app.properties["params.settings.REFERRALS_APP_TENANT_ID"] == "appTenantId"
    assert app.properties["params.settings.REFERRALS_APP_CLIENT_ID"] == "appClientId"
    assert app.properties["params.alwaysReady"] == "readyInstances"
    assert app.properties["params.zoneRedundant"] == "appZoneRedundant"
    assert alerts.properties["params.email"] == "operatorsEmail"


def test_every_parameter_is_set_by_a_variable_with_its_default() -> None:
    parameters = {one.symbol: one.value.strip("'") for one in declarations("parameter", "main.bicep")}
    assert parameters.pop("tags") == "{}"  # azd's variables are flat
    assert set(VARIABLES) == set(parameters)
    required = {"environmentName", "location", "referralsAuth"}
    assert {name for name, (_, default) in VARIABLES.items() if default is None} == required
    assert {name: default or "" for name, (_, default) in VARIABLES.items()} == parameters
    names = [name for name, _ in VARIABLES.values()]
    assert len(names) == len(set(names))
    outputs = {one.symbol for one in declarations("output", "main.bicep")}
    assert set(names) & outputs == {"AZURE_LOCATION"}, "azd would pass the output back as a parameter"


def test_how_to_sign_in_must_be_chosen_and_choices_are_described() -> None:
    assert parameter("referralsAuth").value == ""
    assert "@allowed(['app-user', 'federated-app', 'managed-identity'])" in parameter("referralsAuth").decorators
    for name in ("referralsAuth", "referralsUrl", "referralContacts", "referralsAppTenantId", "referralsAppClientId"):
        assert any(one.startswith("@description(") for one in parameter(name).decorators), name


def test_regions_are_metadata_for_azd_and_redundancy_fits_all_of_them() -> None:
    location = parameter("location")
    assert "@metadata({ azd: { type: 'location' } })" in location.decorators
    regions = re.findall(r"'([a-z0-9]+)'", next(one for one in location.decorators if one.startswith("@allowed")))
    assert len(regions) == len(set(regions)) == 31
    without_zones = {region for region in regions if not variable("hasZones", {"location": region})}
    assert without_zones == {"australiasoutheast", "northcentralus", "southindia", "ukwest", "westcentralus", "westus"}
    redundancy = "@allowed(['', 'Standard_LRS', 'Standard_ZRS', 'Standard_GZRS'])"
    assert redundancy in parameter("queueRedundancy").decorators
    for account in deployed("Microsoft.Storage/storageAccounts"):
        assert account.properties["sku.name"] == "redundancy"


def test_the_default_number_of_instances_is_accepted_everywhere() -> None:
    assert int(parameter("maximumInstances").value) >= 40
    assert "Azure may refuse less than 40" in "".join(parameter("maximumInstances").decorators)
    page = text(ROOT / "docs" / "deploy.md")
    assert "`MAXIMUM_INSTANCES`" in page and "Deferred messages" in page


def test_the_name_of_an_installation_may_be_as_long_as_azd_allows() -> None:
    name = parameter("environmentName")
    assert "@maxLength(64)" in name.decorators
    assert any("resource group" in one for one in name.decorators)
    (group,) = deployed("Microsoft.Resources/resourceGroups")
    assert len(group.properties["name"].strip("'").replace("${environmentName}", "x" * 64)) <= 90


def app_settings() -> dict[str, str]:
    """The app settings, and the expression that sets each."""
    (app,) = [one for one in declarations("module", "main.bicep") if one.symbol == "app"]
    by_parameters = {
        name.removeprefix("params.settings."): value
        for name, value in app.properties.items()
        if name.startswith("params.settings.")
    }
    connections = dict(re.findall(r"(?m)^ +(\w+): (.+)$", app.properties["params.connections"]))
    triggers = dict(re.findall(r"connection: \{ (\w+): (\w+) \}", "".join(map(text, BICEP))))
    (site,) = [one for one in declarations("resource", "function-app.bicep") if one.symbol == "appSettings"]
    of_the_app = dict(re.findall(r"(?m)^ +(\w+): (.+)$", site.properties["properties"]))
    return by_parameters | connections | triggers | of_the_app


def read_by_the_code() -> set[str]:
    """Every name that the code looks up in its environment."""
    found = {field.metadata["name"] for field in dataclasses.fields(Settings)}
    for path in [ROOT / "function_app.py", *(ROOT / "referral_fn").rglob("*.py")]:
        found |= set(re.findall(r'environ(?:ment)?(?:\.get\(|\[)"(\w+)"', text(path)))
        found |= set(re.findall(r'present\.get\("(\w+)"', text(path)))
        found |= set(re.findall(r"%([A-Z_]+)%", text(path)))
    return found - PLATFORM_SETTINGS


def test_infra_sets_what_the_code_reads_and_nothing_else() -> None:
    assert set(app_settings()) == read_by_the_code() | HOST_SETTINGS


def test_parameters_have_the_codes_own_defaults_or_leave_them_to_the_code() -> None:
    for field in dataclasses.fields(Settings):
        variable = field.metadata["name"]
        if variable in PLATFORM_SETTINGS or field.default is dataclasses.MISSING:
            continue
        name = re.sub(r"^string\((\w+)\)$", r"\1", app_settings()[variable])
        if name in {"appTenantId", "appClientId"}:  # checked parameters
            name = name.replace("app", "referralsApp", 1)
        if not name.isidentifier():  # what infra knows by itself
            assert re.match(r"withState \?|needsVault \?|identity\.", name), name
            continue
        default = parameter(name).value.strip("'")
        assert default in {"", "" if field.default is None else str(field.default)}, name
        assert default == "" or name in VARIABLES


def test_ci_tries_every_version_of_python_that_can_be_deployed() -> None:
    jobs = yaml.safe_load(text(ROOT / ".github" / "workflows" / "ci.yml"))["jobs"]
    (allowed,) = [one for one in parameter("pythonVersion").decorators if one.startswith("@allowed")]
    assert jobs["test"]["strategy"]["matrix"]["python"] == re.findall(r"'([\d.]+)'", allowed)


def test_no_name_is_spelled_like_a_secret_and_no_secret_passes() -> None:
    for path in BICEP:
        assert not re.search(
            r"listKeys|listAccountSas|@secure|sharedAccessKey|AccountKey=", code_of(path), re.IGNORECASE
        )
    for one in declarations("parameter"):
        assert not re.search("key|password|token|secret", one.symbol, re.IGNORECASE), one
        if one.symbol == "suffix":
            assert {"@minLength(13)", "@maxLength(13)"} <= set(one.decorators), one.file
    for one in declarations("output"):
        assert not re.search("key|password|token|secret$", one.symbol, re.IGNORECASE), one
        assert "secrets/" not in one.value or one.symbol == "secretUrl"  # where the consent is stored, not its content
