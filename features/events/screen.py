"""An event table comes in; the few rows that may break a rule go out, found column by column at millions a second.

The screen may suspect a good row (`rules.find_problem` then clears it) but never passes a bad one; a property
test holds it to that.
"""

from datetime import datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from features.arrays import BoolArray, IntArray
from features.events.chances import CHANCE_KINDS, chance_problem
from features.events.payload import TELLING_KINDS
from features.events.placeholders import Placeholders
from features.events.rules import KIND_RULES, NOBODY, TEXT_COLUMNS
from features.events.values import (
    CURRENCY,
    EARLIEST,
    ID_TYPE,
    LATEST,
    MAX_AHEAD,
    MAX_IDENTIFIERS,
    MAX_NUMBER,
    MAX_QUANTITY,
    MAX_TEXT_LENGTH,
    UNCLEAN_TEXT,
    parse_properties,
)
from features.vocabulary import CHANNEL_CODES, KIND_CODES, Columns


def suspects(events: pa.Table, now: datetime | None = None, nobody: Placeholders = NOBODY) -> IntArray:
    """Row numbers, ascending, of a table in EVENT_SCHEMA that the rules must be asked about one by one."""
    if events.num_rows == 0:
        return np.empty(0, np.int64)
    bad = _is_null(events, Columns.EVENT_ID) | _bad_text(events.column(Columns.EVENT_ID))
    bad |= _bad_moment(events.column(Columns.OCCURRED_AT), now)
    bad |= _not_in(events.column(Columns.KIND), list(KIND_CODES))
    bad |= _not_in(events.column(Columns.CHANNEL), list(CHANNEL_CODES))
    for name in TEXT_COLUMNS:
        bad |= _bad_text(events.column(name))
    bad_identifiers, has_identifiers = _check_identifiers(events.column(Columns.IDENTIFIERS), nobody)
    bad |= bad_identifiers
    bad |= nobody.suspects(events.column(Columns.CUSTOMER_ID))
    bad |= _is_null(events, Columns.CUSTOMER_ID) & ~has_identifiers
    bad |= _not_usable(events.column(Columns.QUANTITY), MAX_QUANTITY) | _negative(events.column(Columns.QUANTITY))
    bad |= _not_usable(events.column(Columns.VALUE), MAX_NUMBER)
    bad |= _bad_currency(events.column(Columns.CURRENCY))
    bad |= _bad_properties(events.column(Columns.PROPERTIES))
    bad |= _bad_for_kind(events, has_identifiers)
    return np.flatnonzero(bad)


def _mask(values: pa.ChunkedArray | pa.Array) -> BoolArray:
    """Arrow booleans as numpy, null as False."""
    result: BoolArray = (
        pc.fill_null(values, False).to_numpy(zero_copy_only=False)
        if isinstance(values, pa.Array)
        else (pc.fill_null(values, False).to_numpy())
    )
    return result


def _is_null(events: pa.Table, name: str) -> BoolArray:
    return _mask(pc.is_null(events.column(name)))


def _distinct(column: pa.ChunkedArray) -> tuple[pa.Array, IntArray]:
    """Distinct values, and each row's place among them (-1 for null)."""
    encoded = pc.dictionary_encode(column).combine_chunks()
    codes = pc.fill_null(encoded.indices, -1).to_numpy(zero_copy_only=False).astype(np.int64)
    return encoded.dictionary, codes


def _spread(bad_values: BoolArray, codes: IntArray) -> BoolArray:
    """What is true of a distinct value, for every row that holds it; False for null."""
    return np.append(bad_values, False)[codes]  # code -1 is the appended last


def _bad_text(column: pa.ChunkedArray) -> BoolArray:
    if column.null_count == len(column):
        return np.zeros(len(column), np.bool_)
    unclean = pc.or_(pc.match_substring_regex(column, UNCLEAN_TEXT), pc.equal(column, ""))
    return _mask(pc.or_(unclean, pc.greater(pc.binary_length(column), MAX_TEXT_LENGTH)))


def _bad_moment(column: pa.ChunkedArray, now: datetime | None) -> BoolArray:
    bad = pc.or_(pc.less(column, _moment(EARLIEST)), pc.greater_equal(column, _moment(LATEST)))
    if now is not None:
        bad = pc.or_(bad, pc.greater(column, _moment(now + MAX_AHEAD)))
    return _mask(pc.fill_null(bad, True))


def _moment(value: datetime) -> pa.Scalar:
    return pa.scalar(value, pa.timestamp("us", "UTC"))


