"""The layout of the package: imports point down, without a circle, and no file is too long to keep in mind."""

import ast
import graphlib
import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGE = "referral_fn"
LAYERS = (
    {
        "errors",
        "gate",
        "http_call",
        "log",
        "retry",
        "setting_types",
        "settings",
        "single_flight",
        "strict_json",
        "timestamps",
    },
    {"credentials"},
    {"queues"},
    {"partner_center", "referral_list", "referrals", "telemetry", "webhooks"},
    {"state"},
    {"backfill", "forwarder", "reconcile"},
    {"optional_state", "queue_worker"},
    {"app"},
    {"api", "cli"},
    {"contract_triggers", "state_triggers"},
    {"__main__", "function_app"},
)
"""Modules and subpackages from the bottom to the top. Each may import from its own layer and from those below."""

FILES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts): path
    for path in [ROOT / "function_app.py", *sorted((ROOT / PACKAGE).rglob("*.py"))]
}
MAX_LINES = 300


def imports(path: Path) -> set[str]:
    """The modules that a file imports anywhere, in functions and for type checking included."""
    modules: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            members = {f"{node.module}.{alias.name}" for alias in node.names}
            modules |= {member if member in FILES else str(node.module) for member in members}
    return modules


ALL_IMPORTS = {module: imports(path) for module, path in FILES.items()}
IMPORTS = {module: {name for name in names if name in FILES} for module, names in ALL_IMPORTS.items()}


def distribution(module: str) -> str:
    """The name of the distribution that a module comes from. Those of `azure` share one namespace package."""
    parts = module.split(".")
    return "-".join(parts[: 2 if parts[0] == "azure" else 1]).replace("_", "-")


def part(module: str) -> str:
    """The module or subpackage of `LAYERS` that a module belongs to."""
    return module.removeprefix(f"{PACKAGE}.").split(".")[0]


def layer(name: str) -> int:
    (number,) = (number for number, names in enumerate(LAYERS) if name in names)
    return number


def test_every_module_has_its_layer() -> None:
    known = set().union(*LAYERS)
    assert {part(module) for module in FILES} - {PACKAGE, "__init__"} <= known


def test_no_import_points_up() -> None:
    upward = [
        f"{module} imports {name}"
        for module, names in IMPORTS.items()
        for name in names
        if layer(part(name)) > layer(part(module))
    ]
    assert upward == []


def test_no_modules_import_each_other_in_a_circle() -> None:
    graphlib.TopologicalSorter(IMPORTS).prepare()


def test_no_subpackages_import_each_other_in_a_circle() -> None:
    graph: dict[str, set[str]] = {}
    for module, imported in IMPORTS.items():
        graph.setdefault(part(module), set()).update({part(name) for name in imported} - {part(module)})
    graphlib.TopologicalSorter(graph).prepare()


def test_package_files_named_init_import_nothing() -> None:
    for path in (ROOT / PACKAGE).rglob("__init__.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        assert [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)] == [], path


def test_no_file_is_long() -> None:
    lines = {module: len(path.read_text(encoding="utf-8").splitlines()) for module, path in FILES.items()}
    assert {module: count for module, count in lines.items() if count > MAX_LINES} == {}


def test_what_is_imported_is_declared_and_nothing_else() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    declared = [*project["dependencies"], *project["optional-dependencies"]["cli"]]
    own = {*sys.stdlib_module_names, PACKAGE}
    imported = {name for names in ALL_IMPORTS.values() for name in names if name.split(".")[0] not in own}
    used = {distribution(name) for name in imported} - {"opentelemetry"}  # installed by those who want traces
    assert used == {re.split(r"[<>=; ]", line)[0] for line in declared}
