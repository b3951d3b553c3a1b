"""Columns that become an event's identifiers, its properties and its consents come in; maps and JSON texts go out."""

import json
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from features.events.rules import Problem
from features.events.schema import EVENT_SCHEMA
from features.events.values import shorten
from features.sources.amounts import parse_numbers
from features.sources.mapped.rows import MappedRows
from features.sources.mapped.values import clean, clean_id, clean_raw, joined_texts
from features.sources.mapping_config import MappingConfig, PropertySpec, WordSpec
from features.sources.parsing import Problems
from features.vocabulary import Columns

PROFILING: Final = "profiling"
_dump: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode


def read_identifiers(rows: MappedRows, config: MappingConfig, problems: Problems) -> pa.Array | None:
    """The identifiers of each row (n,), as a map; None where the mapping names none."""
    if not config.identifiers:
        return None
    texts = [
        clean_id(name, rows.column(spec), config, problems, rows.raw.typed).combine_chunks()
        for name, spec in config.identifiers.items()
    ]
    return to_maps(tuple(config.identifiers), texts)


def to_maps(names: tuple[str, ...], texts: list[pa.Array]) -> pa.Array:
    """One map (n,) of the values that each row has under the `names` (k); `texts` are k columns (n,)."""
    n_rows, n_names = len(texts[0]), len(names)
    given = np.stack([text.is_valid().to_numpy(zero_copy_only=False) for text in texts], axis=1)  # (n, k)
    places = np.flatnonzero(given.ravel())
    of_name, of_row = places % n_names, places // n_names
    items = pa.concat_arrays(texts).take(pa.array(of_name * n_rows + of_row))
    keys = pa.array(names, pa.string()).take(pa.array(of_name))
    counts = given.sum(axis=1)
    offsets = np.concatenate([[0], np.cumsum(counts)])
    marks = pa.array(offsets, pa.int32(), mask=np.append(counts == 0, False))
    maps = pa.MapArray.from_arrays(marks, keys, items)
    return maps.cast(EVENT_SCHEMA.field(Columns.IDENTIFIERS).type)


def read_properties(rows: MappedRows, config: MappingConfig, problems: Problems) -> list[pa.Array]:
    """Of each property the texts `"name":value` (n,), null where a row has none."""
    return [_property(name, spec, rows, config, problems) for name, spec in config.properties.items()]


def read_consents(rows: MappedRows, config: MappingConfig, problems: Problems) -> list[pa.Array]:
    """The texts `"consent":{…}` and `"profiling":…` (n,), null where a row says nothing."""
    said: dict[str, pa.Array] = {}
    for name, spec in config.consent.items():
        answers = _answers(f"consent.{name}", clean(rows.column(spec), config), spec, problems)
        said[name] = _labelled(name, pc.if_else(answers, "true", "false"))
    channels = [texts for name, texts in said.items() if name != PROFILING]
    result = [said[PROFILING]] if PROFILING in said else []
    if channels:
        inner = joined_objects(channels)
        result.insert(0, pc.binary_join_element_wise('"consent":', inner, ""))
    return result


def joined_objects(members: list[pa.Array]) -> pa.Array | None:
    """JSON objects (n,) of the members that each row has; null where it has none."""
    return pc.binary_join_element_wise("{", joined_texts(members, ","), "}", "") if members else None


def _property(name: str, spec: PropertySpec, rows: MappedRows, config: MappingConfig, problems: Problems) -> pa.Array:
    if spec.type == "number":
        column = clean_raw(rows.column(spec), config)
        numbers = parse_numbers(name, column, problems, config.decimal, config.thousands).to_pylist()
        return _labelled(
            name, pa.array([None if number is None else _number(number) for number in numbers], pa.string())
        )
    if spec.type == "boolean":
        answers = _answers(name, clean(rows.column(spec), config), spec, problems)
        return _labelled(name, pc.if_else(answers, "true", "false"))
    texts = clean(rows.column(spec, flat=False), config)
    return _labelled(name, _json_texts(texts, as_json=spec.type == "json"))


def _json_texts(texts: pa.ChunkedArray, *, as_json: bool) -> pa.Array:
    """Texts (n,) as JSON values; each distinct one is written once."""
    encoded = pc.dictionary_encode(texts).combine_chunks()
    words = encoded.dictionary.to_pylist()
    return pa.array([_value(word) if as_json else _dump(word) for word in words], pa.string()).take(encoded.indices)


def _value(word: str) -> str:
    """JSON text as the value that it is; other text as text."""
    try:
        value: Any = json.loads(word)
        return _dump(value)
    except (ValueError, RecursionError):
        return _dump(word)


def _number(number: float) -> str:
    return str(int(number)) if number.is_integer() else repr(number)


def _answers(name: str, column: pa.ChunkedArray, spec: WordSpec, problems: Problems) -> pa.Array:
    """Yes or no (n,), null where nothing is said; a word that is neither is a problem of its row."""
    meanings: Mapping[str, bool] = {**dict.fromkeys(spec.no, False), **dict.fromkeys(spec.yes, True)}
    encoded = pc.dictionary_encode(column).combine_chunks()
    words = encoded.dictionary.to_pylist()
    answers = pa.array([meanings.get(word) for word in words], pa.bool_()).take(encoded.indices)
    for place in pc.indices_nonzero(pc.and_(pc.is_null(answers), pc.is_valid(column))).to_pylist():
        reason = f"is {shorten(column[place].as_py())}: say in the mapping which words are yes = […] and no = […]."
        problems.setdefault(place, Problem(name, reason))
    return answers


def _labelled(name: str, texts: pa.Array) -> pa.Array:
    return pc.binary_join_element_wise(f"{_dump(name)}:", texts, "")
