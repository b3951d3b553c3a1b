"""What several tests share: settings in an empty folder, and a home filled with a few real households."""

import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from local_servers import postgres_server, redis_server

from features.settings import Settings

os.environ.update(
    {
        "BENTOML_DO_NOT_TRACK": "True",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "FEAST_USAGE": "False",
        "MPLBACKEND": "Agg",
    }
)

# No property fails because the machine is busy.
hypothesis_settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
hypothesis_settings.load_profile("untimed")

SAMPLE = 0.02
"""Share of the Complete Journey households that the tests which need real data take."""


def settings_in(home: Path) -> Settings:
    """Settings with everything below one folder, whatever the environment says."""
    return Settings.from_env({"OMNI_HOME": str(home)})


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings of an installation where nothing happened yet."""
    return settings_in(tmp_path / "home")


@pytest.fixture(scope="session")
def sample_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An `OMNI_HOME` with a few dozen real households ingested and their features built; read it, do not change it."""
    from features.build import build_features
    from features.ingest import ingest

    home = tmp_path_factory.mktemp("sample_home")
    settings = settings_in(home)
    ingest("complete-journey", settings, sample=SAMPLE)
    build_features(settings, lambda _: None)
    return home


@pytest.fixture(scope="session")
def sample_settings(sample_home: Path) -> Settings:
    """Settings of `sample_home`."""
    return settings_in(sample_home)


@pytest.fixture(scope="session")
def new_redis() -> Iterator[Callable[[], str]]:
    """A function that names an empty database of a real Redis, as OMNI_REDIS takes it."""
    with redis_server() as address:
        numbers = itertools.count()
        yield lambda: f"{address},db={next(numbers)}"


@pytest.fixture(scope="session")
def new_postgres() -> Iterator[Callable[[], str]]:
    """A function that names an empty database of a real PostgreSQL server, as OMNI_EVENT_LOG takes it."""
    import psycopg

    with postgres_server() as url, psycopg.connect(url, autocommit=True) as connection:
        numbers = itertools.count()

        def create() -> str:
            name = f"test_{next(numbers)}"
            connection.execute(f"CREATE DATABASE {name}")
            return f"{url.rpartition('/')[0]}/{name}"

        yield create
