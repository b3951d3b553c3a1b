"""A reader of other people's tables: a file in, a frame with columns of numbers, moments and words out, or a clear refusal."""

import gzip
import json
import re
import zlib
from collections.abc import Collection, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Final

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from features.errors import InputError
from features.events.placeholders import Placeholders
from features.events.rules import Problem
from features.ids import id_series, read_ids
from features.sources.epochs import read_epochs
from features.sql import connect, sql_text

_CSV: Final = "read_csv(?, sample_size = -1)"
_JSON: Final = "read_json_auto(?)"
_PARQUET: Final = "read_parquet(?)"
_SCANS: Final = {
    **dict.fromkeys((".csv", ".tsv", ".txt"), _CSV),
    **dict.fromkeys((".jsonl", ".ndjson", ".json"), _JSON),
    **dict.fromkeys((".parquet", ".pq"), _PARQUET),
}
CUSTOMER_IDS: Final = (
    *("customerid", "customernumber", "customerno", "customernum", "customercode", "customer", "custid", "clientid"),
    *("clientnumber", "clientnum", "userid", "subscriberid", "memberid", "accountid", "accountnumber", "accountno"),
    *("msisdn", "phonenumber", "id"),
)
"""What the column that names the customer is called, the surest first, as `plain_name` writes it."""
_IDS: Final = frozenset(
    {*CUSTOMER_IDS, *(f"{of}id" for of in ("product", "item", "store", "session", "event", "decision"))}
)
"""Names of columns that hold ids, as `plain_name` writes them."""
_DECIMAL_COMMA: Final = re.compile(rb'[;\t]"?[+-]?\d+,\d+"?\s*([;\t]|$)', re.MULTILINE)
_EPOCH: Final = re.compile(r"-?\d{9,}(\.\d+)?")
_NOBODY: Final = Placeholders().without(["0"])
_BLANK: Final = ("", "nan", "na", "n/a", "null", "none", "-")


def read_frame(path: Path) -> pd.DataFrame:
    """A CSV, JSONL or Parquet file as it is, rows in the file's order. Raises InputError for a file that cannot be read.

    Of a CSV the delimiter and the types are told from all its rows; text that is not UTF-8 is read as Latin-1, and
    numbers like 12,50 between semicolons or tabs have a decimal comma. Ids (customer_id, user_id, product_id, item_id,
    session_id, event_id, ...) are text or None, as `features.ids` reads them: by no way round over numbers.
    """
    if not path.exists():
        raise InputError(f"{path} is not there.", repair="Give the path of a CSV, JSONL or Parquet file.")
    ending = path.suffix.lower()
    scan = _SCANS.get(path.with_suffix("").suffix.lower(), _CSV) if ending == ".gz" else _SCANS.get(ending)
    if scan is None:
        raise InputError(
            f"{path} ends in {ending or 'nothing'!r}.", repair="Give a file that ends in .csv, .jsonl or .parquet."
        )
    if scan == _CSV and _has_decimal_commas(path):
        scan = scan.replace(")", ", decimal_separator = ',')")
    with connect() as connection:
        try:
            try:
                return _read(connection, scan, path)
            except duckdb.Error as error:
                if "encod" not in str(error) or not scan.startswith("read_csv"):
                    raise
            return _read(connection, scan.replace(")", ", encoding = 'latin-1')"), path)
        except (duckdb.Error, pa.ArrowInvalid) as error:
            lines = [line.strip() for line in str(error).splitlines() if line.strip()]
            raise InputError(
                f"{path}: {' '.join(lines[:2])}.", repair="Mend the file, or save it as Parquet."
            ) from error


def _read(connection: duckdb.DuckDBPyConnection, scan: str, path: Path) -> pd.DataFrame:
    columns = connection.execute(f"DESCRIBE SELECT * FROM {scan}", [str(path)]).fetchall()
    ids = [name for name, *_ in columns if plain_name(name) in _IDS]
    if not ids:
        return connection.execute(f"SELECT * FROM {scan}", [str(path)]).df()
    if scan.startswith("read_csv"):
        types = ", ".join(f"{sql_text(name)}: 'VARCHAR'" for name in ids)
        scan = scan.replace(")", f", header = true, types = {{{types}}})")
        return connection.execute(f"SELECT * FROM {scan}", [str(path)]).df()
    table = connection.execute(f"SELECT * FROM {scan}", [str(path)]).df()
    if scan == _PARQUET:
        texts = pq.read_table(path, columns=ids)
        return table.assign(**{name: read_ids(texts.column(name), f"{path}: {name}").to_pylist() for name in ids})
    return table.assign(**_json_ids(connection, path, ids))


def _json_ids(connection: duckdb.DuckDBPyConnection, path: Path, ids: Sequence[str]) -> dict[str, pd.Series]:
    """Columns of ids with every digit that the file has."""
    types = ", ".join(f"{sql_text(name)}: 'JSON'" for name in ids)
    quoted = ", ".join(f'"{name}"' for name in ids)
    query = f"SELECT {quoted} FROM read_json(?, columns = {{{types}}})"
    rows = connection.execute(query, [str(path)]).fetchall()
    values = [[None if text is None else json.loads(text, parse_float=Decimal) for text in row] for row in rows]
    return {
        name: id_series(pd.Series([row[place] for row in values], dtype=object), f"{path}: {name}")
        for place, name in enumerate(ids)
    }


