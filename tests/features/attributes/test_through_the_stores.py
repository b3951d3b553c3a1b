"""Attributes from an event to every place where they count: training at a cutoff, live answers, the stream, Feast, parity."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from features.attributes.declared import Declared
from features.build import build_features
from features.checks.parity import check_parity
from features.erasure.erase import begin_erasure, finish_erasure
from features.events.schema import EVENT_SCHEMA
from features.log.engines import open_log
from features.log.event_log import EventLog
from features.online.live import LiveStates
from features.online.reader import OnlineReader
from features.settings import Settings
from features.signals import compute_signals, signal_index
from features.state.batch import StateBatch
from features.store.feature_store import Store
from features.stream import Applier
from features.vocabulary import Task

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Feast's ibis calls an old name of DuckDB's
START = datetime(2024, 3, 1, tzinfo=UTC)


def event(number: int, day: float, kind: str, customer: str | None = "anna", **fields: Any) -> dict[str, Any]:
    properties = fields.pop("properties", None)
    return {
        "event_id": f"e{number:03d}",
        "occurred_at": START + timedelta(days=day),
        "kind": kind,
        "channel": "web",
        "customer_id": customer,
        "properties": None if properties is None else json.dumps(properties),
        **fields,
    }


def bought(number: int, day: float, customer: str | None = "anna", **fields: Any) -> dict[str, Any]:
    return event(number, day, "purchase", customer, product_id="p1", quantity=1.0, value=5.0, **fields)


STORY = [
    bought(1, 1),
    event(2, 2, "profile", properties={"age_band": "19-24", "household_size": 1}),
    bought(3, 4),
    event(4, 6, "profile", properties={"age_band": "25-34"}),
    bought(5, 8),
    bought(6, 3, "bert"),
    bought(0, 1, "carl"),
    event(7, 3, "view", None, identifiers={"cookie": "c1"}, product_id="p2"),
    event(8, 4, "profile", None, identifiers={"cookie": "c1"}, properties={"household_size": 4}),
    event(9, 7, "identify", "carl", identifiers={"cookie": "c1"}),
]


def append(log: EventLog, rows: list[dict[str, Any]]) -> None:
    log.append(pa.Table.from_pylist(rows, schema=EVENT_SCHEMA))


@pytest.fixture
def log(settings: Settings, shop: Declared) -> EventLog:
    log = open_log(settings)
    append(log, STORY)
    build_features(settings, lambda _: None)
    return log


def bands(states: StateBatch) -> list[list[float]]:
    """Of each state whether the band is 19-24, whether 25-34, and the household's size."""
    signals = compute_signals(states, np.full(len(states), (START + timedelta(days=30)).timestamp()))
    names = ("age_band_is_19_24", "age_band_is_25_34", "household_size")
    return [[-1.0 if np.isnan(x) else float(x) for x in row] for row in signals[:, signal_index(names)]]


def test_training_sees_what_was_known_before_the_cutoff(settings: Settings, log: EventLog) -> None:
    days = [2, 2.1, 5, 6, 6.1, 6.9, 8]
    customers = ["anna", "anna", "anna", "anna", "anna", "carl", "carl"]
    rows = pd.DataFrame({"customer_id": customers, "as_of": [START + timedelta(days=day) for day in days]})
    states = Store(settings).training_states(rows, Task.CHURN)
    assert bands(states) == [
        [-1, -1, -1],
        [1, 0, 1],
        [1, 0, 1],
        [1, 0, 1],
        [0, 1, 1],
        [-1, -1, -1],  # nobody knew that it was carl's
        [-1, -1, 4],
    ]
    assert bands(states.take(np.array([4, 0, 6])).part(1, 3)) == [[-1, -1, -1], [-1, -1, 4]]


def live(settings: Settings, log: EventLog, customer: str) -> list[float]:
    found = LiveStates(OnlineReader(settings), log).get(customer)
    assert found is not None
    return bands(found.scored)[0]


def test_an_event_counts_in_the_next_answer_and_the_stream_writes_the_same(settings: Settings, log: EventLog) -> None:
    assert live(settings, log, "anna") == [0, 1, 1]
    append(log, [event(10, 9, "profile", properties={"age_band": "65+", "household_size": None}), bought(11, 10)])
    assert live(settings, log, "anna") == [0, 0, -1]
    append(
        log, [event(12, 5, "profile", properties={"household_size": 7, "age_band": "19-24"})]
    )  # late: older than what is known
    expected = live(settings, log, "anna")
    assert expected == [0, 0, -1]

    Applier(log, Store(settings).online, OnlineReader(settings), settings).run_once()

    stored = OnlineReader(settings).read_state("anna")
    assert stored is not None
    assert bands(stored.state) == [expected]
    names, states = OnlineReader(settings).read_batch(["bert", "anna", "carl"])
    assert dict(zip(names, bands(states), strict=True)) == {
        "bert": [-1, -1, -1],
        "anna": expected,
        "carl": [-1, -1, 4],
    }


def test_whoever_refused_profiling_has_none_that_models_see(settings: Settings, log: EventLog) -> None:
    append(log, [event(10, 9, "profile", properties={"profiling": False})])
    assert live(settings, log, "anna") == [-1, -1, -1]


def test_batch_and_live_agree_in_every_value(settings: Settings, log: EventLog) -> None:
    report = check_parity(settings, customers=3, seed=1, progress=lambda _: None)
    assert (report.customers, report.put_together, report.different) == (3, 1, 0)


def test_feast_says_them_by_name_of_the_past_and_of_now(
    settings: Settings, log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ["customer_signals:age_band_is_25_34", "customer_signals:household_size"]
    feast = Store(settings)._feast
    rows = pd.DataFrame(
        {"customer_id": ["anna", "anna"], "event_timestamp": [START + timedelta(days=d) for d in (5, 7)]}
    )
    past = feast.get_historical_features(rows, names).to_df().sort_values("event_timestamp")
    assert past["age_band_is_25_34"].tolist() == [0.0, 1.0]
    monkeypatch.setenv("OMNI_CLOCK_START", (START + timedelta(days=20)).isoformat())
    now = feast.get_online_features(names, [{"customer_id": "anna"}]).to_dict()
    assert (now["age_band_is_25_34"], now["household_size"]) == ([1.0], [1.0])


def test_erasure_takes_them_along(settings: Settings, log: EventLog, said_where: Callable[[str], list[str]]) -> None:
    receipt = begin_erasure(settings, log, "anna")
    assert receipt is not None
    finish_erasure(settings, log, receipt)
    assert OnlineReader(settings).read_state("anna") is None
    assert said_where("25-34") == []


@pytest.fixture
def said_where(settings: Settings) -> Callable[[str], list[str]]:
    """The Parquet files of the home that hold a text in any column."""

    def find(text: str) -> list[str]:
        import pyarrow.parquet as pq

        files = (settings.home / "offline").rglob("*.parquet")
        return [file.name for file in files if text in str(pq.read_table(file).to_pylist())]

    return find
