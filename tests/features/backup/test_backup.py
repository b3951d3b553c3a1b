"""A backup is whole, of one moment, and of what cannot be computed again; what is no backup any more is refused."""

import json
import os
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from made_visits import many

from features.backup import backup as backup_module
from features.backup import restore as restore_module
from features.errors import InputError, MissingError, StoreError
from features.log.engines import open_log
from features.settings import Settings


@pytest.fixture
def files(tmp_path) -> Path:
    """The files of a home beside its log, in its folder."""
    home = tmp_path / "home"
    for name, text in {
        "rules.toml": "holdout_share = 0.1\n",
        "settings.toml": 'currency = "EUR"\n',
        "rates.csv": "date,currency,rate\n",
        "offline/products.parquet": "products",
        "offline/timeline.parquet": "built from the log",
        "rejected/one.parquet": "rejected",
        "erasures/r1.json": "{}",
        "feast/online.db": "built from the log",
        "mlflow/artifacts/1/model.onnx": "model",
        "run/3000/draining": "",
    }.items():
        path = home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    with closing(sqlite3.connect(home / "mlflow" / "mlflow.db")) as connection, connection:
        connection.execute("CREATE TABLE runs (name TEXT)")
        connection.execute("INSERT INTO runs VALUES ('first')")
    return home


