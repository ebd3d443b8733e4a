"""The files beside infra that a deployment and a template gallery ask for: host.json, azure.yaml, workflows, pages."""

import json
import re
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import flit_core.buildapi
import jsonschema
import pathspec
import pytest
import yaml

from tests.infra.bicep import INFRA, ROOT, text
from tests.infra.test_resources import ROLES

SPAN = {"type": "string", "pattern": r"^(\d+\.)?\d\d:\d\d:\d\d(\.\d+)?$"}


def strict(properties: dict[str, Any], *required: str) -> dict[str, Any]:
    """The schema of an object with no other members."""
    return {
        "type": "object",
        "additionalProperties": False,
        "properties": properties,
        **({"required": list(required)} if required else {}),
    }


HOST_JSON = strict(
    {
        "version": {"const": "2.0"},
        "functionTimeout": SPAN,
        "extensionBundle": strict(
            {
                "id": {"const": "Microsoft.Azure.Functions.ExtensionBundle"},
                "version": {"type": "string", "pattern": r"^[\[(]\d+\.\d+\.\d+, \d+\.\d+\.\d+[\])]$"},
            }
        ),
        "extensions": strict(
            {
                "http": strict({"routePrefix": {}}),
                "queues": strict(
                    {
                        "maxPollingInterval": SPAN,
                        "visibilityTimeout": SPAN,
                        "batchSize": {"type": "integer", "minimum": 1, "maximum": 32},
                        "maxDequeueCount": {"type": "integer", "minimum": 1},
                        "newBatchThreshold": {"type": "integer", "minimum": 0},
                        "messageEncoding": {"enum": ["base64", "none"]},
                    }
                ),
                "serviceBus": strict(
                    {
                        "maxConcurrentCalls": {"type": "integer", "minimum": 1},
                        "maxConcurrentSessions": {"type": "integer", "minimum": 1},
                        "maxAutoLockRenewalDuration": SPAN,
                    }
                ),
            }
        ),
        "logging": {"type": "object"},
    },
    "version",
)
"""The part of the published schema that this app's host.json touches."""

HOOK = strict({system: strict({"shell": {}, "run": {}}, "shell", "run") for system in ("posix", "windows")})
AZURE_YAML = strict(
    {
        "name": {"type": "string", "minLength": 2},
        "metadata": strict({"template": {"type": "string", "pattern": r"^[\w-]+@\d+\.\d+\.\d+$"}}, "template"),
        "requiredVersions": strict({"azd": {"type": "string"}}, "azd"),
        "infra": strict({"provider": {"enum": ["bicep", "terraform"]}, "path": {"type": "string"}}),
        "services": {
            "additionalProperties": strict(
                {
                    "host": {"const": "function"},
                    "language": {"const": "python"},
                    "project": {},
                    "remoteBuild": {"type": "boolean"},
                },
                *("host", "project"),
            )
        },
        "hooks": strict({"preprovision": HOOK, "postprovision": HOOK}),
        "pipeline": strict({"provider": {"const": "github"}, "variables": {"items": {"type": "string"}}}),
    },
    *("name", "metadata", "requiredVersions", "hooks", "pipeline"),
)
"""The same of azd's."""

AZURE: dict[str, Any] = yaml.safe_load(text(ROOT / "azure.yaml"))


def workflow(name: str) -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load(text(ROOT / ".github" / "workflows" / name))
    return document


def test_host_json_and_azure_yaml_keep_to_their_schemas() -> None:
    jsonschema.validate(json.loads(text(ROOT / "host.json")), HOST_JSON)
    jsonschema.validate(AZURE, AZURE_YAML)
    (service,) = AZURE["services"]
    assert f"'azd-service-name': '{service}'" in text(INFRA / "function-app.bicep")
    assert AZURE["services"][service]["remoteBuild"] is True


def test_variables_of_the_pipeline_are_parameters() -> None:
    variables = set(re.findall(r"\$\{(\w+)", text(INFRA / "main.parameters.json")))
    assert set(AZURE["pipeline"]["variables"]) <= variables
    assert {"REFERRALS_AUTH", "REFERRALS_URL", "REFERRAL_CONTACTS", "ALERT_EMAIL"} <= set(
        AZURE["pipeline"]["variables"]
    )


