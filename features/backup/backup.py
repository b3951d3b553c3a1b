"""A backup: the settings of a home in, a folder with consistent copies of what cannot be computed again out.

It may serve meanwhile. The folder appears whole or not at all. Feature stores are not in it: they are built from the log.
"""

import importlib.metadata
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from features import atomic
from features.backup.catalogue import FILE as CATALOGUE
from features.backup.catalogue import KnownBackup, remember
from features.backup.manifest import FORMAT, NAME, CopiedTable, Manifest, list_files
from features.backup.sqlite_copy import copy_database
from features.console import Progress
from features.errors import InputError, MissingError
from features.log.carried import keep_erasures
from features.log.engines import has_log, sqlite_path
from features.log.marks import NEWEST, newest
from features.online.trust import open_known_log
from features.scoring.mlflow_home import tracking_database
from features.settings import Settings

LOG: Final = "log"
"""The folder of the event log."""
LOG_FILE: Final = "events.db"
MLFLOW: Final = "mlflow"
HOME: Final = "home"
"""The folder of files that lie in OMNI_HOME, under the same names."""
REBUILT: Final = "The feature stores (offline, online) are not in it: `omni features build` and the stream build them."
FOLDERS: Final = ("rejected", "erasures")
_SUFFIXES: Final = (".toml", ".csv", ".json")
"""Of the files of OMNI_HOME itself that say what; others there are made anew."""


@dataclass(frozen=True)
class BackupReport:
    """What was backed up, and where it is."""

    place: Path
    log_id: str
    last_seq: int
    events: int
    files: int
    mebibytes: float
    left_out: tuple[str, ...]


def back_up(settings: Settings, out: Path, progress: Progress) -> BackupReport:
    """Write a backup to the new folder `out`, which must lie outside OMNI_HOME.

    Raises InputError for a folder that cannot be used, MissingError without a log, and StoreError for one that cannot be
    copied.
    """
    out = out.expanduser().resolve()
    _check_place(settings, out)
    if not has_log(settings):
        raise MissingError(
            f"There is no event log at {settings.event_log_place}.", repair="There is nothing to back up."
        )
    with closing(open_known_log(settings)) as log:
        keep_erasures(settings, log)
    created_at = datetime.now(UTC).replace(microsecond=0)
    try:
        part = atomic.part_of(out)
        try:
            part.mkdir(mode=0o700)
            manifest = _fill(settings, part, created_at, progress)
            (part / NAME).write_text(manifest.model_dump_json(indent=2), encoding="utf-8")
            atomic.sync_tree(part)
            atomic.put_in_place(part, out)
        finally:
            shutil.rmtree(part, ignore_errors=True)
    except OSError as error:
        raise InputError(
            f"The backup cannot be written to {out}: {error.strerror or error}.",
            repair="Nothing of it is left. Make room there, or choose another folder.",
        ) from error
    remember(settings, KnownBackup(str(out), created_at, manifest.log_id, manifest.last_seq))
    size = sum(stored.size for stored in manifest.files)
    return BackupReport(
        place=out,
        log_id=manifest.log_id,
        last_seq=manifest.last_seq,
        events=manifest.events,
        files=len(manifest.files),
        mebibytes=round(size / 2**20, 1),
        left_out=manifest.left_out,
    )


def home_files(home: Path) -> Iterator[Path]:
    """The files of a home that say what, or that nobody can compute again, as paths below it."""
    for path in sorted(home.iterdir()) if home.is_dir() else ():
        if path.is_file() and path.suffix in _SUFFIXES and path.name != CATALOGUE:
            yield path.relative_to(home)
    for name in ("products.parquet", "stock.parquet"):
        if (home / "offline" / name).is_file():
            yield Path("offline") / name
    for folder in FOLDERS:
        for path in sorted((home / folder).rglob("*")):
            if path.is_file() and path.suffix not in (".part", ".lock"):
                yield path.relative_to(home)


def mlflow_is_here(settings: Settings) -> bool:
    """Whether tracking and models are the home's own."""
    return tracking_database(settings) == settings.home / "mlflow" / "mlflow.db"


