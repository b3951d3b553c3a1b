"""The Parquet files of the offline store, each one file or a folder of part files: read, told apart, replaced, locked."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from features import atomic
from features.errors import MissingError
from features.settings import Settings
from features.sql import connect
from features.views import View
from features.vocabulary import Columns

ROW_TIME: Final = "row_time"
"""When a row was true, in microseconds since the epoch: the one field of a `*_moments` file."""
_SOURCE: Final = b"omni.source"


@contextmanager
def offline_files(settings: Settings) -> Iterator[None]:
    """Waits for a build or an erasure that is under way, then keeps others out; a process that dies lets go of it."""
    with atomic.locked(settings.home / "files"):
        yield


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
    with atomic.replacing(target) as part:
        pq.write_table(rows.replace_schema_metadata({_SOURCE: content}), part)


def require(path: Path) -> None:
    """Raise MissingError, with the command that makes it, where there is no such source."""
    if not path.exists():
        raise MissingError(f"There are no features in {path}.", repair="Run `omni features build`.")


def scan_path(source: Path) -> str:
    """What DuckDB's `read_parquet` takes for a file or for a folder of part files."""
    return str(source / "*.parquet") if source.is_dir() else str(source)


def part_files(source: Path) -> list[Path]:
    """The file, or the part files of the folder; none where there is neither."""
    return sorted(source.glob("*.parquet")) if source.is_dir() else [source] if source.exists() else []


def stamp(source: Path) -> str:
    """Sizes and times of the files of `source`: another stamp means other content."""
    facts = [(file.name, file.stat()) for file in (part_files(source) or [source])]
    return ";".join(f"{name}:{fact.st_size}:{fact.st_mtime_ns}" for name, fact in facts)


def replace(new: Path, target: Path) -> None:
    """Put the finished file or folder `new` in the place of `target`, whichever of the two that was; it is on the disk then.

    Where one of them is a folder, a power cut in between leaves no `target`, and the next build makes it anew.
    """
    old = target.with_suffix(".old")
    discard(old)  # left by a process that was killed right here
    if target.exists() and (target.is_dir() or new.is_dir()):
        os.replace(target, old)
    atomic.put_in_place(new, target)
    discard(old)


def discard(source: Path) -> None:
    """Delete a file or a folder of part files, if it is there."""
    if source.is_dir():
        shutil.rmtree(source)
    else:
        source.unlink(missing_ok=True)
