"""The documentation as a site: built strictly, every page in its navigation, every link and picture there, nothing fetched."""

import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from pages import ROOT, commands, fences, read, table

from features.signals import SIGNAL_NAMES, describe
from site_builder import gather
from site_builder.__main__ import main as write_sources

CONFIG = tomllib.loads((ROOT / "zensical.toml").read_text(encoding="utf-8"))["project"]
ZENSICAL = Path(sys.executable).with_name("zensical")


class Page(HTMLParser):
    """What a page of the site loads, links to, and can be linked at."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        said = {name: value or "" for name, value in attrs}
        self.anchors |= {said[name] for name in ("id", "name") if name in said}
        if tag == "a" and "href" in said:
            self.links.append(said["href"])
        if "src" in said:
            self.loads.append(said["src"])
        if tag == "link" and said.get("rel") in ("stylesheet", "icon", "preload", "preconnect"):
            self.loads.append(said["href"])


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the site's sources and configuration, as `make docs` lays them out."""
    folder = tmp_path_factory.mktemp("site")
    write_sources(folder / "build" / "docs")
    shutil.copy(ROOT / "zensical.toml", folder)
    return folder


@pytest.fixture(scope="module")
def site(place: Path) -> Path:
    built = build(place)
    assert built.returncode == 0, built.stdout + built.stderr
    return place / "build" / "site"


def build(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [ZENSICAL, "build", "--clean", "--strict"], cwd=folder, capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Page]:
    return {path: Page(path.read_text(encoding="utf-8")) for path in site.rglob("*.html") if path.name != "404.html"}


def in_navigation(entries: list[Any]) -> Iterator[str]:
    for entry in entries:
        for target in entry.values():
            if isinstance(target, str):
                yield target
            else:
                yield from in_navigation(target)


def test_every_page_is_in_the_navigation_once_and_nothing_else(place: Path) -> None:
    sources = place / "build" / "docs"
    named = list(in_navigation(CONFIG["nav"]))

    assert sorted(named) == sorted(path.relative_to(sources).as_posix() for path in sources.rglob("*.md"))


def test_every_link_and_picture_of_the_site_is_there(site: Path, pages: dict[Path, Page]) -> None:
    asked = [(page, target) for page, content in pages.items() for target in (*content.links, *content.loads)]
    inside = [(page, target) for page, target in asked if not re.match(r"[a-z]+:", target)]

    assert len(inside) > 2000
    assert [(page.name, target) for page, target in inside if not is_there(page, target, site, pages)] == []


def is_there(page: Path, target: str, site: Path, pages: dict[Path, Page]) -> bool:
    path, _, anchor = unquote(target).partition("#")
    goal = (page.parent / path).resolve() if path else page
    goal = goal / "index.html" if goal.is_dir() else goal
    return goal.is_file() and goal.is_relative_to(site) and (not anchor or anchor in pages[goal].anchors)


def test_reading_it_fetches_nothing_from_elsewhere(pages: dict[Path, Page]) -> None:
    """No fonts, scripts or pictures of others; and no block of mermaid, which the theme would fetch a script for."""
    elsewhere = {target for content in pages.values() for target in content.loads if re.match(r"(https?:)?//", target)}
    diagrams = [page.name for page in pages if 'class="mermaid"' in page.read_text(encoding="utf-8")]

    assert (elsewhere, diagrams) == (set(), [])
    assert [name for name in gather.places() if fences((ROOT / name).read_text(encoding="utf-8"), "mermaid")] == []


def test_a_broken_link_fails_the_build(site: Path, tmp_path: Path) -> None:
    shutil.copy(ROOT / "zensical.toml", tmp_path)
    shutil.copytree(site.parent / "docs", tmp_path / "build" / "docs")
    page = tmp_path / "build" / "docs" / "demo.md"
    whole = page.read_text(encoding="utf-8")
    for link in ("[x](nowhere.md)", "[x](decisions.md#nowhere)"):
        page.write_text(f"{whole}\n{link}\n", encoding="utf-8")
        assert build(tmp_path).returncode != 0, link


def test_the_reference_has_every_command_signal_and_key(place: Path) -> None:
    def reference(name: str) -> str:
        return (place / "build" / "docs" / "reference" / f"{name}.md").read_text(encoding="utf-8")

    titles = set(re.findall(r"^## omni (.+)$", reference("commands"), flags=re.M))
    assert titles == {words for words, command in commands().items() if not command.hidden}
    assert f"| `{SIGNAL_NAMES[0]}` | {describe(SIGNAL_NAMES[0])} |" in reference("signals")
    assert len(re.findall(r"^\| `", reference("signals"), flags=re.M)) == len(SIGNAL_NAMES)
    assert "| `OMNI_EVENT_LOG` |  |" not in reference("settings")
    assert "## POST /v1/decide" in reference("http")


@pytest.mark.parametrize("name", ["mapping", "rules", "settings"])
def test_every_key_of_the_reference_has_words(place: Path, name: str) -> None:
    """In a section the sentence above its table may say enough."""
    text = (place / "build" / "docs" / "reference" / f"{name}.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `.*\|$", text.split("\n## ")[0], flags=re.M)

    assert len(rows) > 10
    assert [row for row in rows if re.search(r"\|\s*\|$", row)] == []


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("text\n- a\n- b\n", "text\n\n- a\n- b\n"),
        ("1. a\n\n   ```sh\n   x\n   ```\n2. b\n", "1. a\n\n    ```sh\n    x\n    ```\n2. b\n"),
        ("```sh\n- a\n  b\n```\n", "```sh\n- a\n  b\n```\n"),
        ("- a\n  more\n\nend\n  - far\n", "- a\n    more\n\nend\n  - far\n"),
    ],
)
def test_lists_are_set_apart_as_the_site_needs_it(before: str, after: str) -> None:
    assert gather.for_site(before, "docs/demo.md") == after


@pytest.mark.parametrize(
    ("name", "link", "after"),
    [
        ("README.md", "[a](docs/demo.md#x)", "[a](demo.md#x)"),
        ("docs/guides/operator.md", "[a](../../mlflow/README.md)", "[a](../packages/mlflow.md)"),
        ("docs/demo.md", "[a](../training/pipeline.py)", "a"),
        ("README.md", "[a\nb](docs/demo.md)", "[a\nb](demo.md)"),
        ("README.md", '<img src="docs/images/flow.svg">', '<img src="images/flow.svg">'),
        ("docs/demo.md", "[a](https://example.org)", "[a](https://example.org)"),
        ("docs/demo.md", "`[a](b.md)`", "`[a](b.md)`"),
    ],
)
def test_links_lead_to_where_the_pages_lie(name: str, link: str, after: str) -> None:
    assert gather.for_site(f"{link}\n", name) == f"{after}\n"


def test_the_glossary_is_in_order_and_says_each_word_in_one_sentence() -> None:
    rows = table(read("docs/glossary.md"), "| word | what it means |")
    words = [row[0].lower() for row in rows]

    assert words == sorted(set(words))
    assert {"arm", "pscore", "champion", "hold-out", "ndcg"} <= set(words)
    assert [row for row in rows if len(row[1].split()) < 3 or ". " in row[1]] == []
