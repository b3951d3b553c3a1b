"""The name of a value inside nested objects and lists comes in; what lies there in each row goes out.

`user.id` is a key of an object, `meta."ad.campaign"` a key that has a dot, `items[0].sku` an item by its place, and
`params[key=basket].value` the item of a list of objects whose `key` is `basket`.
"""

import difflib
import json
import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple, TypeAlias

from features.ids import id_text


class Where(NamedTuple):
    """The first object of a list whose `key` is `value`."""

    key: str
    value: str


Step: TypeAlias = str | int | Where
Path: TypeAlias = tuple[Step, ...]

MISSED: Final = object()
"""What `walk` gives where nothing lies at the path."""
_STEP: Final = re.compile(
    r'(?P<dot>\.)?(?:"(?P<quoted>[^"]*)"|(?P<bare>[^."\[\]]+))'
    r'|\[(?P<place>-?\d+)\]|\[(?P<key>[^=\]]+)=(?:"(?P<text>[^"]*)"|(?P<word>[^\]]*))\]'
)
_DEEP: Final = 5
_SHOWN: Final = 200


@lru_cache(maxsize=4096)
def parse_path(text: str) -> Path | None:
    """The steps of a path; None for a text that is none."""
    steps: list[Step] = []
    place = 0
    while place < len(text):
        match = _STEP.match(text, place)
        if match is None:
            return None
        quoted, bare = match["quoted"], match["bare"]
        if quoted is not None or bare is not None:
            if bool(match["dot"]) is not bool(steps):
                return None
            steps.append(quoted if quoted is not None else bare)
        elif not steps:
            return None
        elif match["place"] is not None:
            steps.append(int(match["place"]))
        else:
            steps.append(Where(match["key"].strip('"'), match["text"] if match["text"] is not None else match["word"]))
        place = match.end()
    return tuple(steps) or None


def walk(value: Any, steps: Sequence[Step]) -> Any:
    """What lies at a path in a value, MISSED where nothing does; text that is JSON is looked into."""
    for step in steps:
        if isinstance(value, str):
            value = _parse(value)
        if isinstance(step, str):
            if isinstance(value, list) and value and isinstance(value[0], tuple):
                value = dict(value)  # a map, as Arrow gives it
            if not isinstance(value, dict) or step not in value:
                return MISSED
            value = value[step]
        elif not isinstance(value, list):
            return MISSED
        elif isinstance(step, int):
            if not -len(value) <= step < len(value):
                return MISSED
            value = value[step]
        else:
            value = next((item for item in value if _is(item, step)), MISSED)
            if value is MISSED:
                return MISSED
    return value


def known_paths(rows: Iterable[Any]) -> list[str]:
    """Paths to the values of some rows, as one would write them."""
    paths: dict[str, None] = {}
    for row in rows:
        _note(row, "", paths, 0)
    return list(paths)


def near_paths(path: str, known: Sequence[str]) -> list[str]:
    """Those of the known paths that were probably meant."""
    nearest = difflib.get_close_matches(path, known, n=3, cutoff=0.6)
    last = path.rsplit(".", 1)[-1]
    same = [each for each in known if each.rsplit(".", 1)[-1] == last and each not in nearest]
    return [*same[:2], *nearest][:3]


def _is(item: Any, where: Where) -> bool:
    return isinstance(item, dict) and id_text(item.get(where.key)) == where.value


def _parse(text: str) -> Any:
    if not text.lstrip().startswith(("{", "[")):
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _note(value: Any, prefix: str, paths: dict[str, None], depth: int) -> None:
    if isinstance(value, list) and value and isinstance(value[0], tuple):
        value = dict(value)
    if isinstance(value, dict) and depth < _DEEP:
        for key, inner in value.items():
            name = key if re.fullmatch(r'[^."\[\]]+', key) else f'"{key}"'
            _note(inner, f"{prefix}.{name}" if prefix else name, paths, depth + 1)
    elif isinstance(value, list) and value and depth < _DEEP:
        paths[prefix] = None
        _note(value[0], f"{prefix}[0]", paths, depth + 1)
    elif prefix and len(paths) < _SHOWN:
        paths[prefix] = None