def _has_decimal_commas(path: Path) -> bool:
    """Told from the first 64 KiB."""
    try:
        with gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb") as stream:
            return _DECIMAL_COMMA.search(stream.read(65_536)) is not None
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path} cannot be read ({error}).", repair="Bring the file over again.") from error


def plain_name(column: object) -> str:
    """A column's name in small letters, without blanks and the marks that stand for them."""
    return re.sub(r"[\s_\-.]", "", str(column)).lower()


def called(table: pd.DataFrame, names_for: Mapping[str, str]) -> pd.DataFrame:
    """The table with other names of columns (keys) turned into ours (values), where it does not have ours."""
    return table.rename(columns={other: ours for other, ours in names_for.items() if ours not in table.columns})


def moments(column: pd.Series, name: str) -> pd.Series:
    """UTC moments (n,) in whole microseconds, NaT where missing, from timestamps, dates, ISO 8601 text or epochs.

    Times without a zone are UTC; numbers are seconds, milliseconds, microseconds or nanoseconds since 1970, each told from
    its size as in `omni ingest`. Raises InputError for other text and for numbers that are no such moment, as 20240501.
    """
    if column.dtype == object and column.dropna().map(_is_epoch).all():
        column = pd.to_numeric(column)
    try:
        if pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column):
            found = _since_1970(column, name)
        else:
            found = pd.to_datetime(column, utc=True, format="ISO8601" if column.dtype == object else None)
    except (ValueError, TypeError, OverflowError) as error:
        wrong = column[pd.to_datetime(column, utc=True, format="ISO8601", errors="coerce").isna() & column.notna()]
        what = f"holds {str(wrong.iloc[0])!r}" if len(wrong) else f"cannot be read ({error})"
        raise InputError(f"{name} {what}.", repair="Write moments as ISO 8601, or as seconds since 1970.") from error
    return found.dt.floor("us").astype("datetime64[us, UTC]")


def _since_1970(column: pd.Series, name: str) -> pd.Series:
    problems: dict[int, Problem] = {}
    read = read_epochs(name, pa.chunked_array([pa.Array.from_pandas(column)]), problems)
    if problems:
        row, problem = min(problems.items())
        what = problem.reason.partition(": ")[0]  # what follows is about mappings
        raise InputError(
            f"{name}: row {row + 1} {what}.", repair="Write moments as ISO 8601, or as seconds since 1970."
        )
    return pd.Series(read.to_pandas().array, index=column.index)


def numbers(column: pd.Series, name: str) -> pd.Series:
    """Numbers (n,), NaN where missing. Raises InputError that shows the first value that is none."""
    if column.dtype != object and not isinstance(column.dtype, pd.StringDtype | pd.CategoricalDtype):
        return column.astype("Float64").astype(np.float64)
    text = column.astype("string").str.strip()
    text = text.mask(text.str.lower().isin(_BLANK))
    found = pd.to_numeric(text, errors="coerce").astype("Float64").astype(np.float64)
    wrong = found.isna() & text.notna()
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise InputError(
            f"{name}: row {row + 1} holds {str(column.iloc[row])!r}, which is no number.",
            repair="Write plain numbers like 12.50.",
        )
    return found


def names(ids: pd.Series) -> pd.Series:
    """Ids as text, None where missing; blanks around them are taken off. Raises InputError where digits were lost."""
    texts = [text if text is None else text.strip() for text in id_series(ids)]
    return pd.Series([text or None for text in texts], index=ids.index, dtype=object)


def customer_names(ids: pd.Series) -> pd.Series:
    """`names` of customers, None also for what names nobody ("null", "guest", see features/events/placeholders.py).

    0 stays: files for benchmarks often count their customers from there.
    """
    texts = names(ids)
    nobody = {name for name in texts.dropna().unique() if name in _NOBODY}
    return pd.Series([None if name in nobody else name for name in texts], index=ids.index, dtype=object)


def customers_or_rows(ids: pd.Series) -> pd.Series:
    """The same with a name of its own for each row that has none: strangers are not one customer."""
    return _or_rows(customer_names(ids))


def names_or_rows(ids: pd.Series) -> pd.Series:
    """`names` with one of its own for each row that has none."""
    return _or_rows(names(ids))


def _or_rows(texts: pd.Series) -> pd.Series:
    rows = pd.Series([f"row {row}" for row in range(len(texts))], index=texts.index, dtype=object)
    return texts.where(texts.notna(), rows)


def words(column: pd.Series, name: str, allowed: Collection[str]) -> pd.Series:
    """A column of words; raises InputError for the first that is missing or not among `allowed`."""
    unknown = sorted(set(column.astype(object).where(column.notna(), "").astype(str)) - set(allowed))
    if unknown:
        raise InputError(
            f"{name} {f'holds {unknown[0]!r}' if unknown[0] else 'is missing in a row'}.",
            repair=f"Use {', '.join(allowed)}; or leave the column out.",
        )
    return column.astype(str)


def _is_epoch(value: object) -> bool:
    return isinstance(value, str) and _EPOCH.fullmatch(value.strip()) is not None
