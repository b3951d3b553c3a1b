"""Parquet sources of the offline store: which row is newest, and at which moments there are rows at all."""

from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from features.errors import MissingError
from features.offline.parts import scan_path, stamp
from features.sql import connect
from features.views import View
from features.vocabulary import Columns

ROW_TIME: Final = "row_time"
"""When a row was true, in microseconds since the epoch: the one field of a `*_moments` file."""
_SOURCE: Final = b"omni.source"


def newest_rows(view: View, path: Path) -> pa.Table:
    """The newest row of every key in a view's source. Raises MissingError where there is no source yet."""
    require(path)
    key, moment = view.join_key, Columns.EVENT_TIMESTAMP
    query = (
        f"SELECT s.* FROM read_parquet($path) s JOIN (SELECT {key}, max({moment}) AS {moment} FROM read_parquet($path) "
        f"GROUP BY {key}) USING ({key}, {moment})"
    )
    with connect() as connection:
        return connection.sql(query, params={"path": scan_path(path)}).to_arrow_table()


def refresh_moments(view: View, source: Path, target: Path) -> None:
    """Write the keys and times of `source` to `target`, unless that was done for this very file already."""
    require(source)
    content = stamp(source).encode()
    if target.exists() and (pq.read_schema(target).metadata or {}).get(_SOURCE) == content:
        return
    rows = pq.read_table(source, columns=[view.join_key, Columns.EVENT_TIMESTAMP])
    times = rows[Columns.EVENT_TIMESTAMP].cast(pa.timestamp("us", tz="UTC")).cast(pa.int64())
    rows = rows.append_column(ROW_TIME, times)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_suffix(".partial")
    pq.write_table(rows.replace_schema_metadata({_SOURCE: content}), partial)
    partial.replace(target)


def require(path: Path) -> None:
    """Raise MissingError, with the command that makes it, where there is no such source."""
    if not path.exists():
        raise MissingError(f"There are no features in {path}.", repair="Run `omni features build`.")