def test_the_page_has_the_values_of_host_json() -> None:
    extensions = json.loads(text(ROOT / "host.json"))["extensions"]
    values = json.loads(text(ROOT / "host.json")) | extensions["queues"] | extensions["serviceBus"]

    def as_written(names: str) -> str:
        """The value of a setting, or the sum of several, as the page writes it."""
        first, *others = [values[name] for name in re.findall(r"`(\w+)`", names)]
        if match := re.fullmatch(r"00:(\d\d):(\d\d)", str(first)):
            minutes, seconds = map(int, match.groups())
            return f"{minutes} min" if minutes else f"{seconds} s"
        return str(sum(others, start=first) if others else first)

    table = text(ROOT / "docs" / "settings.md").partition("## host.json")[2]
    claims = [
        claim.split(" = ") for cell in re.findall(r"(?m)^\| (`.+? = .+?) \|", table) for claim in cell.split(", ")
    ]
    assert claims
    for names, value in claims:
        assert as_written(names) == value.strip("`"), names


def test_production_is_deployed_after_the_tests_staging_and_a_preview() -> None:
    jobs = workflow("azure-dev.yml")["jobs"]

    def all_before(name: str) -> list[dict[str, Any]]:
        needed = jobs[name].get("needs")
        return [*all_before(needed), jobs[needed]] if needed else []

    tests = "./.github/workflows/ci.yml"
    deployments = {job["with"]["environment"]: name for name, job in jobs.items() if "azd up" in str(job.get("with"))}
    assert set(deployments) == {"staging", "production"}
    for name in deployments.values():
        assert tests in [job["uses"] for job in all_before(name)]
    earlier = [job["with"] for job in all_before(deployments["production"]) if job["uses"] != tests]
    assert [step["environment"] for step in earlier] == ["staging", "production-preview"]
    assert "--preview" in earlier[-1]["command"]


def test_the_workflow_asks_the_deployed_app_by_the_url_that_infra_puts_out() -> None:
    steps = workflow("azd.yml")["jobs"]["azd"]["steps"]
    (health,) = [step for step in steps if step.get("name") == "Is it healthy?"]
    assert '"$(azd env get-value APP_URL)/api/health"' in health["run"]
    assert health["if"].endswith("'azd up --no-prompt'")


def test_every_action_is_pinned_by_its_commit() -> None:
    for path in (ROOT / ".github" / "workflows").glob("*.yml"):
        for action in re.findall(r"uses: ([^.\s]\S*)", text(path)):
            assert re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", action), action


def test_the_workflow_compiles_lints_formats_and_checks_infra() -> None:
    commands = "\n".join(step.get("run", "") for step in workflow("ci.yml")["jobs"]["infra"]["steps"])
    for command in (
        "az bicep lint",
        "az bicep build-params",
        "az bicep format",
        "git diff --exit-code",
        "Assert-PSRule",
    ):
        assert command in commands
    job = workflow("ci.yml")["jobs"]["infra"]
    assert job["env"]["AZURE_BICEP_USE_BINARY_FROM_PATH"] == "false", "or the runner's compiler runs"
    rules = yaml.safe_load(text(ROOT / "ps-rule.yaml"))
    assert rules["configuration"]["AZURE_BICEP_FILE_EXPANSION_TIMEOUT"] >= 60, "by default 5 s"
    accepted = set(re.findall(r"AZR-\d{6}", text(ROOT / "ps-rule.yaml")))
    assert accepted == set(re.findall(r"AZR-\d{6}", text(ROOT / "docs" / "deploy.md")))


@pytest.mark.parametrize(
    "file",
    [
        *("README.md", "LICENSE", "SECURITY.md", "CODE_OF_CONDUCT.md", "CONTRIBUTING.md", "azure.yaml"),
        *(".github/ISSUE_TEMPLATE.md", ".github/workflows/azure-dev.yml", ".devcontainer/devcontainer.json"),
    ],
)
def test_the_files_of_a_gallery_template_are_there(file: str) -> None:
    assert text(ROOT / file).strip()


