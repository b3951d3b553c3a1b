"""A home that has moved comes in; MLflow's own file in it, which keeps whole paths, finds the models where they lie now."""

import sqlite3
from contextlib import closing
from typing import Final

from features.settings import Settings

EXPERIMENT: Final = "omni"
"""The experiment of all runs."""
_PLACES: Final = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "storage_location"),
)
"""Where MLflow 3 keeps the place of files."""


def follow_home(settings: Settings) -> None:
    """Rewrite the places of artifacts after OMNI_HOME was moved or copied; nothing where tracking is not the home's own."""
    database = settings.home / "mlflow" / "mlflow.db"
    if settings.mlflow_tracking_uri != f"sqlite:///{database}" or not settings.mlflow_artifacts_dir.exists():
        return
    now = settings.mlflow_artifacts_dir.as_uri()
    with closing(sqlite3.connect(database, timeout=30)) as connection, connection:
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if not tables >= {table for table, _ in _PLACES}:
            return
        found = connection.execute("SELECT artifact_location FROM experiments WHERE name = ?", (EXPERIMENT,)).fetchone()
        if found is None or found[0] == now:
            return
        for table, column in _PLACES:
            connection.execute(
                f"UPDATE {table} SET {column} = ? || substr({column}, ?) WHERE substr({column}, 1, ?) = ?",
                (now, len(found[0]) + 1, len(found[0]), found[0]),
            )
