"""Every command on a home one of whose databases is locked or damaged: one line, exit 2, soon, and never a traceback."""

import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest
from conftest import settings_in
from made_visits import table
from typer.testing import CliRunner

import omni
from features.build import build_features
from features.log.engines import open_log
from features.scoring.mlflow_home import mlflow_at

pytestmark = pytest.mark.filterwarnings("ignore")  # of MLflow and SQLAlchemy, about files that were taken from them


@pytest.fixture(scope="module")
def made_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two customers, built features, and two versions of a model."""
    home = tmp_path_factory.mktemp("made") / "home"
    settings = settings_in(home)
    with closing(open_log(settings)) as log:
        bought = {"kind": "purchase", "product_id": "tea", "value": 3.0}
        log.append(table(*({"event_id": who, "customer_id": who, **bought} for who in ("ada", "bob"))))
    build_features(settings, lambda _: None)
    (home / "mlflow").mkdir()
    client = mlflow_at(settings.mlflow_tracking_uri).MlflowClient()
    client.create_registered_model("churn")
    experiment = client.create_experiment("omni", artifact_location=(home / "mlflow" / "artifacts").as_uri())
    for alias in ("champion", "challenger"):
        run = client.create_run(experiment).info.run_id
        version = client.create_model_version("churn", str(home), run_id=run).version
        client.set_registered_model_alias("churn", alias, version)
    return home


@contextmanager
def locked(path: Path) -> Iterator[None]:
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        other.execute("CREATE TABLE taken (a)")
        yield
        other.execute("ROLLBACK")


def no_database(path: Path) -> AbstractContextManager[None]:
    path.write_bytes(b"this is no database. " * 400)
    return nullcontext()


def truncated(path: Path) -> AbstractContextManager[None]:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return nullcontext()


def a_folder(path: Path) -> AbstractContextManager[None]:
    path.unlink()
    path.mkdir()
    return nullcontext()


OF_EVENTS = (
    "features build",
    "features build --force",
    "ingest {file}",
    "identity explain ada",
    "identity report",
    "erase ada",
    "erase --finish",
    "decide --all --out {out}.parquet",
    "audience --where TRUE --out {out}.csv",
)
NEEDS = {
    "events.db": OF_EVENTS,
    "mlflow/mlflow.db": ("models", "promote churn", "rollback churn", "train churn", "erase ada"),
    "feast/online.db": ("features build", "features build --force", "erase ada"),
    "feast/stream.db": ("features build --force", "erase ada"),
}
MADE_ANEW = "feast/stream.db"
"""What a damaged one lacks is only folded once more."""
CASES = [
    (file, harm, words)
    for file, commands in NEEDS.items()
    for harm in (locked, no_database, truncated, a_folder)
    for words in (commands if harm in (locked, no_database) else commands[:2])
    if file != MADE_ANEW or harm in (locked, a_folder)
]


def a_copy(made: Path, tmp_path: Path) -> Path:
    """Of its own for every case: a library may hold on to a file of a path that it knows."""
    home = tmp_path / "home"
    shutil.copytree(made, home, ignore=shutil.ignore_patterns("*-wal", "*-shm"))
    return home


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(omni, "COMMAND_WAIT_S", 0.3)
    monkeypatch.setattr(omni, "WAITS_S", {})


def run(home: Path, words: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    file = home.parent / "events.csv"
    file.write_text("event_id,occurred_at,kind,channel,customer_id\nz,2024-01-03T10:00:00Z,visit,web,ada\n")
    monkeypatch.setenv("OMNI_HOME", str(home))
    return CliRunner().invoke(omni.app, words.format(file=file, out=home.parent / "out").split())


@pytest.mark.parametrize(
    ("file", "harm", "words"), CASES, ids=[f"{f}-{h.__name__}-{w.partition(' {')[0]}" for f, h, w in CASES]
)
def test_it_is_one_line_and_exit_2(
    made_home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    impatient: None,
    file: str,
    harm: Callable[[Path], AbstractContextManager[None]],
    words: str,
) -> None:
    home = a_copy(made_home, tmp_path)
    with harm(home / file):
        result = run(home, words, monkeypatch)
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    lines = [line for line in result.stderr.splitlines() if line.startswith("omni: ")]
    assert len(lines) == 1, result.stderr
    assert str(home / file) in lines[0]
    assert ("has been busy" in lines[0] or "is locked" in lines[0]) is (harm is locked)
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("harm", [no_database, truncated])
@pytest.mark.parametrize("file", [MADE_ANEW, "feast/registry.db"])
def test_what_holds_nothing_of_its_own_is_made_anew(
    made_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, harm: Callable[[Path], Any]
) -> None:
    home = a_copy(made_home, tmp_path)
    harm(home / file)
    (home / "feast" / "applied.json").unlink()  # else nothing is applied, and the registry not looked at
    damaged = (home / file).read_bytes()
    assert run(home, "features build --force", monkeypatch).exit_code == 0
    assert (home / file).read_bytes() != damaged


def test_a_folder_in_the_place_of_feasts_registry_is_told(
    made_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = a_copy(made_home, tmp_path)
    a_folder(home / "feast" / "registry.db")
    result = run(home, "features build --force", monkeypatch)
    assert result.exit_code == 2
    assert "registry.db cannot be read" in result.stderr.splitlines()[-1]
    assert "omni features build --force" in result.stderr.splitlines()[-1]


@pytest.mark.parametrize("file", [file for file in NEEDS if file != "feast/stream.db"])
@pytest.mark.parametrize("harm", [locked, no_database])
def test_the_doctor_names_the_file_and_goes_on(
    made_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, impatient: None, file: str, harm: Any
) -> None:
    home = a_copy(made_home, tmp_path)
    with harm(home / file):
        result = run(home, "doctor", monkeypatch)
    assert result.exit_code == 1
    assert str(home / file) in result.stdout.replace("\n", "")
    assert "Traceback" not in result.stderr


def test_each_command_waits_as_long_as_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    waits = []
    monkeypatch.setattr(omni, "wait_at_most", waits.append)
    for words in ("models", "doctor", "ingest none.csv", "promote churn", "features check"):
        run(tmp_path / "home", words, monkeypatch)
    assert waits == [10.0, 2.0, 30.0, 10.0, 10.0]
    assert os.environ["OMNI_HOME"] == str(tmp_path / "home")
