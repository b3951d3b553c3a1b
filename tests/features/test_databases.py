"""What is said of a SQLite file that is locked, damaged or not to be written to: one line of ours, after a bounded wait."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from features import databases
from features.errors import InputError, StoreError


@contextmanager
def held(path: Path) -> Iterator[None]:
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        yield
        other.execute("ROLLBACK")


def failed(path: Path, statement: str) -> sqlite3.DatabaseError:
    with closing(sqlite3.connect(path, timeout=0)) as connection, pytest.raises(sqlite3.DatabaseError) as caught:
        connection.execute(statement)
    return caught.value


def filled(path: Path) -> Path:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE t (a)")
        connection.executemany("INSERT INTO t VALUES (?)", [("x" * 500,)] * 100)
    return path


def test_a_database_that_is_fine_or_not_there_is_passed(tmp_path: Path) -> None:
    databases.look_at("It", filled(tmp_path / "a.db"))
    databases.look_at("It", tmp_path / "none.db")
    assert not (tmp_path / "none.db").exists()


def test_a_held_one_is_given_up_on_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = filled(tmp_path / "a.db")
    monkeypatch.setattr(databases, "_wait_s", 0.2)
    started = time.monotonic()
    with held(path), pytest.raises(StoreError, match=r"^It \S+a\.db has been busy for 0.2 s: .* Let the other process"):
        databases.look_at("It", path)
    assert 0.1 < time.monotonic() - started < 10
    monkeypatch.setattr(databases, "_wait_s", 600.0)
    with held(path), pytest.raises(StoreError, match="has been busy"):
        databases.look_at("It", path, within_s=0.1)
    assert time.monotonic() - started < 60


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (
            b"a text, and a long one. " * 100,
            "file is not a database. Stop everything that uses it and restore a backup, or throw",
        ),
        (None, "unable to open database file. Check that the file and its folder can be written to"),
    ],
)
def test_what_is_no_database_is_told_with_what_to_do(tmp_path: Path, body: bytes | None, words: str) -> None:
    path = tmp_path / "a.db"
    path.write_bytes(body) if body else path.mkdir()
    with pytest.raises(StoreError) as caught:
        databases.look_at("It", path, anew="restore a backup, or throw it away")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_one_that_may_not_be_written_to_is_told_and_can_be_read(tmp_path: Path) -> None:
    path = filled(tmp_path / "a.db")
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
        with (
            pytest.raises(StoreError, match=r"readonly database\. Check that the file"),
            databases.in_words("It", path),
        ):
            connection.execute("INSERT INTO t VALUES (1)")
        assert connection.execute("SELECT count(*) FROM t").fetchone() == (100,)


def test_a_truncated_one_is_told(tmp_path: Path) -> None:
    path = filled(tmp_path / "a.db")
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(StoreError, match="malformed"):
        databases.look_at("It", path)


def test_a_mistake_of_ours_stays_what_it_is(tmp_path: Path) -> None:
    path = filled(tmp_path / "a.db")
    for statement in ("SELEC 1", "INSERT INTO t VALUES (1, 2)", "SELECT nothing(1)"):
        error = failed(path, statement)
        assert databases.explain(error) is None
        with pytest.raises(sqlite3.DatabaseError), databases.in_words("It", path):
            raise error
    assert databases.explain(KeyError("a bug")) is None
    assert databases.explain(sqlite3.ProgrammingError("Cannot operate on a closed database.")) is None


def test_a_table_that_is_missing_is_a_damaged_file(tmp_path: Path) -> None:
    trouble = databases.explain(failed(filled(tmp_path / "a.db"), "SELECT * FROM other"))
    assert "no such table: other. Stop everything" in str(trouble)


def test_the_cause_is_found_wherever_a_library_keeps_it(tmp_path: Path) -> None:
    import sqlalchemy

    path = filled(tmp_path / "a.db")
    engine = sqlalchemy.create_engine(f"sqlite:///{path}", connect_args={"timeout": 0})
    with held(path), pytest.raises(sqlalchemy.exc.OperationalError) as caught, engine.connect() as connection:
        connection.execute(sqlalchemy.text("INSERT INTO t VALUES (:secret)"), {"secret": "ada@example.org"})
    engine.dispose()
    wrapped = RuntimeError("a library's own")
    wrapped.__cause__ = caught.value
    for error in (caught.value, wrapped):
        told = str(databases.explain(error))
        assert "has been busy" in told
        assert "ada@example.org" not in told  # what SQLAlchemy shows beside its message
    again = RuntimeError("of ours")
    again.__cause__ = InputError("A known one.")
    assert str(databases.explain(again)) == "A known one."


def test_what_mlflow_is_refused_is_told_and_a_wrong_call_is_a_bug() -> None:
    from mlflow.exceptions import MlflowException

    down = MlflowException("API request to http://127.0.0.1:1 failed\nwith a long story")
    assert str(databases.explain(down)).startswith("MLflow's tracking store does not do it: API request")
    assert "story" not in str(databases.explain(down))
    assert databases.explain(MlflowException.invalid_parameter_value("no such stage")) is None
