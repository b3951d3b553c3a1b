"""Words and cells come in, Markdown goes out."""

import html
import re
from collections.abc import Iterable, Sequence


def page(title: str, source: str, body: str) -> str:
    """A page of the reference: its title, what it was made of, and what it says."""
    return f"# {title}\n\nMade from {source} when this site was built.\n\n{body.strip()}\n"


def table(heading: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; line breaks and bars in a cell are made harmless."""
    lines = ["| " + " | ".join(heading) + " |", "|" + "---|" * len(heading)]
    lines += ["| " + " | ".join(_cell(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def code(word: object) -> str:
    """A word as code; one without a letter in quotes, so that it can be seen."""
    return f"`{word}`" if str(word).strip() else f'`"{word}"`'


def text(words: str) -> str:
    """Words for people in which `<` and `*` mean themselves; what stands in backticks is code and stays as it is."""
    parts = re.split(r"(`[^`]+`)", words)
    return "".join(
        part if part.startswith("`") else re.sub(r"([*_\[\]])", r"\\\1", html.escape(part, quote=False))
        for part in parts
    )


def _cell(words: str) -> str:
    return re.sub(r"\s*\n\s*", " ", words).replace("|", "\\|").strip()
