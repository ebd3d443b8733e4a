"""The resources of an installation: who may do what, what is open to whom, and what Azure's rule sets ask for."""

import re
from pathlib import Path

import pytest

from tests.infra.bicep import BICEP, ROOT, Declaration, code_of, declarations, deployed, text

ROLES = {
    "Monitoring Metrics Publisher": "3913510d-42f4-4e42-8a64-420c390055eb",
    "Storage Blob Data Owner": "b7e6dc6d-f1e8-4753-8033-0f276bb0955b",
    "Storage Queue Data Message Sender": "c6a89b2d-59bc-44d0-9896-0f6e12d7b80a",
    "Storage Queue Data Message Processor": "8a0f0c08-91a1-4084-bc3d-661d67233fed",
    "Storage Table Data Contributor": "0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3",
    "Storage Queue Data Contributor": "974c5e8b-45b9-4653-ba55-5f855dd0fb88",
    "Azure Service Bus Data Owner": "090c5cfd-751d-490a-894a-3ce6f1109419",
    "Azure Service Bus Data Sender": "69a216fc-b8fb-44d8-bc22-1f3c2cd27a39",
    "Azure Service Bus Data Receiver": "4f6d3b9b-027b-4f4c-9142-0e5a2a2247e0",
    "Key Vault Secrets Officer": "b86a8fe4-44ce-4948-aee5-eccb2c155cd7",
}
"""As "Azure built-in roles" in the documentation of Azure RBAC has them."""

ACCOUNTS = ("host-storage.bicep", "storage-queues.bicep", "state-table.bicep")


def one(file: str, symbol: str) -> Declaration:
    (found,) = [resource for resource in declarations("resource", file) if resource.symbol == symbol]
    return found


def roles(file: str, *, of_operator: bool = False) -> set[tuple[str, str]]:
    """The roles that a file assigns to the app or to the operator, each with the resource."""
    names = {role: name for name, role in ROLES.items()}
    return {
        (names[re.findall(r"'([0-9a-f]{8}-[0-9a-f-]{27})'", assignment.text)[0]], assignment.properties["scope"])
        for assignment in deployed("Microsoft.Authorization/roleAssignments")
        if assignment.file == file and (assignment.condition is not None) is of_operator
    }


@pytest.mark.parametrize("path", BICEP, ids=lambda path: path.name)
def test_every_role_is_the_one_its_comment_names_and_says_what_it_is_for(path: Path) -> None:
    source = text(path)
    commented = re.findall(
        r"(?ms)^// ([A-Z][\w ]+): ([^\n]+)\n(?:// [^\n]*\n)*"
        r"resource \w+ 'Microsoft.Authorization/roleAssignments@.*?^}",
        source,
    )
    whole = re.findall(r"(?ms)^resource \w+ 'Microsoft.Authorization/roleAssignments@.*?^}", source)
    assert len(commented) == len(whole)
    for (role, _), assignment in zip(commented, whole, strict=True):
        assert set(re.findall(r"'([0-9a-f]{8}-[0-9a-f-]{27})'", assignment)) == {ROLES[role]}
        assert re.search(r"(?m)^  scope: \w+$", assignment), "on a resource, not on the whole group"


def test_the_app_has_the_narrowest_roles_that_work() -> None:
    assert roles("host-storage.bicep") == {("Storage Blob Data Owner", "account")}
    assert roles("state-table.bicep") == {("Storage Table Data Contributor", "table")}
    assert roles("vault.bicep") == {("Key Vault Secrets Officer", "vault")}
    assert roles("storage-queues.bicep") == {
        ("Storage Queue Data Contributor", "requests"),
        ("Storage Queue Data Message Sender", "poison"),
        ("Storage Queue Data Message Sender", "events"),
        ("Storage Queue Data Message Sender", "rejects"),
    }


def test_the_scale_controller_can_read_the_length_of_a_service_bus_queue() -> None:
    """Reading it takes Manage; with less, the scale controller only sees whether there is a message."""
    assert roles("service-bus.bicep") == {
        ("Azure Service Bus Data Owner", "requests"),
        ("Azure Service Bus Data Sender", "events"),
        ("Azure Service Bus Data Sender", "rejects"),
    }
    assert "*Azure Service Bus Data Owner*, on the requests queue" in text(ROOT / "docs" / "queues.md")