def test_the_readme_has_the_headings_of_a_gallery_template() -> None:
    headings = re.findall(r"(?m)^## (.+)$", text(ROOT / "README.md"))
    wanted = ["Features", "Getting Started", "Guidance", "Resources"]
    assert [heading for heading in headings if heading in wanted] == wanted
    assert "azd up" in text(ROOT / "README.md") and "azd down" in text(ROOT / "README.md")


def test_the_pipelines_identity_may_assign_the_roles_of_infra_and_no_others() -> None:
    page = text(ROOT / "docs" / "deploy.md").partition("## GitHub Actions")[2].partition("\n## ")[0]
    assert set(re.findall(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", page)) == set(ROLES.values())
    assert "--role Contributor" in page and '--role "Role Based Access Control Administrator"' in page


def test_every_option_in_the_page_is_a_parameter() -> None:
    section = text(ROOT / "docs" / "deploy.md").partition("## Options")[2].partition("\n## ")[0]
    options = {name for row in re.findall(r"(?m)^\| (`[^|]+) \|", section) for name in re.findall(r"`(\w+)`", row)}
    variables = set(re.findall(r"\$\{(\w+)", text(INFRA / "main.parameters.json")))
    assert options <= variables
    settings = set(re.findall(r"(?m)^\| `(\w+)` \|", text(ROOT / "docs" / "settings.md")))
    automatic = {"AZURE_ENV_NAME", "AZURE_LOCATION", "VAULT_CREATE_MODE"}
    assert variables - options - automatic <= settings


def ignored(name: str) -> list[str]:
    return text(ROOT / name).split()


@pytest.mark.e2e
def test_only_what_the_app_needs_is_deployed() -> None:
    ignored_by_azd = pathspec.GitIgnoreSpec.from_lines(text(ROOT / ".funcignore").splitlines())
    committed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)  # noqa: S607
    deployed = {Path(name).parts[0] for name in committed.stdout.splitlines() if not ignored_by_azd.match_file(name)}
    assert deployed == {"function_app.py", "host.json", "referral_fn", "requirements.txt", "schemas"}


def test_what_azd_and_builds_leave_is_neither_committed_nor_deployed() -> None:
    assert {"*_env", "__pycache__", "build", "*.egg-info", "infra", "tests", "local.settings.json"} <= set(
        ignored(".funcignore")
    )
    assert {"*_env/", "__pycache__/", "build/", "*.egg-info/", ".azure/", "local.settings.json"} <= set(
        ignored(".gitignore")
    )


def test_the_project_builds_as_azd_restore_has_it_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With several folders of code, a builder that guesses which is the package refuses."""
    monkeypatch.chdir(ROOT)
    with zipfile.ZipFile(tmp_path / flit_core.buildapi.build_wheel(str(tmp_path))) as wheel:
        files = {Path(name).parts[0] for name in wheel.namelist()}
        assert "referral_fn/settings.py" in wheel.namelist()
    assert {name for name in files if not name.endswith(".dist-info")} == {"referral_fn"}


def test_the_devcontainer_has_the_tools_that_the_pages_use() -> None:
    container = json.loads(text(ROOT / ".devcontainer" / "devcontainer.json"))
    assert "azure-functions-core-tools@4" in container["postCreateCommand"]
    features = " ".join(container["features"])
    assert "azure-cli" in features and "azure-dev/azd" in features and "node" in features


def test_the_example_of_local_settings_has_settings_that_there_are() -> None:
    values = json.loads(text(ROOT / "local.settings.json.example"))["Values"]
    page = text(ROOT / "docs" / "settings.md")
    unknown = {name for name in values if f"`{name}`" not in page}
    assert unknown == {"FUNCTIONS_WORKER_RUNTIME", "AzureWebJobsStorage"}
    assert "func start" in text(ROOT / "docs" / "local-stack.md")


def test_the_path_of_each_workflow_is_the_one_that_others_call() -> None:
    for job in workflow("azure-dev.yml")["jobs"].values():
        assert Path(ROOT / job["uses"]).exists()
