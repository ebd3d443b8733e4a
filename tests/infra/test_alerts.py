"""The alert rules, and all queries as Microsoft's parser reads them: test_alert_queries.py runs those of alerts."""

import json
import re
import subprocess
from typing import Any

import pytest

from tests.contract import CONTRACTS, PATH
from tests.infra.bicep import INFRA, ROOT, declarations, deployed, text
from tests.infra.queries import ALERTS, QUERIES, TABLES

REPORTS_ONCE = {"rejects", "backfill", "missed", "poison"}
"""Alerts that mail for each new row. All others are about a state, and resolve themselves when it ends."""


def parsed(queries: dict[str, str]) -> dict[str, Any]:
    """What Microsoft's Kusto language service says of the queries."""
    script = ROOT / "tests" / "infra" / "parse_queries.js"
    assert CONTRACTS.exists(), "the language service is not installed here: `make test` installs it"
    result = subprocess.run(
        ["node", str(script)],  # noqa: S607 - as installed with the test tools
        input=json.dumps({"tables": TABLES, "queries": queries}),
        env={"PATH": PATH, "NODE_PATH": str(CONTRACTS / "node_modules")},
        capture_output=True,
        text=True,
        check=True,
    )
    answer: dict[str, Any] = json.loads(result.stdout)
    return answer


@pytest.mark.e2e
def test_microsofts_language_service_finds_nothing_wrong_with_any_query() -> None:
    results = parsed(QUERIES)
    assert {name: result["diagnostics"] for name, result in results.items() if result["diagnostics"]} == {}
    without_time = {name for name in ALERTS if "TimeGenerated" not in results[name]["columns"]}
    assert without_time == set(), "an alert rule sorts rows into its window by their time"


@pytest.mark.e2e
def test_the_language_service_refuses_reserved_words_and_unknown_columns() -> None:
    results = parsed(
        {
            "reserved": "AppTraces | summarize last = max(TimeGenerated)",
            "unknown": "AppTraces | where Missing == ''",
            "table": "AppTrace",
        }
    )
    codes = {name: result["diagnostics"][0].split()[0] for name, result in results.items()}
    assert codes == {"reserved": "KS228", "unknown": "KS142", "table": "KS142"}


def test_every_query_is_an_alert_or_a_chart() -> None:
    charts = set(re.findall(r"loadTextContent\('queries/([\w-]+)\.kql'\)", text(INFRA / "workbook.bicep")))
    assert set(ALERTS) | charts == set(QUERIES)
    assert set(ALERTS) & charts == set()


def test_alerts_look_back_for_longer_than_a_row_takes_to_arrive() -> None:
    (rules,) = deployed("Microsoft.Insights/scheduledQueryRules")
    assert rules.properties["properties.evaluationFrequency"] == "'PT15M'"
    longer = {name: alert.window for name, alert in ALERTS.items() if alert.window != "PT30M"}
    days = {"oldest-request": "P2D", "reconcile": "P1D", "standstill": "P1D"}
    assert longer == {**days, "freshness": "PT6H", "drifted": "PT2H"}


def test_alerts_that_report_something_once_do_not_resolve_themselves() -> None:
    (rules,) = deployed("Microsoft.Insights/scheduledQueryRules")
    assert rules.properties["properties.autoMitigate"] == "item.resolves"
    assert {name for name, alert in ALERTS.items() if not alert.resolves} == REPORTS_ONCE


def test_metric_alerts_resolve_themselves() -> None:
    for alert in deployed("Microsoft.Insights/metricAlerts"):
        assert alert.properties["properties.autoMitigate"] == "true"


def test_azure_checks_every_query_whose_table_exists_before_its_first_row() -> None:
    (rules,) = deployed("Microsoft.Insights/scheduledQueryRules")
    assert rules.properties["properties.skipQueryValidation"] == "contains(item.query, 'StorageQueueLogs')"
    skipped = {name for name in ALERTS if "StorageQueueLogs" in QUERIES[name]}
    assert skipped == {"poison", "standstill"}


def test_health_is_asked_for_from_outside() -> None:
    (test,) = deployed("Microsoft.Insights/webtests")
    assert test.properties["properties.Request.RequestUrl"] == "uri(appUrl, 'api/health')"
    assert test.properties["properties.ValidationRules.ExpectedHttpStatusCode"] == "200"
    alert = next(one for one in deployed("Microsoft.Insights/metricAlerts") if one.file == "health.bicep")
    assert alert.properties["properties.criteria.webTestId"] == "test.id"


def test_the_objective_in_the_query_is_the_one_in_the_page() -> None:
    (late,) = re.findall(r"todouble\(record\.delay\) > (\d+)", QUERIES["freshness"])
    (allowed,) = {int(factor) for factor in re.findall(r"late\w* \* (\d+) > published", QUERIES["freshness"])}
    assert (int(late), allowed) == (5 * 60, 10)
    page = text(ROOT / "docs" / "operations.md")
    assert "99 %" in page and "five minutes" in page and "ten times" in page


def test_the_page_lists_every_alert_with_its_severity() -> None:
    page = text(ROOT / "docs" / "operations.md").partition("## Alerts")[2].partition("\n## ")[0]
    listed: dict[str, str] = {}
    for names, severity in re.findall(r"(?m)^\| (`[^|]+) \| (\d[^|]*) \|", page):
        listed |= dict.fromkeys(re.findall(r"`([\w-]+)`", names), severity)
    severities = dict(re.findall(r"name: '([\w-]+)'\n(?:    .*\n)*?    severity: (\d)", text(INFRA / "alerts.bicep")))
    expected = {name: severity + (", once" if name in REPORTS_ONCE else "") for name, severity in severities.items()}
    assert listed == expected | {"health": "1", "dead-letters": "1"}


def test_the_email_address_is_the_only_receiver() -> None:
    group = next(one for one in declarations("resource", "alerts.bicep") if one.symbol == "group")
    receivers = group.properties["properties.emailReceivers"]
    assert receivers.startswith("empty(email) ? [] :") and "emailAddress: email" in receivers


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


@pytest.mark.parametrize("name", [name for name, query in QUERIES.items() if "AppTraces" in query])
def test_a_query_asks_for_events_and_fields_that_the_code_writes(name: str) -> None:
    query = re.sub(r"(?m)^//.*$", "", QUERIES[name])
    wanted = re.findall(r'"([a-z]+\.[a-z-]+)"', query)
    assert wanted
    known = logged()
    assert set(wanted) <= set(known)
    fields = set(re.findall(r"record\.(\w+)", query)) - {"event"}
    assert fields <= set().union(*(known[event] for event in wanted))


@pytest.mark.parametrize("name", ["poison", "standstill"])
def test_a_query_of_the_storage_log_asks_for_queues_that_there_are(name: str) -> None:
    queues = {part.strip("/") for part in re.findall(r'Uri contains "([\w/-]+)"', QUERIES[name])}
    assert queues <= {"referral-requests", "referral-requests-poison"}
    names = {one.properties["name"] for one in declarations("resource", "storage-queues.bicep")}
    assert {"'referral-requests'", "'${requests.name}-poison'"} <= names
