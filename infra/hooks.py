"""What azd runs around provisioning: see azure.yaml. Needs Python and azd, and no package.

python3 infra/hooks.py preprovision     # registers a resource provider, and recovers a deleted vault
python3 infra/hooks.py postprovision    # prints the webhook's URL, and writes local.settings.json
"""

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PROVIDER = "Microsoft.App"
"""Flex Consumption joins a network by this provider's delegation, and no template registers it."""

REGISTRATION_LIMIT = 300
"""Seconds to wait for the registration, which takes about one minute."""


PAUSE = 5.0
"""Seconds between two looks at it."""


QUEUES = ("EVENTS_URL", "REJECTS_URL", "REQUESTS_URL")


class HookError(Exception):
    """A step failed; the message says what to do."""


def main(arguments: "list[str]") -> int:
    """Run the hook that is named. Returns the exit status."""
    hooks = {"preprovision": preprovision, "postprovision": postprovision}
    if len(arguments) != 1 or arguments[0] not in hooks:
        print(__doc__, file=sys.stderr)
        return 2
    try:
        hooks[arguments[0]](os.environ)
    except HookError as error:
        print(f"{arguments[0]}: {error}", file=sys.stderr)
        return 1
    return 0


def preprovision(environment: Mapping[str, str]) -> None:
    """Prepare what the template cannot do itself.

    Raises:
        HookError: Azure refused, or did not answer.
    """
    is_private = environment.get("PRIVATE_NETWORK", "").lower() == "true"
    if not environment.get("AZURE_SUBSCRIPTION_ID"):
        if is_private:
            raise HookError("choose the subscription first: azd env set AZURE_SUBSCRIPTION_ID {ID}")
        return  # azd asks for it after this hook. A new environment has no vault to recover
    azure = Azure(environment)
    if is_private:
        azure.register_provider()
    if environment.get("REFERRALS_AUTH", "app-user") != "app-user":
        return  # the other modes have no vault
    mode = "recover" if azure.has_deleted_vault() else "default"
    if mode != environment.get("VAULT_CREATE_MODE", "default"):
        _azd("env", "set", "VAULT_CREATE_MODE", mode)
    if mode == "recover":
        print("The deleted vault of this installation comes back, with the consent that is stored in it.")


def postprovision(environment: Mapping[str, str]) -> None:
    """Show what to do next, and let `func start` run the app against the same queues.

    Raises:
        HookError: a value that the template puts out is missing.
    """
    missing = [name for name in ("APP_WEBHOOK_URL", *QUEUES) if not environment.get(name)]
    if missing:
        raise HookError(f"the deployment has not put out {', '.join(missing)}")
    example = json.loads((ROOT / "local.settings.json.example").read_text("utf-8"))
    values = example["Values"]
    values.update({name: environment[name] for name in ("REFERRALS_URL", *QUEUES) if environment.get(name)})
    account, _, queue = environment["REQUESTS_URL"].rpartition("/")
    if account.startswith("sb://"):
        del values["ReferralRequests__queueServiceUri"]
        values["ReferralRequests__fullyQualifiedNamespace"] = account.removeprefix("sb://")
    else:
        values["ReferralRequests__queueServiceUri"] = account
    values["REFERRAL_REQUESTS_QUEUE"] = queue
    target = ROOT / "local.settings.json"
    if target.exists():
        print("local.settings.json is kept as it is.")
    else:
        target.write_text(json.dumps(example, indent=2) + "\n", "utf-8")
        print("local.settings.json is written, for `func start`: docs/local-stack.md.")
    print(f"The webhook: referral-fn webhook register --url {environment['APP_WEBHOOK_URL']}")


class Azure:
    """Azure Resource Manager, with azd's own sign-in."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._origin = environment.get("AZURE_RESOURCE_MANAGER", "https://management.azure.com").rstrip("/")
        self._subscription = environment.get("AZURE_SUBSCRIPTION_ID", "")
        self._group = f"rg-referrals-{environment.get('AZURE_ENV_NAME', '')}".lower()
        self._region = environment.get("AZURE_LOCATION", "")
        self._token = json.loads(_azd("auth", "token", "--output", "json"))["token"]

    def register_provider(self) -> None:
        """Register the resource provider, and wait until it is.

        Raises:
            HookError: it is not registered in time, or may not be.
        """
        path = f"providers/{PROVIDER}"
        deadline = time.monotonic() + REGISTRATION_LIMIT
        state = self._call("GET", path, "2021-04-01")["registrationState"]
        if state != "Registered":
            print(f"Registering the resource provider {PROVIDER}, once per subscription", flush=True)
            self._call("POST", f"{path}/register", "2021-04-01")
        while state != "Registered":
            if time.monotonic() > deadline:
                raise HookError(f"{PROVIDER} is still {state}: run `az provider register -n {PROVIDER} --wait`")
            time.sleep(PAUSE)
            state = self._call("GET", path, "2021-04-01")["registrationState"]

    def has_deleted_vault(self) -> bool:
        """Whether a vault of this installation was deleted and is kept. A new one of its name would be refused.

        Raises:
            HookError: Azure refused, or did not answer.
        """
        page = self._call("GET", "providers/Microsoft.KeyVault/deletedVaults", "2023-07-01")
        vaults = page["value"]
        while page.get("nextLink"):
            page = self._request("GET", page["nextLink"])
            vaults += page["value"]
        return any(self._owns(vault["properties"]) for vault in vaults)

    def _owns(self, vault: "dict[str, Any]") -> bool:
        """Not by its tags: other azd templates may have an environment of the same name."""
        is_of_group = f"/resourcegroups/{self._group}/" in vault["vaultId"].lower()
        return is_of_group and self._region in {"", vault["location"].lower().replace(" ", "")}

    def _call(self, method: str, path: str, version: str) -> Any:
        return self._request(method, f"{self._origin}/subscriptions/{self._subscription}/{path}?api-version={version}")

    def _request(self, method: str, url: str) -> Any:
        request = urllib.request.Request(url, method=method, headers={"Authorization": f"Bearer {self._token}"})
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            raise HookError(f"{method} {url} was answered with {error.code}") from None
        except OSError as error:
            raise HookError(f"{method} {url} was not answered: {error}") from None


def _azd(*arguments: str) -> str:
    try:
        return subprocess.run(["azd", *arguments], check=True, capture_output=True, text=True).stdout
    except FileNotFoundError:
        raise HookError("azd is not on the path") from None
    except subprocess.CalledProcessError as error:
        raise HookError(f"azd {' '.join(arguments)} failed: {error.stderr.strip()}") from None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
