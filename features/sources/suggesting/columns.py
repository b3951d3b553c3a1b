"""Rows of a file come in; its columns go out, each with its name in plain words, its path, and the values that it holds."""

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from features.ids import id_text
from features.sources.mapping_config import MISSING
from features.sources.providers.contacts import plain_name

_MISSING: Final = frozenset(MISSING)
_plain_key = re.compile(r"[^.\[\]\"=]+")
MAX_DEPTH: Final = 4
VAGUE: Final = frozenset(
    """
    id name date time type state status at value total source product item order user customer event category
    """.split()  # noqa: SIM905 - a list of words is no better to read
)
"""Names that inside an object are of the object, whatever that is."""


@dataclass(frozen=True)
class Column:
    """One column: `path` is how a mapping names it, `plain` its words, `values` (n,) what it holds, None where nothing."""

    path: str
    plain: str
    values: tuple[Any, ...]
    leaf: str = ""
    """The words of the last step of a path; empty where there is one step only."""

    @cached_property
    def given(self) -> list[Any]:
        """The values that say something."""
        return [value for value in self.values if value is not None]

    @cached_property
    def texts(self) -> list[str]:
        """They as text."""
        return [str(id_text(value)) for value in self.given]

    @cached_property
    def counts(self) -> Counter[str]:
        """How often each of them comes."""
        return Counter(self.texts)

    @property
    def share(self) -> float:
        """In which part of the rows there is one."""
        return len(self.given) / len(self.values) if self.values else 0.0


@dataclass(frozen=True)
class Table:
    """The columns of a file; `explode` names the list of which each element is a row of its own, None where rows are rows."""

    columns: tuple[Column, ...]
    n_rows: int
    explode: str | None = None

    def named(self, plain: str) -> Column | None:
        """The column of that name, if it says anything; inside an object also by its own name, where that tells enough."""
        given = [column for column in self.columns if column.given]
        own = next((column for column in given if column.plain == plain), None)
        if own is not None or plain in VAGUE:
            return own
        return next((column for column in given if column.leaf == plain), None)

    def find(self, names: Sequence[str]) -> Iterator[Column]:
        """Columns of these names, in their order."""
        for name in names:
            column = self.named(name)
            if column is not None:
                yield column


def table_of(rows: Sequence[Mapping[str, Any]]) -> Table:
    """The columns of rows (n,); objects inside them give columns of their own, and a list of objects gives rows."""
    explode = _lines_of(rows)
    flat: list[dict[str, Any]] = []
    for row in rows:
        parent = dict(_flat(row, ""))
        lines = row.get(explode) if explode is not None else None
        if not isinstance(lines, list) or explode is None:
            flat.append(parent)
            continue
        for line in lines:
            flat.append({**parent, **dict(_flat(line, f"{_key(explode)}."))} if isinstance(line, Mapping) else parent)
    paths = list(dict.fromkeys(path for row in flat for path in row))
    head = "" if explode is None else f"{_key(explode)}."
    columns = [
        Column(path, _plain(path, head), tuple(_clean(row.get(path)) for row in flat), _leaf(path, head))
        for path in sorted(paths, key=lambda path: not (head and path.startswith(head)))
    ]
    return Table(tuple(columns), len(flat), None if explode is None else _key(explode))


def _flat(row: Mapping[str, Any], head: str, depth: int = 0) -> Iterator[tuple[str, Any]]:
    for key, value in row.items():
        path = f"{head}{_key(str(key))}"
        if isinstance(value, Mapping) and depth < MAX_DEPTH:
            yield from _flat(value, f"{path}.", depth + 1)
        elif not isinstance(value, list | Mapping):
            yield path, value


def _key(key: str) -> str:
    """A key as a path writes it: in quotes where it holds a mark of paths."""
    return key if _plain_key.fullmatch(key) else json.dumps(key, ensure_ascii=False)


def _plain(path: str, head: str) -> str:
    return plain_name(path.removeprefix(head) if head else path)


def _leaf(path: str, head: str) -> str:
    *parents, last = path.removeprefix(head).split(".")
    return plain_name(last) if parents else ""


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        value = value.strip()
        return None if value in _MISSING else value
    return None if isinstance(value, float) and value != value else value


def _lines_of(rows: Sequence[Mapping[str, Any]]) -> str | None:
    """The key under which rows hold lists of objects, as orders hold their lines."""
    lists = Counter(
        key
        for row in rows
        for key, value in row.items()
        if isinstance(value, list) and any(isinstance(item, Mapping) for item in value)
    )
    liked = [key for key, _ in lists.most_common() if re.search(r"item|line|product|article|position", key.lower())]
    return liked[0] if liked else None
