"""Empty event logs on both engines."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from made_visits import open_url

from features.log.event_log import EventLog

ENGINES = ("sqlite", "postgres")


@pytest.fixture(params=ENGINES)
def new_url(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], str]:
    """A function that names an empty place for a log, as OMNI_EVENT_LOG takes it."""
    if request.param == "postgres":
        return request.getfixturevalue("new_postgres")
    return lambda: f"sqlite:///{tmp_path / f'{len(list(tmp_path.iterdir()))}.db'}"


@pytest.fixture
def url(new_url: Callable[[], str]) -> str:
    return new_url()


@pytest.fixture
def log(url: str) -> Iterator[EventLog]:
    opened = open_url(url)
    yield opened
    opened.close()