def below(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_it_holds_what_cannot_be_computed_again(home, files):
    home.back_up()
    found = below(home.folder / "backup")
    assert {name for name in found if not name.startswith("log/")} == {
        "manifest.json",
        "home/rules.toml",
        "home/settings.toml",
        "home/rates.csv",
        "home/offline/products.parquet",
        "home/rejected/one.parquet",
        "home/erasures/r1.json",
        "mlflow/mlflow.db",
        "mlflow/artifacts/1/model.onnx",
    }
    manifest = json.loads((home.folder / "backup" / "manifest.json").read_text())
    assert {stored["path"] for stored in manifest["files"]} == found - {"manifest.json"}
    assert "feature stores" in manifest["left_out"][0]
    assert (home.folder / "backup").stat().st_mode & 0o077 == 0, "it holds what customers did"


def test_files_are_put_back_and_what_was_there_is_put_aside(home, files):
    home.back_up()
    (files / "rules.toml").write_text("holdout_share = 0.2\n")
    (files / "settings.toml").write_text('currency = "USD"\n')
    (files / "rates.csv").unlink()
    (files / "report.toml").write_text("newer than the backup")
    (files / "mlflow" / "artifacts" / "1" / "model.onnx").write_text("later model")
    with closing(sqlite3.connect(files / "mlflow" / "mlflow.db")) as connection, connection:
        connection.execute("UPDATE runs SET name = 'second'")

    report = home.restore()

    assert (files / "rules.toml").read_text() == "holdout_share = 0.1\n"
    assert (files / "rates.csv").exists() and (files / "report.toml").exists()
    assert (files / "mlflow" / "artifacts" / "1" / "model.onnx").read_text() == "model"
    with closing(sqlite3.connect(files / "mlflow" / "mlflow.db")) as connection:
        assert connection.execute("SELECT name FROM runs").fetchall() == [("first",)]
    assert (files / "settings.toml").read_text() == 'currency = "USD"\n'
    assert report.left_as_they_were == ("settings.toml",)
    (aside,) = files.glob("replaced-*")
    assert str(aside) in report.replaced
    assert (aside / "rules.toml").read_text() == "holdout_share = 0.2\n"
    assert (aside / "mlflow" / "artifacts" / "1" / "model.onnx").read_text() == "later model"


def test_the_log_alone_is_restored_when_that_is_asked(home, files):
    home.back_up()
    (files / "rules.toml").write_text("holdout_share = 0.2\n")
    home.append({"event_id": "c1", "customer_id": "cyd"})
    home.restore(log_only=True, discard=True)
    assert home.ids() == ["a1", "a2", "b1"]
    assert (files / "rules.toml").read_text() == "holdout_share = 0.2\n"
    assert list(files.glob("replaced-*")) == []


def test_it_is_of_one_moment_while_others_write(home):
    """Every copy is the log up to some append, whole; and the writer goes on meanwhile."""
    stop, written = threading.Event(), [0]

    def write() -> None:
        with closing(open_log(home.settings)) as log:
            while not stop.is_set():
                log.append(many(written[0], 50))
                written[0] += 50

    thread = threading.Thread(target=write)
    thread.start()
    try:
        reports = []
        for number in range(3):
            before = written[0]
            reports.append(home.back_up(f"backup{number}"))
            assert reports[-1].events >= before + 3
    finally:
        stop.set()
        thread.join()
    assert written[0] > reports[0].events
    for number, report in enumerate(reports):
        assert (report.events - 3) % 50 == 0
        restored = home.restore(f"backup{number}", discard=True)
        assert (restored.events, len(home.ids())) == (report.events, report.events)
        assert home.ids()[3:] == [f"e{place}" for place in range(report.events - 3)]


def test_one_changed_digit_of_the_list_is_seen(home):
    home.back_up()
    path = home.folder / "backup" / "manifest.json"
    path.write_text(path.read_text().replace('"last_seq": 3', '"last_seq": 4'))
    with pytest.raises(InputError, match="was changed"):
        home.restore()


@pytest.mark.parametrize("seed", range(12))
def test_a_damaged_backup_is_refused_before_anything_is_changed(home, files, seed):
    home.back_up()
    folder = home.folder / "backup"
    rng = np.random.default_rng(seed)
    names = sorted(name for name in below(folder) if (folder / name).stat().st_size)
    path = folder / names[int(rng.integers(len(names)))]
    body = path.read_bytes()
    match seed % 4:
        case 0:
            path.unlink()
        case 1:
            path.write_bytes(body[: len(body) // 2])
        case 2:
            (folder / "log" / "more.copy").write_bytes(b"x")
        case _:
            place = int(rng.integers(len(body)))
            path.write_bytes(body[:place] + bytes([body[place] ^ 1]) + body[place + 1 :])
    before = below(files) - {"backups.json.lock"}

    with pytest.raises(InputError, match=r"is damaged|no backup|cannot be read"):
        home.restore()

    assert below(files) - {"backups.json.lock"} == before
    assert home.ids() == ["a1", "a2", "b1"]


def test_where_it_cannot_be_made_nothing_is_left(home, monkeypatch):
    (home.folder / "there").mkdir()
    for name, words in {
        "there": "is there already",
        "home/backup": "lies in OMNI_HOME",
        "home": "lies in OMNI_HOME",
        "missing/backup": "does not exist",
    }.items():
        with pytest.raises(InputError, match=words):
            home.back_up(name)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(backup_module, "list_files", full)
        with pytest.raises(InputError, match=r"cannot be written to .*No space left"):
            home.back_up()
    assert {path.name for path in home.folder.iterdir()} == {"home", "there"}


def test_without_a_log_there_is_nothing_to_back_up(tmp_path):
    settings = Settings.from_env({"OMNI_HOME": str(tmp_path / "home")})
    with pytest.raises(MissingError, match="no event log"):
        backup_module.back_up(settings, tmp_path / "backup", lambda _: None)
    assert not (tmp_path / "home" / "events.db").exists()


def test_a_damaged_log_is_not_taken_for_a_good_one(tmp_path):
    settings = Settings.from_env({"OMNI_HOME": str(tmp_path / "home")})
    with closing(open_log(settings)) as log:
        log.append(many(0, 20_000))
    path = tmp_path / "home" / "events.db"
    body = bytearray(path.read_bytes())
    middle = len(body) // 2 // 16_384 * 16_384
    body[middle : middle + 16_384 * 4] = os.urandom(16_384 * 4)
    path.write_bytes(bytes(body))
    with pytest.raises(StoreError, match="omni restore"):
        backup_module.back_up(settings, tmp_path / "backup", lambda _: None)
    assert not (tmp_path / "backup").exists()


def test_nothing_is_restored_while_anybody_uses_the_log(home):
    home.back_up()
    code = (
        "import os, sys; from features.log.engines import open_log; from features.settings import Settings\n"
        "log = open_log(Settings.from_env(os.environ)); print(log.count(), flush=True); sys.stdin.read()"
    )
    env = {**os.environ, "OMNI_HOME": str(home.settings.home), "OMNI_EVENT_LOG": home.settings.event_log_url}
    process = subprocess.Popen(
        [sys.executable, "-c", code], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout.readline() == "3\n"
        with pytest.raises(InputError, match=r"has .*events\.db open|are Omni's"):
            home.restore()
    finally:
        process.communicate("")
    assert home.restore().events == 3


def test_a_restore_that_is_cut_short_leaves_the_log_as_it_was(home, monkeypatch):
    home.back_up()
    home.append({"event_id": "c1", "customer_id": "cyd"})

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    for step in ("carry_erasures", "_swap_log"):
        with monkeypatch.context() as patch:
            patch.setattr(restore_module, step, killed)
            with pytest.raises(KeyboardInterrupt):
                home.restore()
        assert home.ids() == ["a1", "a2", "b1", "c1"]
        assert not list(home.settings.home.glob("*.part*"))
    assert home.restore().events == 3


def test_a_backup_of_another_engine_or_form_is_refused(home, tmp_path):
    home.back_up()
    other = "postgresql://127.0.0.1:1/none" if home.settings.event_log_url.startswith("sqlite") else "sqlite:///x.db"
    settings = Settings.from_env({"OMNI_HOME": str(tmp_path / "home"), "OMNI_EVENT_LOG": other})
    with pytest.raises(InputError, match="OMNI_EVENT_LOG is"):
        restore_module.restore(settings, home.folder / "backup", lambda _: None)
    manifest = home.folder / "backup" / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"format": 1', '"format": 99'))
    with pytest.raises(InputError, match="does not know"):
        home.restore()
    with pytest.raises(InputError, match="is no backup"):
        restore_module.restore(home.settings, tmp_path, lambda _: None)
