"""Feast's repository folder: settings in; its configuration, its definitions, and a note of what was applied out."""

import gc
import json
import sqlite3
import warnings
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from hashlib import sha256
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from features import atomic, views
from features.errors import StoreError
from features.offline.spark_session import spark_conf
from features.settings import Settings
from features.signals import signal_words

_NO_ENTITY: Final = "__dummy"
"""The entity that Feast adds for views without one."""
_SHIM: Final = '''"""Shows Omni's definitions to the `feast` command; written by Omni, do not edit."""

import os
from pathlib import Path

from features.store.definitions import define
from features.settings import Settings

_settings = Settings.from_env({**os.environ, "OMNI_HOME": str(Path(__file__).resolve().parent.parent)})
globals().update({f"object_{number}": thing for number, thing in enumerate(define(_settings))})
'''


class FeastFolder:
    """The folder `settings.feast_dir`, which can be deleted and made anew at any time."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._folder = settings.feast_dir
        self._note = self._folder / "applied.json"
        self._uses_sqlite = settings.online_store == "sqlite"

    def is_applied(self) -> bool:
        """Whether just these definitions, for these places, were applied and the stores are still there."""
        stores = [self.registry_path, *([self._settings.online_db_path] if self._uses_sqlite else [])]
        if not self._note.exists() or not all(path.exists() for path in stores):
            return False
        try:
            return self._note.read_text(encoding="utf-8") == self._fingerprint()
        except (OSError, UnicodeDecodeError):  # damaged: all of it is applied again
            return False

    def discard_registry(self) -> None:
        """Have Feast begin its registry anew."""
        self.registry_path.unlink(missing_ok=True)

    def write(self) -> None:
        """Write the configuration, and the definitions for Feast's own command line."""
        self._folder.mkdir(parents=True, exist_ok=True)
        atomic.write_text(self._folder / "feature_store.yaml", self._yaml())
        atomic.write_text(self._folder / "definitions.py", _SHIM)

    def note_applied(self) -> None:
        """Remember that everything was applied; also lets readers go on while Feast writes."""
        if self._uses_sqlite:
            with closing(sqlite3.connect(self._settings.online_db_path)) as connection:
                connection.execute("PRAGMA journal_mode=WAL")  # SQLite keeps this setting in the file
        atomic.write_text(self._note, self._fingerprint())

    @property
    def registry_path(self) -> Path:
        """Feast's own list of the definitions, in its own format."""
        return self._folder / "registry.db"

    def _yaml(self) -> str:
        """Feast's configuration; its own files are named relative to the folder."""
        online = (
            {"type": "sqlite", "path": self._settings.online_db_path.relative_to(self._folder).as_posix()}
            if self._uses_sqlite
            else {
                "type": "redis",
                "connection_string": self._settings.redis_url,
                "key_ttl_seconds": int(views.ONLINE_KEY_TTL.total_seconds()),
                # Else a row of the same moment is not replaced: a late event, or a build with another layout, would
                # never reach the store. There is one writer, the stream, and whoever builds sets it back.
                "skip_dedup": True,
            }
        )
        offline: dict[str, Any] = {"type": "duckdb"}
        if self._settings.offline_store == "spark":
            offline = {"type": "spark", "spark_conf": spark_conf(self._settings)}
        configuration = {
            "project": views.PROJECT,
            "provider": "local",
            # Definitions change only when they are applied, so a long-lived process need not read them again.
            "registry": {"path": self.registry_path.name, "cache_ttl_seconds": 0},
            "offline_store": offline,
            "online_store": online,
            "entity_key_serialization_version": 3,
        }
        return json.dumps(configuration, indent=2)  # JSON is YAML, and quotes every path correctly

    def _fingerprint(self) -> str:
        facts = [
            str(self._folder),  # Feast's registry keeps whole paths of sources
            self._yaml(),
            _SHIM,
            repr(views.VIEWS),
            repr(views.TASK_VIEWS),
            str(views.SERVICE_VERSION),
            repr(signal_words()),
        ]
        return json.dumps({"definitions": sha256("\n".join([*facts, version("feast")]).encode()).hexdigest()})


def left_over(feast: Any, objects: Sequence[Any]) -> list[Any]:
    """What an older version registered and this one does not name: to be deleted, with its rows in the online store."""
    named = {thing.name for thing in objects}
    registered = (
        feast.list_feature_services(),
        feast.list_on_demand_feature_views(),
        feast.list_batch_feature_views(),
        feast.list_entities(),
    )
    return [thing for kind in registered for thing in kind if thing.name not in named and thing.name != _NO_ENTITY]


@contextmanager
def quietly() -> Iterator[None]:
    """Feast turns on deprecation warnings for the whole process when imported; they are about its own code, not ours."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextmanager
def saying_which_registry(path: Path) -> Iterator[None]:
    """Turn what Protobuf and the disk say of a registry into a StoreError: nothing in it is not made anew by a build."""
    damaged: Any = import_module("google.protobuf.message").DecodeError  # it has no type hints
    try:
        yield
    except (damaged, OSError) as error:
        raise StoreError(
            f"Feast's registry {path} cannot be read: {error}.",
            repair="Delete it and run `omni features build --force`.",
        ) from error


def close_ibis() -> None:
    """Let go of the DuckDB connection that Feast opens through ibis and never closes.

    DuckDB prints pages about leaks to stderr when the interpreter ends while it is open.
    """
    ibis: Any = import_module("ibis")  # it has no type hints
    backend = ibis.options.default_backend
    if backend is not None and hasattr(backend, "con"):
        backend.con.close()
        backend.con = None
        ibis.options.default_backend = None
        gc.collect()
