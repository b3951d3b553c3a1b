"""Which files of a home are damaged: OMNI_HOME comes in; each file that cannot be read goes out, with what makes it good again.

`omni doctor` says so, and a command that met a damaged file names it by this. Looked at is what each kind of file shows
by itself: whether it is a file, whether JSON and TOML can be parsed, the sums of the pages of Parquet, and what SQLite finds.
What no sum is kept of (a letter in a text, a value in a row of SQLite) may be another one without anybody seeing it.
"""

import errno
import json
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from features.config import read_toml
from features.errors import InputError, OmniError, StoreError, UnavailableError
from features.settings import Settings

_BUILD: Final = "Delete it and run: omni features build --force"
_BACKUP: Final = "Bring it back from a backup (omni restore BACKUP), or ingest it again once the file is moved away."
_REPAIRS: Final = (
    ("events.db", "Stop everything that uses it and run: omni restore BACKUP. Without one, ingest the sources anew."),
    ("feast/stream.db", "Delete it: whoever writes the online store makes it anew."),
    ("feast/*", _BUILD),
    ("offline/products.parquet", _BACKUP),
    ("offline/stock.parquet", _BACKUP),
    ("offline/*", _BUILD),
    (
        "mlflow/mlflow.db",
        "Stop everything that uses it and run: omni restore BACKUP. Without one, train and promote again.",
    ),
    ("rejected/*", "Delete it: the next ingest of the same source writes it again."),
    ("erasures/*", "Bring it back from a backup; a restored log that lacks it asks for the erasure again."),
    ("backups.json", "Move it away; backups that are made from then on are listed again."),
    ("ingested.json", "Delete it: the source is read once more, and what the log holds goes in no second time."),
    ("run/*", "Delete it: the next start makes it anew."),
    ("models/*", "Delete it: the model is brought anew from the registry."),
    ("quarantine/*", "Delete it: the version is tried again."),
    ("keys.json", "Delete it and make the keys anew: omni key create. No backup holds them."),
    ("*.toml", "Mend it, or move it away for the defaults."),
)
"""What to do about a damaged file, by the first pattern that fits its place below OMNI_HOME."""
_OTHERS: Final = "Bring it back from a backup, or move it away."
_COUNTERS: Final = "prometheus_multiproc_dir"
"""The folder in which the workers of a service keep their counters."""
_REGISTRY: Final = "feast/registry.db"
"""Feast's own, which only Feast can read; a build makes it anew where that fails."""
_FOREIGN: Final = {"pyarrow", "duckdb", "_duckdb", "sqlalchemy", "google", "mlflow", "sqlite3"}
"""The packages that read files for us, and whose errors a damaged one raises."""
_DISK: Final = {
    errno.ENOSPC: "Make room on the disk and run it again: what was acknowledged is kept.",
    errno.EDQUOT: "Make room within the quota and run it again: what was acknowledged is kept.",
    errno.EROFS: "Have the disk mounted for writing, or name another folder: OMNI_HOME=/path omni …",
    errno.EACCES: "Let this user read and write it, or name another folder: OMNI_HOME=/path omni …",
    errno.EPERM: "Let this user read and write it, or name another folder: OMNI_HOME=/path omni …",
    errno.EIO: "Look at the disk that it lies on, and at the system's own log.",
    errno.EISDIR: "Move the folder away: a file belongs there.",
    errno.ENOTDIR: "Move the file away: a folder belongs there.",
    errno.EFBIG: "Let this process write larger files (ulimit -f) and run it again: what was acknowledged is kept.",
}
_SQLITE: Final = {
    sqlite3.SQLITE_FULL: errno.ENOSPC,
    sqlite3.SQLITE_READONLY: errno.EROFS,
    sqlite3.SQLITE_CANTOPEN: errno.EACCES,
    sqlite3.SQLITE_PERM: errno.EACCES,
    sqlite3.SQLITE_IOERR: errno.EIO,
}
"""What SQLite says of the disk, as the system's numbers."""