def test_an_operator_may_read_events_and_run_replay_reconcile_and_backfill_and_nothing_else() -> None:
    assert roles("state-table.bicep", of_operator=True) == {("Storage Table Data Contributor", "table")}
    assert roles("storage-queues.bicep", of_operator=True) == {
        ("Storage Queue Data Message Processor", "events"),
        ("Storage Queue Data Contributor", "rejects"),
        ("Storage Queue Data Message Sender", "requests"),
    }
    assert roles("service-bus.bicep", of_operator=True) == {
        ("Azure Service Bus Data Receiver", "events"),
        ("Azure Service Bus Data Receiver", "rejects"),
        ("Azure Service Bus Data Sender", "requests"),
    }
    for assignment in deployed("Microsoft.Authorization/roleAssignments"):
        assert assignment.condition in {None, "!empty(principalId)"}


def test_the_host_uses_blobs_only() -> None:
    settings = one("function-app.bicep", "appSettings").text
    assert set(re.findall(r"AzureWebJobsStorage__(\w+)", settings)) == {"blobServiceUri", "credential", "clientId"}
    endpoints = [module.properties["params.groupId"] for module in declarations("module", "host-storage.bicep")]
    assert endpoints == ["'blob'"]


def test_flex_consumption_gets_no_setting_that_it_refuses() -> None:
    assert "ftpsState" not in "".join(code_of(path) for path in BICEP)
    for policy in ("ftp", "scm"):
        assert one("function-app.bicep", policy).properties["properties.allow"] == "false"


def test_changes_of_the_site_are_made_one_after_the_other() -> None:
    assert one("function-app.bicep", "ftp").properties["dependsOn"] == "[appSettings]"
    assert one("function-app.bicep", "scm").properties["dependsOn"] == "[ftp]"


def test_the_site_is_reached_by_its_own_name() -> None:
    files = [*BICEP, *(ROOT / "docs").glob("*.md"), *(ROOT / ".github").rglob("*.yml"), ROOT / "README.md"]
    assert [path.name for path in files if "azurewebsites.net" in text(path)] == []
    outputs = {output.symbol: output.value for output in declarations("output", "main.bicep")}
    assert outputs["APP_URL"] == "app.outputs.url"
    assert {"AZURE_LOCATION", "AZURE_TENANT_ID", "AZURE_RESOURCE_GROUP"} <= set(outputs)
    (url,) = [output for output in declarations("output", "function-app.bicep") if output.symbol == "url"]
    assert url.value == "'https://${app.properties.defaultHostName}'"


def test_keys_are_off_and_tls_is_new() -> None:
    for file in ACCOUNTS:
        account = one(file, "account").properties
        assert account["properties.allowSharedKeyAccess"] == "false"
        assert account["properties.allowBlobPublicAccess"] == "false"
        assert account["properties.allowCrossTenantReplication"] == "false"
        assert account["properties.minimumTlsVersion"] == "'TLS1_2'"
    namespace = one("service-bus.bicep", "namespace").properties
    assert (namespace["properties.disableLocalAuth"], namespace["properties.minimumTlsVersion"]) == ("true", "'1.2'")
    assert one("monitoring.bicep", "workspace").properties["properties.features.disableLocalAuth"] == "true"
    assert one("monitoring.bicep", "insights").properties["properties.DisableLocalAuth"] == "true"


def test_a_private_installation_is_closed_by_rule_and_by_default() -> None:
    for file, symbol in [*((file, "account") for file in ACCOUNTS), ("vault.bicep", "vault")]:
        service = one(file, symbol).properties
        assert service["properties.publicNetworkAccess"] == "isPrivate ? 'Disabled' : 'Enabled'"
        assert service["properties.networkAcls.defaultAction"] == "isPrivate ? 'Deny' : 'Allow'"
        assert service["properties.networkAcls.bypass"] == "'None'"
    namespace = one("service-bus.bicep", "namespace").properties
    assert namespace["properties.publicNetworkAccess"] == "isPrivate ? 'Disabled' : 'Enabled'"


def test_a_deleted_vault_and_deleted_function_keys_can_be_recovered() -> None:
    vault = one("vault.bicep", "vault").properties
    assert vault["properties.enableSoftDelete"] == vault["properties.enablePurgeProtection"] == "true"
    assert vault["properties.createMode"] == "createMode"
    blobs = one("host-storage.bicep", "blobs").properties
    for policy in ("deleteRetentionPolicy", "containerDeleteRetentionPolicy"):
        assert (blobs[f"properties.{policy}.enabled"], blobs[f"properties.{policy}.days"]) == ("true", "7")


