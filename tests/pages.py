"""The documentation as the tests read it: pages, their code, tables, anchors; and the command line that they speak of."""

import re
from pathlib import Path
from typing import Any

from typer.main import get_command

import omni

ROOT = Path(__file__).parent.parent
FOLDERS = ("docs", "features", "training", "serving", "mlflow", "tests")
_FILES = sorted([*ROOT.glob("*.md"), *(page for folder in FOLDERS for page in (ROOT / folder).rglob("*.md"))])
PAGES = {page: page.read_text(encoding="utf-8") for page in _FILES}
CURRENT = {page: text for page, text in PAGES.items() if page.name != "CHANGELOG.md"}
"""All but the one that also names what is no more."""


def read(name: str) -> str:
    """A page by its path from the root."""
    return (ROOT / name).read_text(encoding="utf-8")


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def prose(text: str) -> str:
    """A page without its fenced code, where a `#` begins no title."""
    return re.sub(r"^( *)(```|~~~).*?^\1\2 *$", "", text, flags=re.M | re.S)


def fences(text: str, language: str) -> list[str]:
    """The fenced code of one language."""
    return re.findall(rf"^ *```{language}\n(.*?)^ *```", text, flags=re.M | re.S)


def code(text: str) -> list[str]:
    """Every line of shell code and every word in backticks, without comments; lines that go on are one."""
    blocks = [re.sub(r"\\\n\s*", " ", block) for block in fences(text, "sh")]
    lines = [re.sub(r"(^|\s)#.*$", "", line) for block in blocks for line in block.splitlines()]
    return [line for line in lines if line.strip()] + re.findall(r"(?<!`)`([^`\n]+)`(?!`)", prose(text))


def anchors(text: str) -> set[str]:
    """What a link may name of a page, as GitHub makes it from the titles."""
    titles = re.findall(r"^#+ (.+)$", prose(text), flags=re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def section(text: str, title: str) -> str:
    """What stands under a title, up to the next one of its rank or above."""
    rest = text.split(f"\n{title}\n", 1)[1]
    rank = len(title) - len(title.lstrip("#"))
    return re.split(rf"^#{{1,{rank}}} ", rest, maxsplit=1, flags=re.M)[0]


def table(text: str, heading: str) -> list[list[str]]:
    """The rows of the table whose heading line begins so, as cells."""
    lines = text[text.index(heading) :].splitlines()
    rows = []
    for line in lines[2:]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]])
    return rows


def names(cells: list[list[str]], column: int = 0) -> set[str]:
    """The words in backticks of one column."""
    return {name for row in cells for name in re.findall(r"`([^`]+)`", row[column])}


def commands() -> dict[str, Any]:
    """Every command's words (`features build`) and its command object."""

    def walk(group: Any, words: tuple[str, ...]) -> dict[str, Any]:
        known = {}
        for name, command in group.commands.items():
            if hasattr(command, "commands"):
                known |= walk(command, (*words, name))
            else:
                known[" ".join((*words, name))] = command
        return known

    return walk(get_command(omni.app), ())


def options(command: Any) -> set[str]:
    """The long options of a command, but `--json` and `--help`, which nearly all have."""
    named = {option for one in command.params for option in (*one.opts, *one.secondary_opts) if option[:2] == "--"}
    return named - {"--json", "--help"}
