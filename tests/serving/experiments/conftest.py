"""A log of the service's tests, more events for it, and its models."""

import itertools
from collections.abc import Callable
from typing import Any

import pytest
from made_visits import table

from features.log.sqlite import SqliteEventLog
from serving.runtime import Runtime
from serving.scorers.bundle import Bundle


@pytest.fixture
def append(log: SqliteEventLog) -> Callable[..., None]:
    """Appends visits, each with the fields that are given."""
    numbers = itertools.count()

    def add(*rows: dict[str, Any]) -> None:
        log.append(table(*({"event_id": f"more-{next(numbers)}", **row} for row in rows)))

    return add


@pytest.fixture
def bundle(runtime: Runtime) -> Bundle:
    return runtime.knowledge.bundle
