"""Raw rows come in; the columns that a mapping names, wherever they lie, go out: of exploded rows one value per element."""

import json
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from features.arrays import IntArray
from features.errors import InputError
from features.ids import id_column
from features.sources.mapped.paths import MISSED, Path, known_paths, near_paths, parse_path, walk
from features.sources.mapping_config import ColumnSpec
from features.sources.nested import readable, to_array
from features.sources.readers.header import are_values
from features.sources.readers.rows import RawRows

_SAMPLE: Final = 200
_BRACKET: Final = r"^\s*[\[{]"


class Hits:
    """Which of a mapping's paths have hit anything in a file so far, and the paths that there are."""

    def __init__(self, place: str, mapping: str) -> None:
        """`place` and `mapping` are for messages."""
        self.place, self._mapping = place, mapping
        self._asked: dict[str, bool] = {}
        self.known: dict[str, None] = {}
        self._rows = 0

    def note(self, path: str, hit: bool) -> None:
        """A path was looked for."""
        self._asked[path] = self._asked.get(path, False) or hit

    def learn(self, raw: RawRows) -> None:
        """Note what paths there are, from the first rows of a batch."""
        if len(raw) and len(self.known) < _SAMPLE:
            head = raw.select(np.arange(min(len(raw), _SAMPLE)))
            self.known.update(dict.fromkeys([*raw.names, *known_paths(head.objects())]))
        self._rows += len(raw)

    def missed(self) -> list[str]:
        """Paths that were asked for and hit no row; of a file without rows none."""
        return [path for path, hit in self._asked.items() if not hit] if self._rows else []

    def complaint(self, path: str) -> InputError:
        """What to say of a path that hit nothing."""
        known = list(self.known)
        near = near_paths(path, known)
        guess = f"Did you mean {' or '.join(near)}? " if near else ""
        if not near and are_values(known):
            guess = 'Its first line looks like data: if it has no header, name its columns with header = ["…"]. '
        return InputError(
            f"{self.place} has no column {path!r} in any row, which {self._mapping} names; it has {', '.join(known[:40])}.",
            repair=f"{guess}Correct the name in the mapping (what lies inside an object is named like user.id), or mark"
            f' it {{column = "{path}", optional = true}}.',
        )


