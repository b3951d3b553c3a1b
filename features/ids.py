"""Ids of any type come in, from files, frames and JSON; the same ids as text go out: the one reader of ids for everything.

A whole number is the same id whatever its type and its neighbours are: 12, 12.0 (what a gap in the column makes of it),
Decimal("12.00") and a category of it are all "12", and twenty digits stay twenty digits. Text is an id as it stands:
"007", "1.10" and "1E3" are not "7", "1.1" and "1000". A fraction number so large that it cannot tell neighbouring whole
numbers apart is no id any more: `inexact` and `is_inexact` name those, and `read_ids` refuses them.
"""

import json
import math
from collections.abc import Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from features.arrays import BoolArray
from features.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

INEXACT: Final = (
    "is {value}, a number with too many digits for its type, so that other ids look the same: write it as text or as a"
    " whole number."
)
"""What is wrong with an id of which digits were lost before it came here."""
_LIMITS: Final = {pa.float16(): 2.0**11, pa.float32(): 2.0**24, pa.float64(): 2.0**53}
"""From here on a number of the type stands for several whole numbers."""
_MAX_EXPONENT: Final = 400
_PANDAS_NOTHING: Final = frozenset({"NaTType", "NAType"})
"""By their names: who has such a value has pandas, and who has not need not import it."""


