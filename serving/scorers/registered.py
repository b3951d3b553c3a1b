"""What an MLflow registry says of registered models: a task in, its versions and which of them is champion out."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from sqlite3 import Connection, connect
from typing import Any, Final, Protocol, TypeVar

from features import databases
from features.errors import StoreError
from features.scoring.mlflow_home import CHAMPION, HISTORY_TAG, mlflow_at, tracking_database
from features.settings import Settings
from features.vocabulary import Task

_COLUMNS: Final[Mapping[str, frozenset[str]]] = {
    "registered_models": frozenset({"name", "workspace"}),
    "registered_model_aliases": frozenset({"name", "workspace", "alias", "version"}),
    "registered_model_tags": frozenset({"name", "workspace", "key", "value"}),
    "model_versions": frozenset(
        {"name", "workspace", "version", "run_id", "source", "storage_location", "current_stage"}
    ),
    "model_version_tags": frozenset({"name", "workspace", "version", "key", "value"}),
}
"""What is read of MLflow's tables."""
_WORKSPACE: Final = "default"
_ANEW: Final = "restore a backup, or move it away and train the models again"
_NOTHING_THERE: Final = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")
"""MLflow's words for a model, a version or an alias that there is not."""
_DELETED: Final = "Deleted_Internal"
"""How MLflow marks a version that was deleted."""
_LIVING: Final = "FROM model_versions WHERE workspace = ? AND name = ? AND current_stage <> ?"

T = TypeVar("T")


@dataclass(frozen=True)
class Version:
    """One registered version."""

    number: int
    run_id: str
    tags: Mapping[str, str]


class Registry(Protocol):
    """What is asked of a registry. Every question raises StoreError where the registry cannot be read."""

    def champion(self, task: Task) -> Version | None:
        """The version that has the alias of the champion."""

    def earlier_champions(self, task: Task) -> list[int]:
        """The numbers of those before it, oldest first."""

    def version(self, task: Task, number: int) -> Version | None:
        """One version."""

    def versions(self, task: Task) -> list[Version]:
        """All versions, by number."""

    def aliases(self, task: Task) -> dict[str, int]:
        """Which version each alias is of."""

    def place(self, task: Task, number: int) -> str:
        """The URI of a version's files."""


def open_registry(settings: Settings, wait_s: float | None = None) -> Registry:
    """The registry at `settings.mlflow_tracking_uri`; `wait_s` is how long a question waits for who holds its file."""
    database = tracking_database(settings)
    if database is not None:
        file = RegistryFile(database, databases.wait_s() if wait_s is None else wait_s)
        if file.is_readable:
            return file
    return RegistryClient(settings.mlflow_tracking_uri)


class RegistryFile:
    """A registry that is a SQLite file, read without MLflow, whose import takes a second and 100 MiB of every process."""

    def __init__(self, path: Path, wait_s: float) -> None:
        self._path, self._wait_s = path, wait_s

    @cached_property
    def is_readable(self) -> bool:
        """Whether it has the tables that are known here; another release of MLflow may have others."""
        with self._connection() as connection:
            found = (
                {name for (name,) in connection.execute("SELECT name FROM pragma_table_info(?)", (table,))} >= columns
                for table, columns in _COLUMNS.items()
            )
            return all(found)

    def champion(self, task: Task) -> Version | None:
        number = self.aliases(task).get(CHAMPION)
        return None if number is None else self.version(task, number)

    def earlier_champions(self, task: Task) -> list[int]:
        query = "SELECT value FROM registered_model_tags WHERE workspace = ? AND name = ? AND key = ?"
        return _earlier(next((value for (value,) in self._rows(query, task.value, HISTORY_TAG)), None))

    def version(self, task: Task, number: int) -> Version | None:
        return next((version for version in self.versions(task) if version.number == number), None)

    def versions(self, task: Task) -> list[Version]:
        tags: dict[int, dict[str, str]] = {}
        query = "SELECT version, key, value FROM model_version_tags WHERE workspace = ? AND name = ?"
        for number, key, value in self._rows(query, task.value):
            tags.setdefault(number, {})[key] = value
        rows = self._rows(f"SELECT version, run_id {_LIVING} ORDER BY version", task.value, _DELETED)
        return [Version(number, run_id or "", tags.get(number, {})) for number, run_id in rows]

    def aliases(self, task: Task) -> dict[str, int]:
        query = "SELECT alias, version FROM registered_model_aliases WHERE workspace = ? AND name = ?"
        return {alias: int(number) for alias, number in self._rows(query, task.value)}

    def place(self, task: Task, number: int) -> str:
        query = f"SELECT version, storage_location, source {_LIVING}"
        for found, location, source in self._rows(query, task.value, _DELETED):
            if found == number:
                return str(location or source)
        raise StoreError(f"{task.value} version {number} is not in the model registry any more.")

    def _rows(self, query: str, *parameters: str) -> list[tuple[Any, ...]]:
        with self._connection() as connection:
            return connection.execute(query, (_WORKSPACE, *parameters)).fetchall()

    @contextmanager
    def _connection(self) -> Iterator[Connection]:
        with (
            databases.in_words("The tracking store", self._path, _ANEW, self._wait_s),
            closing(connect(f"{self._path.as_uri()}?mode=rw", uri=True, timeout=self._wait_s)) as connection,
        ):
            connection.execute("PRAGMA query_only = 1")
            yield connection


class RegistryClient:
    """Any registry, by MLflow's own client."""

    def __init__(self, uri: str) -> None:
        self._client = mlflow_at(uri).MlflowClient(uri, uri)

    def champion(self, task: Task) -> Version | None:
        found = _asked(lambda: self._client.get_model_version_by_alias(task.value, CHAMPION))
        return None if found is None else _version(found)

    def earlier_champions(self, task: Task) -> list[int]:
        model = _asked(lambda: self._client.get_registered_model(task.value))
        return _earlier(None if model is None else model.tags.get(HISTORY_TAG))

    def version(self, task: Task, number: int) -> Version | None:
        found = _asked(lambda: self._client.get_model_version(task.value, str(number)))
        return None if found is None else _version(found)

    def versions(self, task: Task) -> list[Version]:
        found = _asked(lambda: self._client.search_model_versions(f"name = '{task.value}'")) or []
        return sorted((_version(version) for version in found), key=lambda version: version.number)

    def aliases(self, task: Task) -> dict[str, int]:
        model = _asked(lambda: self._client.get_registered_model(task.value))
        return {} if model is None else {alias: int(number) for alias, number in model.aliases.items()}

    def place(self, task: Task, number: int) -> str:
        return str(self._client.get_model_version_download_uri(task.value, str(number)))


def _version(found: Any) -> Version:
    return Version(int(found.version), found.run_id or "", dict(found.tags))


def _asked(question: Callable[[], T]) -> T | None:
    from mlflow.exceptions import MlflowException

    try:
        return question()
    except MlflowException as error:
        if error.error_code in _NOTHING_THERE:
            return None
        raise StoreError(f"The model registry cannot be read: {error.message}") from error


def _earlier(history: str | None) -> list[int]:
    *earlier, _ = [int(number) for number in json.loads(history or "[0]")]
    return earlier