class MappedRows:
    """Rows of a batch, or of each the elements of a list in it: n of them, each with all that its row says."""

    def __init__(self, raw: RawRows, hits: Hits, explode: str | None = None) -> None:
        """Raises InputError where what is to be exploded is no list."""
        self.raw = raw
        self._hits = hits
        self._columns: dict[str, pa.ChunkedArray] = {}
        self._explode = _path_in(raw, explode) if explode is not None else None
        self.parents: IntArray | None = None
        """Of each row (n,), the place of the row of the file that it was made of; None where they are the same."""
        self.lines: IntArray | None = None
        """The number of each element within its list (n,), from 1."""
        self._elements: list[Any] | pa.Table | pa.ChunkedArray = []
        if self._explode is not None:
            self._take_apart(str(explode))

    def __len__(self) -> int:
        return len(self.raw) if self.parents is None else len(self.parents)

    @property
    def numbers(self) -> IntArray:
        """Numbers (n,) of the file's rows."""
        return self.raw.numbers if self.parents is None else self.raw.numbers[self.parents]

    def keep(self, mask: np.ndarray) -> "MappedRows":
        """The rows (of the file, or elements) for which `mask` (n,) is true."""
        places = np.flatnonzero(mask)
        kept = MappedRows.__new__(MappedRows)
        kept._hits, kept._explode = self._hits, self._explode
        kept._columns = {name: column.take(pa.array(places)) for name, column in self._columns.items()}
        if self.parents is None:
            kept.raw, kept.parents, kept.lines, kept._elements = self.raw.select(places), None, None, []
            return kept
        kept.raw, kept.parents = self.raw, self.parents[places]
        kept.lines = None if self.lines is None else self.lines[places]
        kept._elements = (
            [self._elements[place] for place in places.tolist()]
            if isinstance(self._elements, list)
            else self._elements.take(pa.array(places))
        )
        return kept

    def column(self, spec: ColumnSpec, *, flat: bool = True) -> pa.ChunkedArray:
        """The values (n,) of a column; of several, in each row the first that is there.

        Raises InputError where `flat` and a value is an object or a list.
        """
        columns = [self._path(path, flat) for path in spec.paths]
        if len(columns) == 1:
            return columns[0]
        kinds = {column.type for column in columns} - {pa.null()}
        if len(kinds) == 1:
            columns = [column.cast(next(iter(kinds))) for column in columns]
        elif kinds:
            columns = [id_column(column) for column in columns]
        return _chunked(pc.coalesce(*[blank_as_null(column) for column in columns]))

    def _path(self, path: str, flat: bool) -> pa.ChunkedArray:
        if path not in self._columns:
            self._columns[path] = self._look(path, flat)
        return self._columns[path]

    def _look(self, path: str, flat: bool) -> pa.ChunkedArray:
        steps = _path_in(self.raw, path)
        if self._explode is not None and steps[: len(self._explode)] == self._explode:
            column, hit = _pick(self._elements, steps[len(self._explode) :], path, flat)
            self._hits.note(path, hit or not len(self))
            return column
        if self.raw.is_table:
            column, hit = _pick(self.raw.table, steps, path, flat)
        else:
            column, hit = _pick(self.raw.objects(), steps, path, flat)
        self._hits.note(path, hit)
        return column if self.parents is None else column.take(pa.array(self.parents))

    def _take_apart(self, explode: str) -> None:
        """Find the elements of the list in each row."""
        assert self._explode is not None
        if self.raw.is_table:
            found = _struct_field(self.raw.table, self._explode)
            if found is not None and pa.types.is_list(found.type):
                lists = found.combine_chunks()
                self.parents = pc.list_parent_indices(lists).to_numpy(zero_copy_only=False).astype(np.int64)
                elements = pc.list_flatten(lists)
                self._elements = (
                    pa.Table.from_arrays(elements.flatten(), names=[field.name for field in elements.type])
                    if pa.types.is_struct(elements.type)
                    else pa.chunked_array([elements])
                )
                self._hits.note(explode, True)
                self._number_lines()
                return
        parents: list[int] = []
        elements_: list[Any] = []
        hit = False
        for place, item in enumerate(self.raw.objects()):
            value = walk(item, self._explode)
            hit = hit or value is not MISSED
            if isinstance(value, str):
                value = _json_list(value, explode)
            if isinstance(value, dict):
                value = [value]
            if value is MISSED or value is None:
                continue
            if not isinstance(value, list):
                raise InputError(
                    f"{explode} is {value!r} in a row, and no list.", repair="Name a list of objects in explode."
                )
            parents += [place] * len(value)
            elements_ += value
        self._hits.note(explode, hit)
        self.parents, self._elements = np.array(parents, np.int64), elements_
        self._number_lines()

    def _number_lines(self) -> None:
        assert self.parents is not None
        starts = np.flatnonzero(np.diff(self.parents, prepend=-1))
        counts = np.diff(np.append(starts, len(self.parents)))
        self.lines = np.arange(len(self.parents)) - np.repeat(starts, counts) + 1


