"""Homes with a log on both engines, a few events, and the files that a backup takes along."""

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from made_visits import table

from features.backup.backup import BackupReport, back_up
from features.backup.restore import RestoreReport, restore
from features.log.engines import open_log
from features.settings import Settings


class Home:
    """One home, and what its operator does with it."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self.settings, self.folder = settings, folder

    def append(self, *rows: dict[str, Any]) -> tuple[int, int]:
        """Appends rows; returns how many are new, and how many were refused as an erased customer's."""
        with closing(open_log(self.settings)) as log:
            result = log.append(table(*rows))
            return result.appended, result.erased

    def ids(self) -> list[str]:
        with closing(open_log(self.settings)) as log:
            return [event for batch in log.read() for event in batch["event_id"].to_pylist()]

    def back_up(self, name: str = "backup") -> BackupReport:
        return back_up(self.settings, self.folder / name, lambda _: None)

    def restore(self, name: str = "backup", **options: bool) -> RestoreReport:
        return restore(self.settings, self.folder / name, lambda _: None, **options)


@pytest.fixture(params=["sqlite", "postgresql"])
def home(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Home]:
    env = {"OMNI_HOME": str(tmp_path / "home")}
    if request.param == "postgresql":
        new_postgres: Callable[[], str] = request.getfixturevalue("new_postgres")
        env["OMNI_EVENT_LOG"] = new_postgres()
    made = Home(Settings.from_env(env), tmp_path)
    made.settings.home.mkdir()
    made.append(
        {"event_id": "a1", "customer_id": "ada", "at": 1},
        {"event_id": "a2", "customer_id": "ada", "at": 2, "identifiers": {"email": "ada@x"}},
        {"event_id": "b1", "customer_id": "bob", "at": 3, "properties": {"text": "tab\there, a\nline and \\ 'ü'"}},
    )
    yield made
