"""Copies of SQLite files: a database that others write to in, one file as of one moment out; and who has one open."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Final

from features.console import Progress
from features.errors import InputError, StoreError

_PAGES: Final = 4_096
"""Copied in one go, between two reports."""
_BUSY_S: Final = 60.0


def copy_database(source: Path, target: Path, progress: Progress) -> None:
    """Copy a database to a new file that needs no write-ahead log beside it. Writers are not held up.

    Raises StoreError for a database that is damaged.
    """
    try:
        with (
            closing(sqlite3.connect(source, timeout=_BUSY_S, isolation_level=None)) as reading,
            closing(sqlite3.connect(target, isolation_level=None)) as copy,
        ):
            # within one transaction it is of one moment; without, it would begin anew at every write of others
            reading.execute("BEGIN")
            reading.execute("SELECT count(*) FROM sqlite_master").fetchone()

            def tell(_status: int, remaining: int, total: int) -> None:
                progress(f"{source.name}: {total - remaining:,} of {total:,} pages")

            reading.backup(copy, pages=_PAGES, progress=tell)
            reading.execute("COMMIT")
            copy.execute("PRAGMA journal_mode = DELETE")
            problems = copy.execute("PRAGMA quick_check(1)").fetchall()
    except sqlite3.DatabaseError as error:
        raise _damaged(source, str(error)) from error
    if problems != [("ok",)]:
        raise _damaged(source, str(problems[0][0]))


def check_unused(path: Path) -> None:
    """Raises InputError while any process has a SQLite database open. A file that is none is taken to be unused."""
    if not path.exists():
        return
    try:
        with closing(sqlite3.connect(path, timeout=0.5, isolation_level=None)) as connection:
            connection.execute("PRAGMA locking_mode = EXCLUSIVE")
            connection.execute("BEGIN EXCLUSIVE")
            connection.execute("COMMIT")
    except sqlite3.DatabaseError as error:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY:
            raise InputError(
                f"Another process has {path} open.",
                repair="Stop the service, its stream and whatever else uses this OMNI_HOME, then try again.",
            ) from error


def settle(path: Path) -> None:
    """Bring everything of a database into its one file, where it can be read."""
    try:
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    except sqlite3.DatabaseError:
        return  # what cannot be read is put aside as it is, with all files that belong to it


def beside(path: Path) -> list[Path]:
    """The files that belong to a database, those that are there: itself first."""
    return [file for end in ("", "-wal", "-shm") if (file := path.with_name(f"{path.name}{end}")).exists()]


def _damaged(path: Path, problem: str) -> StoreError:
    return StoreError(
        f"{path} cannot be copied: {problem}.",
        repair="If it is damaged, restore an earlier backup: omni restore BACKUP",
    )
