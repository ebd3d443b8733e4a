"""The hooks that azd runs around provisioning, against a stand-in of Azure Resource Manager and of azd."""

import importlib.util
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from referral_fn.settings import read_settings
from tests.infra.bicep import INFRA, ROOT, text

pytestmark = pytest.mark.e2e
SUBSCRIPTION = "00000000-0000-0000-0000-000000000001"
QUEUES = {"EVENTS_URL": "referral-events", "REJECTS_URL": "referral-rejects", "REQUESTS_URL": "referral-requests"}
AZD = """#!/bin/sh
if [ "$1" = auth ]; then echo '{"token": "a-token"}'; else echo "$@" >> "$(dirname "$0")/calls"; fi
"""


@pytest.fixture
def hooks(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("hooks", INFRA / "hooks.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "PAUSE", 0.01)
    return module


class ResourceManager:
    """The calls that the hook makes: a resource provider, and the deleted vaults."""

    def __init__(self) -> None:
        self.states = ["Registered"]
        """The states that the resource provider is in, one for each look."""
        self.vaults: list[list[dict[str, Any]]] = [[]]
        """The pages of deleted vaults."""
        self.calls: list[str] = []
        self.status = 200
        self.origin = ""

    def answer(self, call: str, authorization: str | None) -> tuple[int, Any]:
        assert authorization == "Bearer a-token"
        self.calls.append(call)
        path = call.partition("?")[0]
        if path.endswith("/deletedVaults"):
            number = int(call.partition("page=")[2] or 0)
            following = number + 1 < len(self.vaults)
            link = f"{self.origin}{path.partition(' ')[2]}?page={number + 1}"
            return self.status, {"value": self.vaults[number], **({"nextLink": link} if following else {})}
        is_look = call.startswith("GET") and len(self.states) > 1
        return self.status, {"registrationState": self.states.pop(0) if is_look else self.states[0]}


@pytest.fixture
def azure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ResourceManager]:
    manager = ResourceManager()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, document = manager.answer(f"{self.command} {self.path}", self.headers["Authorization"])
            body = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET  # noqa: N815

        def log_message(self, *_: Any) -> None:
            """Keep the output of the tests clean."""

    (tmp_path / "azd").write_text(AZD)
    (tmp_path / "azd").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        manager.origin = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield manager
        server.shutdown()
        thread.join()


@pytest.fixture
def run(hooks: ModuleType, azure: ResourceManager, tmp_path: Path) -> Callable[..., list[str]]:
    """Runs the hook before provisioning, and returns what it had azd do."""

    def before(**environment: str) -> list[str]:
        basics = {"AZURE_SUBSCRIPTION_ID": SUBSCRIPTION, "AZURE_ENV_NAME": "prod", "AZURE_LOCATION": "westeurope"}
        hooks.preprovision({**basics, "AZURE_RESOURCE_MANAGER": azure.origin, **environment})
        calls = tmp_path / "calls"
        return calls.read_text().splitlines() if calls.exists() else []

    return before


def deleted(group: str, location: str = "westeurope") -> dict[str, Any]:
    vault = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{group}/providers/Microsoft.KeyVault/vaults/kv-1234567890abc"
    return {"properties": {"vaultId": vault, "tags": {"azd-env-name": "prod"}, "location": location}}


def test_a_private_network_gets_its_resource_provider(run: Callable[..., list[str]], azure: ResourceManager) -> None:
    azure.states = ["NotRegistered", "Registering", "Registered"]
    assert run(PRIVATE_NETWORK="true") == []
    provider = f"/subscriptions/{SUBSCRIPTION}/providers/Microsoft.App"
    calls = [call.partition("?")[0] for call in azure.calls]
    assert calls[:4] == [f"GET {provider}", f"POST {provider}/register", f"GET {provider}", f"GET {provider}"]


def test_a_registered_provider_is_left_alone(run: Callable[..., list[str]], azure: ResourceManager) -> None:
    run(PRIVATE_NETWORK="true")
    assert not [call for call in azure.calls if call.startswith("POST")]


def test_a_public_installation_registers_nothing(run: Callable[..., list[str]], azure: ResourceManager) -> None:
    azure.states = ["NotRegistered"]
    run()
    assert not [call for call in azure.calls if "Microsoft.App" in call]


def test_a_provider_that_is_not_registered_in_time_is_an_error(
    run: Callable[..., list[str]], azure: ResourceManager, hooks: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hooks, "REGISTRATION_LIMIT", 0.05)
    azure.states = ["Registering"]
    with pytest.raises(hooks.HookError, match="still Registering"):
        run(PRIVATE_NETWORK="true")


def test_a_deleted_vault_of_this_installation_is_recovered(
    run: Callable[..., list[str]], azure: ResourceManager
) -> None:
    azure.vaults = [[deleted("rg-referrals-test")], [deleted("RG-Referrals-prod", "West Europe")]]
    assert run() == ["env set VAULT_CREATE_MODE recover"]


def test_a_vault_that_is_back_is_not_recovered_again(run: Callable[..., list[str]], azure: ResourceManager) -> None:
    assert run(VAULT_CREATE_MODE="recover") == ["env set VAULT_CREATE_MODE default"]


def test_vaults_of_others_are_left_alone(run: Callable[..., list[str]], azure: ResourceManager) -> None:
    azure.vaults = [[deleted("rg-prod"), deleted("rg-referrals-prod2"), deleted("rg-referrals-prod", "northeurope")]]
    assert run() == [], "of another template with an environment of this name, another environment, another region"
    assert "'rg-referrals-${environmentName}'" in text(INFRA / "main.bicep")


def test_other_modes_have_no_vault_to_recover(run: Callable[..., list[str]], azure: ResourceManager) -> None:
    azure.vaults = [[deleted("rg-referrals-prod")]]
    assert run(REFERRALS_AUTH="federated-app") == []
    assert run(REFERRALS_AUTH="app-user", AZURE_LOCATION="") == ["env set VAULT_CREATE_MODE recover"]


def test_a_refusal_of_azure_is_an_error(
    run: Callable[..., list[str]], azure: ResourceManager, hooks: ModuleType
) -> None:
    azure.status = 403
    with pytest.raises(hooks.HookError, match="403"):
        run()


def test_without_a_subscription_a_private_network_must_wait(run: Callable[..., list[str]], hooks: ModuleType) -> None:
    assert run(AZURE_SUBSCRIPTION_ID="") == []
    with pytest.raises(hooks.HookError, match="AZURE_SUBSCRIPTION_ID"):
        run(AZURE_SUBSCRIPTION_ID="", PRIVATE_NETWORK="true")


@pytest.mark.parametrize("origin", ["https://stref.queue.core.windows.net", "sb://sb-ref.servicebus.windows.net"])
def test_afterwards_local_settings_name_the_deployed_queues(
    origin: str, hooks: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "local.settings.json.example").write_text(text(ROOT / "local.settings.json.example"))
    monkeypatch.setattr(hooks, "ROOT", tmp_path)
    urls = {name: f"{origin}/{queue}" for name, queue in QUEUES.items()}
    hooks.postprovision({**urls, "APP_WEBHOOK_URL": "https://app.example.com/api/webhooks/partner-center"})
    values = json.loads((tmp_path / "local.settings.json").read_text())["Values"]
    assert {name: values[name] for name in urls} == urls
    assert read_settings(values).requests_url == urls["REQUESTS_URL"]
    assert "register --url https://app.example.com/api/webhooks/partner-center" in capsys.readouterr().out
    (tmp_path / "local.settings.json").write_text("mine")
    hooks.postprovision({**urls, "APP_WEBHOOK_URL": "https://app.example.com"})
    assert (tmp_path / "local.settings.json").read_text() == "mine"
    with pytest.raises(hooks.HookError, match="APP_WEBHOOK_URL"):
        hooks.postprovision(urls)


def test_azd_runs_the_hooks() -> None:
    hooks = yaml.safe_load(text(ROOT / "azure.yaml"))["hooks"]
    for name in ("preprovision", "postprovision"):
        assert hooks[name]["posix"]["run"] == f"python3 infra/hooks.py {name}"
        assert hooks[name]["windows"]["run"] == f"python infra/hooks.py {name}"


@pytest.mark.parametrize("arguments", [[], ["up"], ["preprovision", "x"]])
def test_another_name_is_wrong_usage(hooks: ModuleType, arguments: list[str]) -> None:
    assert hooks.main(arguments) == 2
