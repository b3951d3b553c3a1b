"""Point-in-time join in DuckDB: entity rows and a view as Feast registered it in, its row as of each moment out.

Feast's own join carries every column through a join with all earlier rows of a customer. Here only keys and times are
joined, and the wide rows that were found are read once each. A test holds that the answers are Feast's, bit for bit.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd
import pyarrow as pa

from features.offline.files import require, scan_path
from features.sql import connect

if TYPE_CHECKING:
    from feast import FeatureView

_ROW, _KEY, _NEWEST, _OLDEST = "entity_row", "entity_key", "newest", "oldest"
_EVER: Final = datetime(1, 1, 1, tzinfo=UTC)
_FOUND: Final = """
    CREATE TEMP TABLE found AS
    SELECT entities.entity_row, source."{key}" AS key, source."{time}" AS time
    FROM entities ASOF JOIN (SELECT "{key}", "{time}" FROM read_parquet($path)) source
    ON entities.entity_key = source."{key}" AND entities.newest >= source."{time}"
    WHERE source."{time}" >= entities.oldest
"""
_WANTED: Final = """
    CREATE TEMP TABLE wanted AS
    SELECT key, time, row_number() OVER () AS row FROM (SELECT DISTINCT key, time FROM found)
"""
_ROWS: Final = """
    SELECT wanted.row, {fields} FROM read_parquet($path) source
    JOIN wanted ON wanted.key = source."{key}" AND wanted.time = source."{time}"
"""
_POSITIONS: Final = "SELECT entity_row, row FROM found JOIN wanted USING (key, time)"


@dataclass(frozen=True)
class OfflineView:
    """What Feast's registry says of a view: where its rows are, their key and time, and how long a row counts."""

    path: Path
    key: str
    time: str
    ttl: timedelta  # zero: for ever

    @classmethod
    def from_feast(cls, view: "FeatureView") -> "OfflineView":
        """The facts of a registered view over a Parquet source."""
        source: Any = view.batch_source  # a FileSource, wherever DuckDB is the engine
        return cls(
            path=Path(source.path),
            key=view.join_keys[0],
            time=source.timestamp_field,
            ttl=view.ttl or timedelta(0),
        )


def rows_as_of(view: OfflineView, schema: pa.Schema, keys: pd.Series, moments: pd.Series) -> pa.Table:
    """The columns of `schema` of the newest row of each key that is not newer than the moment (aware, microseconds).

    One row per entity row, in their order; null where there is none, or it is older than the view's ttl allows.
    Raises MissingError where the source is not there yet.
    """
    require(view.path)
    entities = _entities(view, keys, moments)
    names = {"key": view.key, "time": view.time, "fields": ", ".join(f'source."{name}"' for name in schema.names)}
    path = {"path": scan_path(view.path)}
    with connect() as connection:
        connection.register("entities", entities)
        connection.execute(_FOUND.format(**names), path)
        connection.execute(_WANTED)
        rows = connection.sql(_ROWS.format(**names), params=path).to_arrow_table()
        positions = connection.sql(_POSITIONS).to_arrow_table()
    null = pa.Table.from_pylist([{}], schema=schema)  # comes first, and is the answer where nothing was found
    answers = pa.concat_tables([null, rows.select(schema.names).cast(schema)]).combine_chunks()
    row_at = np.zeros(rows.num_rows + 1, dtype=np.int64)
    row_at[rows["row"].to_numpy()] = np.arange(1, rows.num_rows + 1)
    index = np.zeros(len(keys), dtype=np.int64)
    index[positions[_ROW].to_numpy()] = row_at[positions["row"].to_numpy()]
    return answers.take(pa.array(index))


def _entities(view: OfflineView, keys: pd.Series, moments: pd.Series) -> pa.Table:
    utc = pa.timestamp("us", tz="UTC")
    newest = pa.array(moments).cast(utc)
    oldest = pa.array(moments - view.ttl).cast(utc) if view.ttl else pa.repeat(pa.scalar(_EVER, utc), len(keys))
    return pa.table(
        {
            _ROW: np.arange(len(keys)),
            _KEY: pa.array(keys, pa.string()),
            _NEWEST: newest,
            _OLDEST: oldest,
        }
    )