def id_text(value: Any) -> str | None:
    """One id as text; None for a missing one (None, NaN, NaT, NA)."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool | np.bool_):
        return str(bool(value)).lower()
    if isinstance(value, int | np.integer):
        return str(int(value))
    if isinstance(value, float | np.floating):
        number = float(value)
        if math.isnan(number):
            return None
        return str(int(number)) if number.is_integer() else str(value)
    if isinstance(value, Decimal):
        return _decimal_text(value)
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    return None if type(value).__name__ in _PANDAS_NOTHING else str(value)


def is_inexact(value: Any) -> bool:
    """Whether a fraction number stands for several whole numbers, or for none (infinity)."""
    if not isinstance(value, float | np.floating) or math.isnan(value):
        return False
    limit = 2.0 ** (np.finfo(value).nmant + 1) if isinstance(value, np.floating) else 2.0**53
    return bool(abs(float(value)) >= limit)


def id_column(column: pa.Array | pa.ChunkedArray) -> pa.ChunkedArray:
    """A column of ids of any flat type as text; null stays null, and NaN is null."""
    chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
    return pa.chunked_array([_as_text(chunk) for chunk in chunks], pa.string())


def inexact(column: pa.Array | pa.ChunkedArray) -> BoolArray:
    """Which rows (n,) hold a fraction number that stands for several whole numbers, or for none."""
    given = _value_type(column.type)
    if given not in _LIMITS:
        return np.zeros(len(column), np.bool_)
    plain = column.cast(given) if pa.types.is_dictionary(column.type) else column
    wrong = pc.fill_null(pc.greater_equal(pc.abs(plain.cast(pa.float64())), _LIMITS[given]), False)
    result: BoolArray = wrong.to_numpy() if isinstance(wrong, pa.ChunkedArray) else wrong.to_numpy(zero_copy_only=False)
    return result


def read_ids(column: "pa.Array | pa.ChunkedArray | pd.Series", name: str) -> pa.ChunkedArray:
    """The same for a column that is used whole; raises InputError, with its `name` and the row, where digits were lost."""
    if not isinstance(column, pa.Array | pa.ChunkedArray):
        column = _from_pandas(column, name)
    rows = np.flatnonzero(inexact(column))
    if len(rows):
        raise _complaint(name, int(rows[0]), column[int(rows[0])].as_py())
    return id_column(column)


def id_series(ids: "pd.Series", name: str = "") -> "pd.Series":
    """`read_ids` of a column of a frame, as objects (text or None) under the same index."""
    import pandas as pd

    texts = read_ids(ids, name or str(ids.name)).to_pylist()
    return pd.Series(texts, index=ids.index, dtype=object, name=ids.name)


def with_text_ids(table: pa.Table, names: Sequence[str]) -> pa.Table:
    """The table with those of its columns `names` that it has as `read_ids` reads them."""
    for name in names:
        place = table.schema.get_field_index(name)
        if place >= 0 and table.schema.field(place).type != pa.string():
            table = table.set_column(place, name, read_ids(table.column(place), name))
    return table


def joined_ids(parts: Sequence[pa.Array | pa.ChunkedArray]) -> pa.Array | pa.ChunkedArray:
    """One id (n,) out of several that are text, different where any part is; null where a part is.

    Parts are joined by ":". Where a part before the last holds a ":" of its own it could not be told where that part ends;
    these ids are joined by "|" instead, with percent signs written for both marks, and so hold no ":" at all.
    """
    plain = pc.binary_join_element_wise(*parts, ":", null_handling="emit_null")
    unclear = pa.repeat(False, len(plain))
    for part in parts[:-1]:
        unclear = pc.or_(unclear, pc.fill_null(pc.match_substring(part, ":"), False))
    if not pc.any(unclear).as_py():
        return plain
    escaped = list(parts)
    for mark, written in (("%", "%25"), (":", "%3A"), ("|", "%7C")):
        escaped = [pc.replace_substring(part, mark, written) for part in escaped]
    return pc.if_else(unclear, pc.binary_join_element_wise(*escaped, "|", null_handling="emit_null"), plain)


def numbering(ids: "pd.Series") -> "tuple[np.ndarray, pd.Index]":
    """Codes (n,) of ids that are text, and the distinct ids in order: whole numbers by size where all are, else as text."""
    import pandas as pd

    codes, names = pd.factorize(ids)
    texts = [str(name) for name in names]
    whole = all(text.isascii() and text.isdigit() and (text == "0" or text[0] != "0") for text in texts)
    order = np.array(sorted(range(len(texts)), key=(lambda i: int(texts[i])) if whole else texts.__getitem__), np.int64)
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    return place[codes], names[order]


def _as_text(chunk: pa.Array) -> pa.Array:
    given = chunk.type
    if given == pa.string():
        return chunk
    if isinstance(given, pa.ExtensionType):
        return pa.array([id_text(value) for value in chunk.to_pylist()], pa.string())
    if pa.types.is_dictionary(given):
        return _as_text(chunk.dictionary).take(chunk.indices)
    if pa.types.is_floating(given):
        return _float_text(chunk)
    if pa.types.is_decimal(given) and given.scale <= 0 and given.precision <= 38:
        return chunk.cast(pa.decimal256(76, 0)).cast(pa.string())
    if pa.types.is_decimal(given) or pa.types.is_nested(given) or _is_bytes(given):
        values = [_dump(value) if isinstance(value, dict | list) else value for value in chunk.to_pylist()]
        return pa.array([id_text(value) for value in values], pa.string())
    return chunk.cast(pa.string())


def _float_text(chunk: pa.Array) -> pa.Array:
    """Whole numbers by all of their digits, others in their shortest form."""
    doubles = chunk.cast(pa.float64())
    missing = pc.is_nan(doubles)
    whole = pc.and_(pc.equal(doubles, pc.floor(doubles)), pc.less(pc.abs(doubles), 2.0**63))
    digits = pc.if_else(whole, doubles, None).cast(pa.int64()).cast(pa.string())
    text = pc.coalesce(digits, pc.if_else(missing, None, chunk).cast(pa.string()))
    large = pc.indices_nonzero(pc.fill_null(pc.greater_equal(pc.abs(doubles), 2.0**63), False)).to_pylist()
    if not large:
        return text
    texts = text.to_pylist()
    for row in large:  # 1e+20 is no way to write an id
        value = doubles[row].as_py()
        texts[row] = str(int(value)) if math.isfinite(value) else str(value)
    return pa.array(texts, pa.string())


def _decimal_text(value: Decimal) -> str | None:
    if not value.is_finite():
        return None if value.is_nan() else str(value)
    exponent = value.as_tuple().exponent
    if not isinstance(exponent, int) or abs(exponent) > _MAX_EXPONENT:
        return str(value)  # written out it would fill the memory
    text = f"{value:f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text in ("-0", "") else text


def _from_pandas(ids: "pd.Series", name: str) -> pa.Array | pa.ChunkedArray:
    if ids.dtype != object:
        return pa.Array.from_pandas(ids)
    values = ids.tolist()
    for row, value in enumerate(values):
        if is_inexact(value):
            raise _complaint(name, row, value)
    return pa.array([id_text(value) for value in values], pa.string())


def _complaint(name: str, row: int, value: Any) -> InputError:
    what, _, repair = INEXACT.format(value=value).partition(": ")
    return InputError(f"{name}: row {row + 1} {what}.", repair=repair[:1].upper() + repair[1:])


def _value_type(given: pa.DataType) -> pa.DataType:
    return given.value_type if pa.types.is_dictionary(given) else given


def _is_bytes(given: pa.DataType) -> bool:
    return bool(
        pa.types.is_binary(given)
        or pa.types.is_large_binary(given)
        or pa.types.is_binary_view(given)
        or pa.types.is_fixed_size_binary(given)
    )


def _dump(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=id_text)
