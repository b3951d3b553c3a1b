"""Fixtures around the made timelines."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from made_log import event, made_log, write_timeline


@pytest.fixture
def write(tmp_path: Path) -> Callable[[list[dict[str, Any]]], Path]:
    return lambda rows: write_timeline(tmp_path / "timeline.parquet", rows)


@pytest.fixture(scope="session")
def made() -> Callable[..., list[dict[str, Any]]]:
    return made_log


@pytest.fixture(scope="session")
def happened() -> Callable[..., dict[str, Any]]:
    return event