def blank_as_null(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Text of nothing but spaces as null; other types as they are."""
    if not pa.types.is_string(column.type):
        return column
    return _chunked(pc.if_else(pc.equal(pc.utf8_trim_whitespace(column), ""), None, column))


def _path_in(raw: RawRows, text: str) -> Path:
    """A column of that very name, or else a path."""
    if raw.is_table and text in raw.table.column_names:
        return (text,)
    steps = parse_path(text)
    if steps is None or (len(steps) > 1 and not raw.is_table and text in raw.names):
        return (text,)
    return steps


def _pick(rows: Any, steps: Path, path: str, flat: bool) -> tuple[pa.ChunkedArray, bool]:
    """What lies at `steps` in rows that are a table, one column, or Python objects; and whether it does in any of them."""
    if isinstance(rows, pa.Table):
        if not steps:
            rows = rows.to_pylist()
        else:
            column = _struct_field(rows, steps)
            if column is not None:
                return _flat(column, path) if flat else readable(column), True
            if steps[0] not in rows.column_names:
                return pa.chunked_array([pa.nulls(rows.num_rows, pa.string())]), False
            rows, steps = rows.column(str(steps[0])).to_pylist(), steps[1:]
    elif isinstance(rows, pa.ChunkedArray):
        if not steps:
            return _flat(rows, path) if flat else readable(rows), True
        rows = rows.to_pylist()
    values = (
        [walk(row, steps) for row in rows]
        if len(steps) != 1 or not isinstance(steps[0], str)
        else _of_key(rows, steps[0])
    )
    hit = any(value is not MISSED for value in values)
    values = [None if value is MISSED else value for value in values]
    if flat:
        nested = next((value for value in values if isinstance(value, dict | list)), None)
        if nested is not None:
            raise _no_id(path, nested)
    return pa.chunked_array([to_array(values)]), hit


def _of_key(rows: Sequence[Any], key: str) -> list[Any]:
    return [row.get(key, MISSED) if type(row) is dict else walk(row, (key,)) for row in rows]


def _struct_field(table: pa.Table, steps: Path) -> pa.ChunkedArray | None:
    """A column, or a field of a struct in it; None where the path is none of columns and fields only."""
    if steps[0] not in table.column_names:
        return None
    column = table.column(str(steps[0]))
    for step in steps[1:]:
        if (
            not pa.types.is_struct(column.type)
            or column.type.get_field_index(str(step)) < 0
            or not isinstance(step, str)
        ):
            return None
        column = pc.struct_field(column, step)
    return column


def _flat(column: pa.ChunkedArray, path: str) -> pa.ChunkedArray:
    if pa.types.is_nested(column.type):
        if column.null_count == len(column):
            return pa.chunked_array([pa.nulls(len(column), pa.string())])
        raise _no_id(path, next(value for value in column.to_pylist() if value is not None))
    column = readable(column)
    if pa.types.is_string(column.type):
        bracketed = (
            pc.fill_null(pc.match_substring_regex(column, _BRACKET), False) if _may_have_brackets(column) else None
        )
        for place in [] if bracketed is None else pc.indices_nonzero(bracketed).to_pylist()[:_SAMPLE]:
            value = _loads(column[place].as_py())
            if isinstance(value, dict | list):
                raise _no_id(path, value)
    return column


def _may_have_brackets(column: pa.ChunkedArray) -> bool:
    """Whether the bytes of a column hold a bracket at all: most do not, and then no value need be looked at."""
    for chunk in column.chunks:
        data = chunk.buffers()[2]
        if data is not None:
            marks = np.frombuffer(data, np.uint8)
            if ((marks == ord("[")) | (marks == ord("{"))).any():
                return True
    return False


def _no_id(path: str, value: Any) -> InputError:
    if isinstance(value, list):
        ways = f"{path}[0]" if not (value and isinstance(value[0], dict)) else f"{path}[0].{next(iter(value[0]), 'id')}"
        what, repair = (
            "a list",
            f'Pick from it, as {ways} or by a key, {path}[key=value].id, or say explode = "{path}".',
        )
    else:
        what, repair = "an object", f"Name what lies inside, as {path}.{next(iter(value), 'id')}."
    shown = json.dumps(value, default=str, ensure_ascii=False)
    return InputError(f"{path} is {what} ({shown[:60]}), which cannot be an id or a single value.", repair=repair)


def _json_list(text: str, explode: str) -> Any:
    value = _loads(text) if text.strip() else None
    if value is None and text.strip():
        raise InputError(f"{explode} is {text[:40]!r} in a row, and no list.", repair="Name a list in explode.")
    return value


def _loads(text: str | None) -> Any:
    try:
        return None if text is None else json.loads(text)
    except (ValueError, RecursionError):
        return None


def _chunked(column: pa.Array | pa.ChunkedArray) -> pa.ChunkedArray:
    return column if isinstance(column, pa.ChunkedArray) else pa.chunked_array([column])