@dataclass(frozen=True)
class DamagedFile:
    """A file that cannot be used, why, and what to do."""

    path: Path
    said: str
    repair: str

    def __str__(self) -> str:
        return f"{self.path} is damaged ({self.said})."


def damaged_files(settings: Settings) -> Iterator[DamagedFile]:
    """What is damaged under OMNI_HOME. Reads all of it but the models, whose digests are looked at before they serve."""
    home = settings.home
    for path in sorted(home.rglob("*")):
        place = path.relative_to(home).as_posix()
        look = None if place == _REGISTRY else _READERS.get(path.suffix)
        is_table = path.suffix == ".parquet" and path.is_dir() and any(path.iterdir())  # as Spark writes one, in parts
        if look is None or place.startswith("mlflow/artifacts/") or is_table:
            continue
        if _COUNTERS in path.parts:  # .db of prometheus_client's own, no SQLite
            continue
        try:
            if path.is_dir():
                raise InputError("a folder has its name")
            look(path)
        except (OSError, ValueError, RecursionError, sqlite3.Error, pa.ArrowException, InputError) as error:
            said = error.message if isinstance(error, InputError) else _first_line(error)
            yield DamagedFile(path, said.rstrip("."), _repair(place))


def in_words(error: Exception, settings: Settings) -> OmniError | None:
    """A failure of the disk, or of a library over a damaged file, as an error with a repair; None for any other.

    A library's error counts only where a file really is damaged: else it is a defect of ours, and its traceback is needed.
    """
    causes = list(_causes(error))
    for cause in causes:
        number = _errno(cause)
        if number is not None:
            place = getattr(cause, "filename", None) or settings.home
            return UnavailableError(f"{place} cannot be used: {os.strerror(number)}.", repair=_DISK[number])
    if not any(_is_foreign(cause) or isinstance(cause, (ValueError, OSError)) for cause in causes):
        return None
    damaged = next(damaged_files(settings), None)
    return None if damaged is None else StoreError(str(damaged), repair=damaged.repair)


def _repair(place: str) -> str:
    return next((repair for pattern, repair in _REPAIRS if fnmatch(place, pattern)), _OTHERS)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An error, and those that it came from; SQLAlchemy keeps the driver's own apart."""
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        cause = waiting.pop(0)
        if cause is not None and id(cause) not in seen:
            seen.add(id(cause))
            yield cause
            waiting += [cause.__cause__, getattr(cause, "orig", None)]


def _errno(error: BaseException) -> int | None:
    """The system's number of what the disk refused; None for anything else."""
    number: int | None = None
    if isinstance(error, OSError):
        number = error.errno
    elif isinstance(error, sqlite3.Error):
        number = _SQLITE.get(getattr(error, "sqlite_errorcode", 0) & 0xFF)
    elif _is_foreign(error):
        number = next((known for known in _DISK if os.strerror(known) in str(error)), None)
    return number if number in _DISK else None


def _is_foreign(error: BaseException) -> bool:
    return type(error).__module__.partition(".")[0] in _FOREIGN


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), "") or type(error).__name__


def _parquet(path: Path) -> None:
    with pq.ParquetFile(path, page_checksum_verification=True) as file:
        for _ in file.iter_batches():
            pass


def _sqlite(path: Path) -> None:
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=rw", uri=True, timeout=5.0)) as connection:
        connection.execute("PRAGMA query_only = 1")
        (said,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if said != "ok":
        raise ValueError(said)


def _json(path: Path) -> None:
    json.loads(path.read_text(encoding="utf-8"))


def _toml(path: Path) -> None:
    read_toml(path)


_READERS: Final[dict[str, Callable[[Path], object]]] = {
    ".parquet": _parquet,
    ".db": _sqlite,
    ".json": _json,
    ".toml": _toml,
}
