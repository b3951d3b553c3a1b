"""A state now: the online row plus the log's newer events equals the fold of everything, whatever the row's lag."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from features.errors import MissingError, StoreError, UnavailableError
from features.events.schema import events_to_table, parse_events
from features.log.sqlite import SqliteEventLog
from features.offline.timeline import timeline_rows
from features.online.live import LiveStates, state_version
from features.state.batch import StateBatch
from features.state.encoding import decode, encode
from features.state.fold import fold_customer, fold_timeline

NOW = datetime(2024, 3, 1, tzinfo=UTC)
KINDS = ("view", "purchase", "purchase", "return", "add_to_cart", "profile", "subscribe", "unsubscribe", "decision")


@dataclass(frozen=True)
class Row:
    state: StateBatch
    last_seq: int
    updated_at: datetime = NOW


class Store:
    def __init__(self, row: Row | None = None) -> None:
        self.row = row

    def read_state(self, customer_id: str) -> Row | None:
        return self.row

    def read_batch(self, customer_ids: Sequence[str]) -> tuple[list[str], StateBatch]:
        if self.row is None:
            return [], StateBatch.empty(0)
        state = replace(self.row.state, last_seq=np.array([self.row.last_seq]))
        return list(customer_ids), StateBatch.concat([state] * len(customer_ids))


def append(log: SqliteEventLog, *items: dict[str, Any]) -> None:
    events, rejected = parse_events(items, NOW)
    assert not rejected
    log.append(events_to_table(events))


def view(event_id: str, minute: int, product: str = "p", kind: str = "view") -> dict[str, Any]:
    at = NOW - timedelta(days=1) + timedelta(minutes=minute)
    found = {"event_id": event_id, "occurred_at": at.isoformat(), "kind": kind, "channel": "web", "customer_id": "ada"}
    if kind == "decision":
        return found | {"decision_id": event_id}
    if kind == "profile":
        return found | {"properties": {"consent": {"email": minute % 2 == 0}, "profiling": minute % 3 == 0}}
    if kind in ("subscribe", "unsubscribe"):
        return found
    return found | {"product_id": product}


def same(a: StateBatch, b: StateBatch) -> None:
    for name, part in vars(a).items():
        other = getattr(b, name)
        if name == "last_seq":
            continue
        np.testing.assert_array_equal(getattr(part, "values", part), getattr(other, "values", other), err_msg=name)


@pytest.fixture
def log(tmp_path: Path) -> SqliteEventLog:
    return SqliteEventLog(tmp_path / "log.db")


def test_nobody_is_none(log: SqliteEventLog) -> None:
    assert LiveStates(Store(), log).get("ada") is None


def test_without_a_row_the_log_alone_answers(log: SqliteEventLog) -> None:
    append(log, view("1", 0), view("2", 1, kind="purchase"))
    live = LiveStates(Store(), log).get("ada")
    assert live is not None
    assert (live.fresh_events, live.updated_at) == (2, None)
    assert live.last_event_s == (NOW - timedelta(days=1) + timedelta(minutes=1)).timestamp()


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    minutes=st.lists(st.integers(0, 60), min_size=1, max_size=8),
    kinds=st.lists(st.sampled_from(KINDS), min_size=8, max_size=8),
    split=st.integers(0, 8),
)
def test_row_plus_newer_events_is_the_fold_of_all(
    tmp_path_factory: pytest.TempPathFactory, minutes: list[int], kinds: list[str], split: int
) -> None:
    log = SqliteEventLog(tmp_path_factory.mktemp("log") / "log.db")
    items = [view(str(i), minute, f"p{minute % 3}", kinds[i]) for i, minute in enumerate(minutes)]
    first, rest = items[:split], items[split:]
    if first:
        append(log, *first)
    row = Row(fold_customer(log.customer_events("ada")), log.last_seq()) if first else None
    if rest:
        append(log, *rest)
    live = LiveStates(Store(row), log).get("ada")
    whole = fold_customer(log.customer_events("ada"))
    log.close()
    if live is None:
        assert all(kind == "decision" for kind in kinds[: len(minutes)])
    else:
        same(live.state, whole)
        assert live.version == state_version(whole)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    minutes=st.lists(st.integers(0, 5), min_size=1, max_size=7),  # ties are the rule
    kinds=st.lists(st.sampled_from(KINDS), min_size=7, max_size=7),
    data=st.data(),
)
def test_any_order_of_arrival_gives_the_state_of_the_batch(
    tmp_path_factory: pytest.TempPathFactory, minutes: list[int], kinds: list[str], data: st.DataObject
) -> None:
    items = [view(str(i), minute, f"p{minute % 3}", kinds[i]) for i, minute in enumerate(minutes)]
    log, store = SqliteEventLog(tmp_path_factory.mktemp("log") / "log.db"), Store()
    live = None
    for item in [*data.draw(st.permutations(items)), *data.draw(st.lists(st.sampled_from(items), max_size=3))]:
        append(log, item)  # late, and at the end once more
        live = LiveStates(store, log).get("ada")
        if live is not None and data.draw(st.booleans()):  # the stream was here, or lags behind
            store.row = Row(decode(*encode(live.state, ["ada"])), log.last_seq())
    timeline = timeline_rows(log.customer_events("ada"))
    log.close()
    rows = [decode(states, None) for states, _ in fold_timeline(timeline)]

    if live is None:
        assert rows == []
        return
    batch = rows[-1].take(np.array([len(rows[-1]) - 1]))
    for name in ("scalars", "channels", "pair_stats", "contacts", "hour_weights", "cart_product", "cart_stats"):
        mine, other = getattr(live.state, name), getattr(batch, name)
        np.testing.assert_array_equal(getattr(mine, "values", mine), getattr(other, "values", other), err_msg=name)


def test_a_decision_changes_nothing_and_behaviour_changes_the_version(log: SqliteEventLog) -> None:
    append(log, view("1", 0))
    states = LiveStates(Store(), log)
    before = states.get("ada")
    append(log, view("2", 5, kind="decision"))
    after = states.get("ada")
    append(log, view("3", 6))
    later = states.get("ada")
    assert before is not None and after is not None and later is not None
    assert before.version == after.version != later.version


class Away:
    """A store or a log that does not answer."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def __getattr__(self, name: str) -> Any:
        def refuse(*_: object) -> None:
            raise self._error

        return refuse