def test_every_service_sends_its_logs_to_the_workspace() -> None:
    audited = {setting.file: setting for setting in deployed("Microsoft.Insights/diagnosticSettings")}
    assert set(audited) == {*ACCOUNTS, "service-bus.bicep", "vault.bicep", "function-app.bicep"}
    for setting in audited.values():
        assert setting.properties["properties.workspaceId"] == "workspace.id"
    private, public = audited["service-bus.bicep"].properties["properties.logs"].split(": [")
    assert private.startswith("isPrivate")
    assert "RuntimeAuditLogs" in private and "RuntimeAuditLogs" not in public
    assert "FunctionAppLogs" in audited["function-app.bicep"].text
    assert "dailyQuotaGb: dailyLogLimit" in one("monitoring.bicep", "workspace").text


def test_subnets_have_rules_and_the_endpoints_no_way_out() -> None:
    network = one("network.bicep", "network").text
    assert re.findall(r"networkSecurityGroup: \{ id: (\w+)\.id \}", network) == ["appRules", "endpointRules"]
    assert re.findall(r"defaultOutboundAccess: (\w+)", network) == ["true", "false"]
    for rules in ("appRules", "endpointRules"):
        source = one("network.bicep", rules).text
        priorities = re.findall(r"direction: '(\w+)'\s+access: '(\w+)'\s+priority: (\d+)", source)
        assert len(set(priorities)) == len(priorities) == source.count("priority:")
        for direction in {direction for direction, _, _ in priorities}:
            last = max((int(number), access) for where, access, number in priorities if where == direction)
            assert last == (4000, "Deny"), f"{rules} end with a refusal of what is {direction}"


def test_a_private_app_reaches_the_internet_by_https_and_certificates_of_issuers_by_http() -> None:
    """A signer's certificate names its issuer's by URLs such as http://www.microsoft.com/pkiops/certs/….crt."""
    rules: list[tuple[int, str, set[str]]] = sorted(
        (int(priority), access, set(re.findall(r"[\d*]+", ports)))
        for access, priority, destination, ports in re.findall(
            r"direction: 'Outbound'\s+access: '(\w+)'\s+priority: (\d+)\s.*?destinationAddressPrefix: (\S+)\s+"
            r"destinationPortRanges?: ([^\n]+)",
            one("network.bicep", "appRules").text,
            re.DOTALL,
        )
        if destination in {"'Internet'", "'*'"}
    )

    def access_to(port: str) -> str:
        return next(access for _, access, ports in rules if ports & {port, "*"})

    assert {port: access_to(port) for port in ("22", "80", "443", "5671", "8080")} == {
        **dict.fromkeys(("80", "443"), "Allow"),
        **dict.fromkeys(("22", "5671", "8080"), "Deny"),
    }


def test_the_site_follows_the_rule_sets() -> None:
    app = one("function-app.bicep", "app").properties
    assert app["properties.httpsOnly"] == "true"
    assert app["properties.clientAffinityEnabled"] == "false"
    assert app["properties.siteConfig.http20Enabled"] == "true"
    assert app["properties.siteConfig.minTlsVersion"] == "'1.2'"
    assert one("function-app.bicep", "plan").properties["properties.zoneRedundant"] == "zoneRedundant"


def test_urls_are_joined_by_the_function_for_it() -> None:
    for file in ("storage-queues.bicep", "service-bus.bicep"):
        (queues,) = [output for output in declarations("output", file) if output.symbol == "queues"]
        assert re.findall(r"(\w+)Url: uri\(base, (\w+)\.name\)", queues.value) == [
            *(("events", "events"), ("rejects", "rejects"), ("requests", "requests"))
        ]
    joined = {"tableUrl", "packageContainerUrl", "secretUrl", "APP_WEBHOOK_URL"}
    urls = [output for output in declarations("output") if output.symbol in joined]
    assert len(urls) == len(joined) and all(output.value.startswith("uri(") for output in urls)


def test_the_queues_can_have_a_lock_against_deletion() -> None:
    lock = one("storage-queues.bicep", "lock")
    assert (lock.condition, lock.properties["scope"]) == ("deleteLock", "account")
    assert lock.properties["properties.level"] == "'CanNotDelete'"
