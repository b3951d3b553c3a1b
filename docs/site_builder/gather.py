"""Pages as they lie in the repository come in, the same pages with the site's links go out.

A link to a page of the repository leads to that page on the site. A file that the site does not show (code, a configuration)
has no address there, so that its name stays and the link goes. Lists are set apart as Markdown had it before GitHub's.
"""

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
ELSEWHERE: Final = {
    "README.md": "index.md",
    "docs/README.md": "contents.md",
    "tests/benchmarks/README.md": "measured.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "SECURITY.md": "reporting.md",
    **{f"{name}/README.md": f"packages/{name}.md" for name in ("features", "training", "serving", "mlflow")},
}
"""Pages that lie outside docs/, or under another name there, and their place on the site."""

_LINK: Final = re.compile(r"`[^`]*`|(!?)\[((?:`[^`]*`|[^\]`])*)\]\(([^)\s]+)\)")
"""A link or picture; or a piece of code, in which nothing is one."""
_SOURCE: Final = re.compile(r'(<img [^>]*?src=")([^"]+)(")')
_FENCE: Final = re.compile(r" *(```|~~~)")
_ITEM: Final = re.compile(r"(?:\d+\.|[-*]) +(?=\S)")


def places() -> dict[str, str]:
    """Every page of the repository that the site shows, by its path from the root: its place on the site."""
    own = {path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md")}
    return {name: name.removeprefix("docs/") for name in sorted(own)} | ELSEWHERE


def files() -> dict[Path, str]:
    """What is no page, such as pictures and the style sheet, by where it lies: its place on the site."""
    kinds = {".svg", ".png", ".css"}
    shown = sorted(path for path in (ROOT / "docs").rglob("*") if path.suffix in kinds)
    return {path: path.relative_to(ROOT / "docs").as_posix() for path in shown}


def pages() -> dict[str, str]:
    """The site's pages that somebody wrote, by their place."""
    return {place: for_site((ROOT / name).read_text(encoding="utf-8"), name) for name, place in places().items()}


def for_site(text: str, name: str) -> str:
    """The text of the repository's page `name`, as the site needs it."""
    known = places()

    def link(match: re.Match[str]) -> str:
        mark, words, target = match.groups()
        if target is None:
            return match[0]
        place = _place(target, name, known)
        return str(words) if place is None else f"{mark}[{words}]({place})"

    def picture(match: re.Match[str]) -> str:
        return f"{match[1]}{_place(match[2], name, known) or match[2]}{match[3]}"

    return "\n".join(_outside_fences(_set_apart(text), lambda part: _SOURCE.sub(picture, _LINK.sub(link, part)))) + "\n"


def _place(target: str, name: str, known: dict[str, str]) -> str | None:
    """Where a link of the page `name` leads on the site, as seen from there; None: to nothing that the site shows."""
    path, mark, anchor = target.partition("#")
    if not path or "://" in path:
        return target
    goal = PurePosixPath(os.path.normpath((PurePosixPath(name).parent / path).as_posix())).as_posix()
    if goal.endswith((".svg", ".png")) and goal.startswith("docs/"):
        place = goal.removeprefix("docs/")
    elif goal in known:
        place = known[goal]
    else:
        return None
    return os.path.relpath(place, PurePosixPath(known[name]).parent) + mark + anchor


def _outside_fences(text: str, change: Callable[[str], str]) -> Iterator[str]:
    """The lines of a page, with what stands between fenced code changed; a link may run over the end of a line."""
    part: list[str] = []
    fence = ""
    for line in text.splitlines():
        opening = _FENCE.match(line)
        if not fence and opening:
            yield from change("\n".join(part)).split("\n") if part else ()
            part, fence = [], opening[1]
            yield line
        elif fence:
            fence = "" if opening and opening[1] == fence else fence
            yield line
        else:
            part.append(line)
    yield from change("\n".join(part)).split("\n") if part else ()


def _set_apart(text: str) -> str:
    """Lists begin after an empty line, and what belongs to an item is four blanks in: GitHub needs neither, the site both."""
    lines: list[str] = []
    inside, is_code = 0, False
    for line in text.splitlines():
        item = None if is_code else _ITEM.match(line)
        if line.startswith(("```", "~~~")):
            inside, is_code = 0, not is_code
        elif item:
            if not inside and lines and lines[-1].strip():
                lines.append("")
            inside = len(item[0])
        elif inside and line.startswith(" " * inside):
            line = " " * (4 - inside) + line
        elif line.strip() and not is_code and not (lines and lines[-1].strip()):
            inside = 0
        lines.append(line)
    return "\n".join(lines)
