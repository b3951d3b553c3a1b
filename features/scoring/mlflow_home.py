"""MLflow pointed where the settings say, also after a home has moved: its file in there keeps whole paths."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path
from types import ModuleType
from typing import Final
from urllib.parse import urlparse
from urllib.request import url2pathname

from features import databases
from features.atomic import locked, part_of, put_in_place
from features.settings import Settings
from features.vocabulary import Task

_ANEW: Final = (
    "run: omni restore BACKUP (`omni backup` made it). Without a backup, move it away, and train and promote again"
)
EXPERIMENT: Final = "omni"
"""What our experiments' names begin with; it was the one experiment of all runs before each task had its own."""
CHAMPION: Final = "champion"
"""The alias of the version that serves."""
HISTORY_TAG: Final = "champion_history"
"""The tag of a registered model that keeps its champions' versions in order, as a JSON list."""
_SQLITE: Final = "sqlite:///"
_VARIABLE: Final = "MLFLOW_TRACKING_URI"
_PLACES: Final = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "storage_location"),
)
"""Where MLflow 3 keeps the place of files."""


def experiment_of(task: Task) -> str:
    """The experiment of a task's runs."""
    return f"{EXPERIMENT}/{task.value}"


def mlflow_at(tracking_uri: str) -> ModuleType:
    """MLflow, pointed at a tracking store, with its phone-home off."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("DO_NOT_TRACK", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    import mlflow

    before = os.environ.get(_VARIABLE)
    mlflow.set_tracking_uri(tracking_uri)
    # It leaves the address in the environment, where settings of another home in this process would find it.
    if before is None:
        os.environ.pop(_VARIABLE, None)
    else:
        os.environ[_VARIABLE] = before
    return mlflow


def tracking_database(settings: Settings) -> Path | None:
    """The file of the tracking store, there or not; None where a server keeps it."""
    uri = settings.mlflow_tracking_uri
    return Path(uri.removeprefix(_SQLITE)) if uri.startswith(_SQLITE) else None


def has_registry(settings: Settings) -> bool:
    """Whether there is a registry to ask: a server's is taken to be there, a file only once training has made it.

    A file of no bytes, as a power cut leaves, is none: to SQLite it would be one without any model.
    """
    database = tracking_database(settings)
    return database is None or (database.exists() and database.stat().st_size > 0)


def emptied_registry(settings: Settings) -> Path | None:
    """The registry's file where it is there without a byte in it; else None."""
    database = tracking_database(settings)
    return database if database is not None and database.exists() and database.stat().st_size == 0 else None


def look_at_tracking(settings: Settings, within_s: float | None = None) -> None:
    """See that the tracking store's file can be used now; raises StoreError within the time, where MLflow tries for minutes."""
    database = tracking_database(settings)
    if database is not None:
        databases.look_at(
            "The tracking store", database, "restore a backup, or move it away and train the models again", within_s
        )


def make_tracking_database(database: Path) -> None:
    """Make the tracking store's file, whole or not at all; nothing where it is there.

    MLflow 3.17.2 makes its tables one statement at a time: what a kill leaves of that it refuses for ever ("table
    mcp_servers already exists"). So it does that under a name of its own, in a file that nobody else knows.
    """
    if database.exists():
        return
    with locked(database):
        if database.exists():
            return
        part = part_of(database)
        try:
            mlflow_at(f"{_SQLITE}{part}").MlflowClient().search_experiments(max_results=1)
            put_in_place(part, database)
        finally:
            part.unlink(missing_ok=True)


def follow_home(settings: Settings) -> None:
    """Rewrite the places of artifacts after OMNI_HOME was moved or copied; nothing where tracking is not the home's own.

    What did not come along, like a model that was trained in a copy before places followed it, stays where it is.
    """
    database = settings.home / "mlflow" / "mlflow.db"
    if tracking_database(settings) != database or not settings.mlflow_artifacts_dir.exists():
        return
    with databases.in_words("The tracking store", database, _ANEW):
        _move_places(database, settings.mlflow_artifacts_dir.as_uri())


def _move_places(database: Path, now: str) -> None:
    with closing(sqlite3.connect(database, timeout=min(30, databases.wait_s()))) as connection, connection:
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if not tables >= {table for table, _ in _PLACES}:
            return
        ours = "SELECT DISTINCT artifact_location FROM experiments WHERE name = ? OR name GLOB ?"
        for (before,) in connection.execute(ours, (EXPERIMENT, f"{EXPERIMENT}/*")).fetchall():
            if before != now:
                _move_all(connection, before, now)


def _move_all(connection: sqlite3.Connection, before: str, now: str) -> None:
    for table, column in _PLACES:
        there = f"SELECT DISTINCT {column} FROM {table} WHERE substr({column}, 1, ?) = ?"
        for (place,) in connection.execute(there, (len(before), before)).fetchall():
            moved = now + place[len(before) :]
            if _exists(moved):
                connection.execute(f"UPDATE {table} SET {column} = ? WHERE {column} = ?", (moved, place))


def _exists(uri: str) -> bool:
    return Path(url2pathname(urlparse(uri).path)).exists()
