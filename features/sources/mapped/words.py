"""Columns of a file's own words come in; our words, and the rows that are not wanted, go out.

A word means what the mapping says of it; a pattern such as `page/*` stands for all words that begin so (and for `page`
itself), the longest one counts, and `*` is the rest. A word that is not mentioned must be one of ours.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from features.arrays import BoolArray
from features.events.rules import Problem
from features.events.values import shorten
from features.sources.parsing import Problems
from features.vocabulary import CHANNEL_CODES, KIND_CODES, Columns

SKIP: Final = "\0skip"
_ALL: Final = "*"


def meaning(word: str, meanings: Mapping[str, str], unwanted: Sequence[str], ours: Mapping[str, int]) -> str | None:
    """What a word means: one of ours, SKIP, or None where nobody says."""
    if word in unwanted:
        return SKIP
    if word in meanings:
        return meanings[word]
    patterns = {**dict.fromkeys(unwanted, SKIP), **meanings}
    fitting = [pattern for pattern in patterns if pattern != _ALL and _fits(word, pattern)]
    if fitting:
        return patterns[max(fitting, key=len)]
    return word if word in ours else patterns.get(_ALL)


def read_words(
    name: str, column: pa.ChunkedArray, meanings: Mapping[str, str], unwanted: Sequence[str]
) -> tuple[pa.Array, pa.Array]:
    """Our words (n,), null where nobody says what one means or where it is not wanted; and which rows (n,) are unwanted."""
    ours = KIND_CODES if name == Columns.KIND else CHANNEL_CODES
    encoded = pc.dictionary_encode(column).combine_chunks()
    said = [meaning(word, meanings, unwanted, ours) for word in encoded.dictionary.to_pylist()]
    meant = pa.array([None if word == SKIP else word for word in said], pa.string())
    skipped = pa.array([word == SKIP for word in said], pa.bool_())
    return meant.take(encoded.indices), pc.fill_null(skipped.take(encoded.indices), False)


def note_unknown(name: str, column: pa.ChunkedArray, meant: pa.Array, problems: Problems) -> None:
    """Words that nobody explains are problems of their rows."""
    for place in pc.indices_nonzero(pc.and_(pc.is_null(meant), pc.is_valid(column))).to_pylist():
        reason = f"is {shorten(column[place].as_py())}: say under [{name}s] of the mapping what that means."
        problems.setdefault(place, Problem(name, reason))


def unwanted_rows(column: pa.ChunkedArray, unwanted: Sequence[str]) -> BoolArray:
    """Which rows (n,) hold an unwanted word."""
    encoded = pc.dictionary_encode(column).combine_chunks()
    said = pa.array([meaning(word, {}, unwanted, {}) == SKIP for word in encoded.dictionary.to_pylist()], pa.bool_())
    rows: BoolArray = pc.fill_null(said.take(encoded.indices), False).to_numpy(zero_copy_only=False)
    return rows


def count_words(column: pa.ChunkedArray, rows: BoolArray, numbers: np.ndarray) -> dict[str, int]:
    """How many rows of the file (`numbers`, (n,)) hold each word, among `rows` (n,)."""
    counts: dict[str, set[int]] = {}
    for word, number in zip(column.filter(pa.array(rows)).to_pylist(), numbers[rows].tolist(), strict=True):
        counts.setdefault(str(word), set()).add(number)
    return {word: len(of_word) for word, of_word in counts.items()}


def _fits(word: str, pattern: str) -> bool:
    if not pattern.endswith(_ALL):
        return False
    start = pattern[:-1]
    return word.startswith(start) or (start.endswith("/") and word == start[:-1])
