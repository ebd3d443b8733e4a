"""The docs, compared with the code: settings, links and the README's promises of itself."""

import dataclasses
import re
from pathlib import Path

import pytest

from referral_fn.settings import Settings
from schemas.event_examples import EVENTS
from tests.contract import ROOT

PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / "examples" / "README.md"]
NO_DEFAULT = "\N{EN DASH}"


def settings_tables() -> dict[str, str]:
    """Each setting of docs/settings.md with its default."""
    text = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8").partition("## host.json")[0]
    rows = re.findall(r"(?m)^\| `(\w+)` \| (.+?) \|", text)
    return {name: default.strip("`") for name, default in rows}


def test_every_setting_is_documented_with_its_default() -> None:
    documented = settings_tables()
    for field in dataclasses.fields(Settings):
        name, default = field.metadata["name"], field.default
        assert name in documented, name
        if default is dataclasses.MISSING:
            expected = "required"
        elif isinstance(default, tuple):
            expected = ",".join(str(item) for item in default)
        else:
            expected = NO_DEFAULT if default is None else str(default)
        assert documented[name].split(", ")[0] == expected, name


def test_every_documented_setting_is_read_by_the_code() -> None:
    files = [*(ROOT / "referral_fn").rglob("*.py"), ROOT / "function_app.py", *(ROOT / "infra").glob("*.bicep")]
    code = "".join(path.read_text(encoding="utf-8") for path in files)
    assert [name for name in settings_tables() if name not in code] == []


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub makes of a page's headings, and those it sets itself."""
    text = re.sub(r"(?ms)^```.*?^```", "", page.read_text(encoding="utf-8"))
    headings = re.findall(r"(?m)^#+ (.+)$", text)
    generated = {re.sub(r"[^\w -]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}
    return generated | set(re.findall(r'<a id="(.+?)">', text))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_to_a_file_leads_somewhere(page: Path) -> None:
    text = re.sub(r"(?ms)^```.*?^```", "", page.read_text(encoding="utf-8"))
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if not re.match(r"https?:|mailto:", target):
            path, _, anchor = target.partition("#")
            linked = (page.parent / path) if path else page
            assert linked.exists(), target
            assert not anchor or anchor in anchors(linked), target


def test_the_readme_is_short_and_links_to_every_page() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 200
    missing = [page.name for page in (ROOT / "docs").glob("*.md") if f"(docs/{page.name})" not in text]
    assert missing == []


def test_the_readme_shows_the_event_of_a_first_call_as_it_is() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    shown = dict(re.findall(r'(?m)^      "(\w+)": "(.+)",$', text))
    event = EVENTS["referral-2018"]
    assert list(shown) == [name for name in event if name != "data"]
    assert {name: value for name, value in shown.items() if name != "source"}.items() <= event.items()
    for name, value in re.findall(r'(?m)^        "(\w+)": "([^"]+)",$', text):
        assert event["data"][name] == value
