"""Logs of the three customers of `made_ada`, of whom one is erased."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from made_ada import NOW, WORLD, table

from features.log.engines import open_log
from features.log.event_log import EventLog
from features.log.sqlite import SqliteEventLog
from features.settings import Settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.from_env({"OMNI_HOME": str(tmp_path / "home"), "OMNI_CLOCK_START": NOW.isoformat()})


@pytest.fixture
def log(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[SqliteEventLog]:
    """A log of three customers, most of it also in one segment."""
    monkeypatch.setattr("features.log.sqlite.SEGMENT_MIN_ROWS", 8)
    found = open_log(settings)
    assert isinstance(found, SqliteEventLog)
    found.append(table(WORLD[:12]))
    found.append(table(WORLD[12:]))
    yield found
    found.close()


@pytest.fixture(params=["sqlite", "postgres"])
def any_engine(settings: Settings, request: pytest.FixtureRequest) -> Settings:
    """The settings with each kind of event log."""
    if request.param == "sqlite":
        return settings
    return replace(settings, event_log_url=request.getfixturevalue("new_postgres")())


@pytest.fixture
def any_log(any_engine: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[EventLog]:
    """The same three customers on any engine."""
    monkeypatch.setattr("features.log.sqlite.SEGMENT_MIN_ROWS", 8)
    found = open_log(any_engine)
    found.append(table(WORLD[:12]))
    found.append(table(WORLD[12:]))
    yield found
    found.close()