def _check_place(settings: Settings, out: Path) -> None:
    if out == settings.home or out.is_relative_to(settings.home):
        raise InputError(
            f"{out} lies in OMNI_HOME, and would be lost with it.", repair="Choose a folder elsewhere, on another disk."
        )
    if out.exists():
        raise InputError(f"{out} is there already.", repair="Name a folder that is not, such as one with the date.")
    if not out.parent.is_dir():
        raise InputError(f"The folder {out.parent} does not exist.", repair="Make it, or choose another one.")


def _fill(settings: Settings, part: Path, created_at: datetime, progress: Progress) -> Manifest:
    """Copy everything to `part`. Registry before files: what it names is there by then."""
    left_out = [REBUILT]
    tables = _copy_log(settings, part / LOG, progress)
    for path in home_files(settings.home):
        _copy_file(settings.home / path, part / HOME / path)
    if mlflow_is_here(settings):
        _copy_mlflow(settings, part / MLFLOW, progress)
    else:
        left_out.append(
            f"Runs and models are kept by another server, {settings.mlflow_tracking_uri}: back it up there."
        )
    if settings.currency or settings.identifier_key:
        left_out.append(
            "Settings of the environment (OMNI_…), the identifier key among them, are not in it: keep them."
        )
    return Manifest(
        format=FORMAT,
        created_at=created_at,
        version=importlib.metadata.version("omni"),
        engine="postgresql" if tables else "sqlite",
        **_position(part / LOG, tables),
        left_out=tuple(left_out),
        tables=tables,
        files=list_files(part, progress),
    ).signed()


def _copy_log(settings: Settings, folder: Path, progress: Progress) -> tuple[CopiedTable, ...]:
    path = sqlite_path(settings)
    if path is None:
        from features.backup.postgres_copy import copy_tables

        return copy_tables(settings.event_log_url, folder, progress)
    folder.mkdir()
    copy_database(path, folder / LOG_FILE, progress)
    return ()


def _position(folder: Path, tables: tuple[CopiedTable, ...]) -> dict[str, Any]:
    """How far the copy reaches, read from the copy itself: the log has gone on since."""
    if tables:
        meta = dict(line.split("\t", 1) for line in _lines(folder / "meta.copy"))
        rows = {table.name: table.rows for table in tables}
        last_seq = max((int(line.split("\t", 1)[0]) for line in _lines(folder / "marks.copy")), default=0)
        last_seq = max(last_seq, int(meta.get(NEWEST, "0").partition(":")[0]))
        return {
            "log_id": meta.get("log_id", ""),
            "last_seq": last_seq,
            "events": rows.get("events", 0),
            "erasures": rows.get("erasures", 0),
        }
    with closing(sqlite3.connect(f"{(folder / LOG_FILE).as_uri()}?mode=ro", uri=True)) as copy:
        end = newest(copy)
        events, erasures = (
            int(copy.execute(f"SELECT count(*) FROM {table}").fetchone()[0]) for table in ("events", "erasures")
        )
    return {"log_id": end.log_id, "last_seq": end.seq, "events": events, "erasures": erasures}


def _lines(path: Path) -> Iterator[str]:
    with path.open(encoding="utf-8") as file:
        for line in file:
            yield line.rstrip("\n")


def _copy_mlflow(settings: Settings, folder: Path, progress: Progress) -> None:
    database = settings.home / "mlflow" / "mlflow.db"
    if not database.exists():
        return
    folder.mkdir()
    copy_database(database, folder / database.name, progress)
    artifacts = settings.mlflow_artifacts_dir
    for path in sorted(artifacts.rglob("*")) if artifacts.exists() else ():
        if path.is_file() and path.suffix != ".part":
            progress(f"models: {path.name}")
            _copy_file(path, folder / artifacts.name / path.relative_to(artifacts))


def _copy_file(source: Path, target: Path) -> None:
    """Copy content and rights; a file that somebody deletes at this very moment is left out."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        shutil.copyfile(source, target)
        target.chmod(source.stat().st_mode & 0o777)
    except FileNotFoundError:
        target.unlink(missing_ok=True)