def _not_in(column: pa.ChunkedArray, words: list[str]) -> BoolArray:
    return ~_mask(pc.is_in(column, value_set=pa.array(words)))


def _not_usable(column: pa.ChunkedArray, largest: float) -> BoolArray:
    """Numbers that are not finite or too large."""
    return _mask(pc.invert(pc.less_equal(pc.abs(column), largest)))


def _negative(column: pa.ChunkedArray) -> BoolArray:
    return _mask(pc.less(column, 0.0))


def _bad_currency(column: pa.ChunkedArray) -> BoolArray:
    values, codes = _distinct(column)
    return _spread(~_mask(pc.match_substring_regex(values, CURRENCY)), codes)


def _bad_properties(column: pa.ChunkedArray) -> BoolArray:
    if column.null_count == len(column):
        return np.zeros(len(column), np.bool_)
    values, codes = _distinct(column)
    return _spread(np.array([isinstance(parse_properties(text), str) for text in values.to_pylist()], np.bool_), codes)


def _check_identifiers(column: pa.ChunkedArray, nobody: Placeholders) -> tuple[BoolArray, BoolArray]:
    """Rows whose identifiers may be wrong, and rows that have at least one."""
    bad = np.zeros(len(column), np.bool_)
    has = np.zeros(len(column), np.bool_)
    if column.null_count == len(column):
        return bad, has
    start = 0
    for chunk in column.chunks:
        lengths = pc.fill_null(pc.list_value_length(chunk.cast(_AS_LIST)), 0).to_numpy(zero_copy_only=False)
        stop = start + len(chunk)
        has[start:stop] = lengths > 0
        bad[start:stop] = lengths > MAX_IDENTIFIERS
        rows = np.repeat(np.arange(start, stop), lengths)  # (entries,) the row of each entry
        pairs = pc.list_flatten(chunk.cast(_AS_LIST))
        types, values = pc.struct_field(pairs, "key"), pc.struct_field(pairs, "value")
        distinct, codes = _distinct(pa.chunked_array([types]))
        wrong = _spread(~_mask(pc.match_substring_regex(distinct, ID_TYPE)), codes)
        wrong |= _mask(pc.is_null(values)) | _bad_text(pa.chunked_array([values]))
        wrong |= nobody.suspects(pa.chunked_array([values]))
        bad[rows[wrong]] = True
        if len(rows) > np.count_nonzero(lengths):  # some row has several: is one type named twice?
            keys = rows * (len(distinct) + 1) + codes
            kept = np.unique(keys, return_index=True)[1]
            bad[np.delete(rows, kept)] = True
        start = stop
    return bad, has


_AS_LIST = pa.list_(pa.struct([pa.field("key", pa.string(), nullable=False), ("value", pa.string())]))


def _bad_for_kind(events: pa.Table, has_identifiers: BoolArray) -> BoolArray:
    kinds, codes = _distinct(events.column(Columns.KIND))
    names = kinds.to_pylist()
    present = {
        name: ~_is_null(events, name)
        for name in {need for rule in KIND_RULES.values() for need in rule.needs_one_of} - {Columns.IDENTIFIERS}
    } | {Columns.IDENTIFIERS: has_identifiers}
    bad = np.zeros(events.num_rows, np.bool_)
    for kind, rule in KIND_RULES.items():
        if kind.value not in names or not rule.needs_one_of:
            continue
        rows = codes == names.index(kind.value)
        bad |= rows & ~np.logical_or.reduce([present[need] for need in rule.needs_one_of])
    telling = np.array([name in TELLING_KINDS for name in names], np.bool_)
    bad |= _spread(telling, codes) & ~_is_null(events, Columns.PROPERTIES)
    for name in CHANCE_KINDS:
        if name in names:
            rows = np.flatnonzero((codes == names.index(name)) & ~_is_null(events, Columns.PROPERTIES))
            bad[rows] |= _bad_chances(name, events.column(Columns.PROPERTIES).take(pa.array(rows)))
    money = np.array([name in _MONEY for name in names], np.bool_)
    return bad | (_spread(money, codes) & _negative(events.column(Columns.VALUE)))


def _bad_chances(kind: str, properties: pa.ChunkedArray) -> BoolArray:
    """Which of the properties (n,) of one kind say of chances what cannot be; those that cannot be read are told elsewhere."""
    values, codes = _distinct(properties)
    said = [parse_properties(text) for text in values.to_pylist()]
    return _spread(
        np.array([isinstance(each, dict) and chance_problem(kind, each) is not None for each in said], np.bool_), codes
    )


_MONEY = frozenset(kind.value for kind, rule in KIND_RULES.items() if rule.money)