ERRORS = [UnavailableError("away"), StoreError("damaged"), MissingError("not there")]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_without_the_store_the_log_gives_the_same_state_and_says_so(log: SqliteEventLog, error: Exception) -> None:
    append(log, view("e1", 1), view("e2", 2, kind="purchase"))
    whole = LiveStates(Store(), log).get("ada")
    found = LiveStates(Away(error), log, degrades=True).get("ada")
    assert whole is not None and found is not None
    same(found.state, whole.state)
    assert (found.without, found.version, whole.without) == ("online_store", whole.version, None)
    assert LiveStates(Away(error), log, degrades=True).get("nobody") is None  # the log knows all


def test_without_the_log_the_row_is_all_there_is_and_it_says_so(log: SqliteEventLog) -> None:
    append(log, view("e1", 1))
    row = Row(fold_customer(log.customer_events("ada")), 1)
    found = LiveStates(Store(row), Away(ERRORS[0]), degrades=True).get("ada")  # type: ignore[arg-type]
    assert found is not None
    same(found.state, row.state)
    assert (found.without, found.fresh_events, found.bought) == ("event_log", 0, None)
    with pytest.raises(UnavailableError):  # whether there is anybody only the log knows
        LiveStates(Store(), Away(ERRORS[0]), degrades=True).get("ada")  # type: ignore[arg-type]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_who_writes_states_is_never_given_one_that_lacks_something(log: SqliteEventLog, error: Exception) -> None:
    append(log, view("e1", 1))
    row = Row(fold_customer(log.customer_events("ada")), 1)
    with pytest.raises(type(error)):
        LiveStates(Store(row), Away(error)).get("ada")  # type: ignore[arg-type]
    with pytest.raises(type(error)):
        LiveStates(Away(error), log).get("ada")
    with pytest.raises(type(error)):
        LiveStates(Away(error), Away(error), degrades=True).get("ada")  # type: ignore[arg-type]
