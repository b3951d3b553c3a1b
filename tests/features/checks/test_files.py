"""Which files are damaged, and what a failure of the disk or of a library over a damaged file is in words."""

import errno
import json
import sqlite3
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.checks.files import damaged_files, in_words
from features.errors import StoreError, UnavailableError
from features.settings import Settings


def write_all(home: Path) -> dict[str, Path]:
    """A good file of every kind that is looked at."""
    (home / "offline").mkdir(parents=True)
    (home / "feast").mkdir()
    files = {
        name: home / place
        for name, place in {
            "parquet": "offline/products.parquet",
            "sqlite": "events.db",
            "json": "offline/build.json",
            "toml": "rules.toml",
        }.items()
    }
    pq.write_table(pa.table({"a": list(range(5000))}), files["parquet"], write_page_checksum=True)
    with sqlite3.connect(files["sqlite"]) as connection:
        connection.execute("CREATE TABLE t (a)")
        connection.executemany("INSERT INTO t VALUES (?)", [(number,) for number in range(5000)])
    connection.close()
    files["json"].write_text(json.dumps({"a": 1}))
    files["toml"].write_text("max_unanswered = 3\n")
    return files


@pytest.mark.parametrize("kind", ["parquet", "sqlite", "json", "toml"])
@pytest.mark.parametrize("damage", ["half", "folder", "zeros"])
def test_a_damaged_file_is_named_with_what_to_do(settings: Settings, kind: str, damage: str) -> None:
    files = write_all(settings.home)
    assert list(damaged_files(settings)) == []
    path = files[kind]
    content = path.read_bytes()
    path.unlink()
    if damage == "folder":
        path.mkdir()
    else:
        path.write_bytes(content[: len(content) // 2] + b"\x00" * (len(content) // 2) * (damage == "zeros"))
    if kind == "toml" and damage == "half":
        path.write_text("max_unanswe")
    (damaged,) = damaged_files(settings)
    assert damaged.path == path
    assert str(damaged).startswith(f"{path} is damaged (")
    assert damaged.repair


def test_a_folder_with_the_parts_of_a_table_is_no_damage(settings: Settings) -> None:
    path = write_all(settings.home)["parquet"]
    part = path.rename(path.with_name("part"))
    path.mkdir()
    part.rename(path / "part-0.parquet")
    assert list(damaged_files(settings)) == []


@given(at=st.floats(0, 1), bit=st.integers(0, 7))
def test_a_flipped_bit_in_parquet_is_seen_or_changes_nothing(
    tmp_path_factory: pytest.TempPathFactory, at: float, bit: int
) -> None:
    settings = Settings.from_env({"OMNI_HOME": str(tmp_path_factory.mktemp("flip"))})
    path = settings.home / "offline" / "products.parquet"
    path.parent.mkdir()
    table = pa.table({"a": [f"p{number % 300}" for number in range(1500)], "b": list(range(1500))})
    pq.write_table(table, path, write_page_checksum=True, compression="zstd")
    content = bytearray(path.read_bytes())
    footer_bytes = int.from_bytes(content[-8:-4], "little") + 8  # of which Parquet keeps no sum
    content[4 + int(at * (len(content) - footer_bytes - 5))] ^= 1 << bit
    path.write_bytes(content)
    if not list(damaged_files(settings)):
        assert pq.read_table(path) == table


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "/a/b"), "/a/b cannot be used: No space left on device."),
        (PermissionError(errno.EACCES, "Permission denied", "/a/b"), "/a/b cannot be used: Permission denied."),
        (IsADirectoryError(errno.EISDIR, "Is a directory", "/a/b"), "/a/b cannot be used: Is a directory."),
        (duckdb.IOException("IO Error: Could not write file: No space left on device"), "No space left on device."),
    ],
    ids=["full", "forbidden", "folder", "DuckDB"],
)
def test_what_the_disk_refuses_is_one_line(settings: Settings, error: Exception, words: str) -> None:
    known = in_words(error, settings)
    assert isinstance(known, UnavailableError)
    assert words in known.message
    assert known.repair


def test_a_full_database_is_told_by_its_driver_and_by_what_wraps_it(settings: Settings) -> None:
    with sqlite3.connect(":memory:") as connection:
        connection.execute("PRAGMA max_page_count = 2")
        with pytest.raises(sqlite3.OperationalError) as full:
            connection.execute("CREATE TABLE t AS SELECT randomblob(100000) AS a")
    connection.close()
    wrapped = ValueError("something of SQLAlchemy's")
    wrapped.orig = full.value  # type: ignore[attr-defined]
    for error in (full.value, wrapped):
        assert "No space left on device" in str(in_words(error, settings))


def test_a_librarys_error_counts_only_where_a_file_is_damaged(settings: Settings) -> None:
    files = write_all(settings.home)
    error = pa.ArrowInvalid("Parquet magic bytes not found in footer.")
    assert in_words(error, settings) is None
    files["parquet"].write_bytes(b"PAR1")
    known = in_words(error, settings)
    assert isinstance(known, StoreError)
    assert str(files["parquet"]) in known.message
    assert in_words(AssertionError("ours"), settings) is None


def test_the_counters_of_a_service_are_no_databases(settings: Settings) -> None:
    write_all(settings.home)
    counters = settings.home / "run" / "3000" / "bentoml" / "prometheus_multiproc_dir" / "counter_17.db"
    counters.parent.mkdir(parents=True)
    counters.write_bytes(bytes(100))

    assert list(damaged_files(settings)) == []
