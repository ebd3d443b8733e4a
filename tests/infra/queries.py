"""The queries of infra, the tables they read, and the alerts that run them."""

import re
from dataclasses import dataclass

from tests.infra.bicep import INFRA, text

TABLES = {
    "AppTraces": "(TimeGenerated: datetime, Message: string, SeverityLevel: int, Properties: dynamic)",
    "StorageQueueLogs": "(TimeGenerated: datetime, OperationName: string, Uri: string, StatusCode: string)",
    "_LogOperation": "(TimeGenerated: datetime, Category: string, Operation: string, Level: string, Detail: string)",
}
"""The tables with the columns that matter here, as Azure Monitor's reference of tables has them."""

QUERIES = {path.stem: text(path) for path in sorted((INFRA / "queries").glob("*.kql"))}


@dataclass(frozen=True)
class Alert:
    """A rule that runs a query."""

    name: str
    window: str
    resolves: bool


ALERTS = {
    name: Alert(name, window, resolves == "true")
    for name, window, resolves in re.findall(
        r"name: '([\w-]+)'\n(?:    \w+: .+\n)*?    window: '(\w+)'\n    resolves: (\w+)\n"
        r"    query: loadTextContent\('queries/\1\.kql'\)",
        text(INFRA / "alerts.bicep"),
    )
}
