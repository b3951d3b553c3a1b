"""Columns as they came in; out, the same as clean text, with null for what stands for no value, whatever its type was."""

from collections.abc import Sequence
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from features.events.rules import Problem
from features.events.values import shorten
from features.ids import id_column
from features.sources.epochs import is_number
from features.sources.mapping_config import MappingConfig
from features.sources.parsing import Problems, note_inexact

_WHOLE: Final = r"^-?(0|[1-9]\d*)\.0+$"
_SPACE: Final = 0x20
_ASCII: Final = 0x7F


def clean(column: pa.ChunkedArray, config: MappingConfig) -> pa.ChunkedArray:
    """A column as trimmed text, with null for what stands for a missing value."""
    text = trimmed(id_column(column))
    missing = pc.is_in(text, value_set=pa.array(config.missing, pa.string()))
    return pc.if_else(missing, None, text) if pc.any(missing).as_py() else text


def clean_id(
    name: str, column: pa.ChunkedArray, config: MappingConfig, problems: Problems, typed: bool
) -> pa.ChunkedArray:
    """A column of ids as text: the same whole number is the same id in every type and in every file.

    A number with a fraction, or of which digits were lost, is a problem of its row. In CSV, whose values have no types,
    123.0 (what data frames write for 123 beside a gap) is 123.
    """
    text = clean(column, config)
    if not typed:
        whole = _with_point_zero(text)
        return text if whole is None else whole
    if pa.types.is_floating(column.type) or pa.types.is_decimal(column.type):
        note_inexact(name, column, problems)
        split = pc.and_(pc.match_substring(text, "."), pc.is_valid(text))
        for place in pc.indices_nonzero(pc.fill_null(split, False)).to_pylist():
            reason = f"is {shorten(text[place].as_py())}, a number with a fraction, which is no id: write ids as text."
            problems.setdefault(place, Problem(name, reason))
    return text


def clean_raw(column: pa.ChunkedArray, config: MappingConfig) -> pa.ChunkedArray:
    """A column of numbers or moments in its own type, without what stands for no value; text is trimmed."""
    if pa.types.is_string(column.type):
        return clean(column, config)
    if is_number(column.type) and any(word[:1].isdigit() or word[:1] == "-" for word in config.missing):
        missing = pc.is_in(id_column(column), value_set=pa.array(config.missing, pa.string()))
        return pc.if_else(missing, None, column)
    return column


def trimmed(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Text without spaces at its ends."""
    return pc.utf8_trim_whitespace(column) if any(_may_have_spaces(chunk) for chunk in column.chunks) else column


def joined_texts(parts: Sequence[pa.Array | pa.ChunkedArray], mark: str) -> pa.Array | pa.ChunkedArray:
    """Texts (n,) of the parts that each row has, with a mark between them; null where it has none."""
    # the first part is empty and never null: Arrow (25) drops rows of which it has skipped every part
    joined = pc.utf8_slice_codeunits(pc.binary_join_element_wise("", *parts, mark, null_handling="skip"), len(mark))
    return pc.if_else(pc.equal(joined, ""), None, joined)


def text_parts(chunk: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """Where each text of an array begins and ends, (n + 1,), and the bytes of all of them."""
    _, offsets, data = chunk.buffers()
    ends = np.frombuffer(offsets, np.int32, len(chunk) + 1, 4 * chunk.offset)
    return ends, np.frombuffer(data or b"", np.uint8)


def _may_have_spaces(chunk: pa.Array) -> bool:
    """Whether a text begins or ends with a space, or with a mark beyond ASCII, which may be one."""
    if len(chunk) == 0:
        return False
    ends, data = text_parts(chunk)
    full = np.diff(ends) > 0
    for places in (ends[:-1][full], ends[1:][full] - 1):
        marks = data[places]
        if ((marks <= _SPACE) | (marks >= _ASCII)).any():
            return True
    return False


def _with_point_zero(text: pa.ChunkedArray) -> pa.ChunkedArray | None:
    """Text in which 123.0 is 123; None where there is no such text."""
    if not any(_may_end_in_zero(chunk) for chunk in text.chunks):
        return None
    whole = pc.fill_null(pc.match_substring_regex(text, _WHOLE), False)
    if not pc.any(whole).as_py():
        return None
    return pc.if_else(whole, pc.replace_substring_regex(text, r"\.0+$", ""), text)


def _may_end_in_zero(chunk: pa.Array) -> bool:
    if len(chunk) == 0:
        return False
    ends, data = text_parts(chunk)
    return bool(len(data) and (data[ends[0] : ends[-1]] == ord(".")).any())
