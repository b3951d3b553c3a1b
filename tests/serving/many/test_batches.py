"""Batch calls: each row is what the single call answers about that customer, or the problem that it tells, in order."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import numpy as np
import pytest

from features.errors import UnavailableError
from features.events.schema import events_to_table, parse_events
from features.log.sqlite import SqliteEventLog
from features.online.live import LiveStates, NobodyStored
from features.state.batch import StateBatch
from serving.many import answers as many
from serving.runtime import Runtime

N_CUSTOMERS = 70
PATHS = {
    "churn": ("/v1/churn", "/v1/predict:batch", {"task": "churn"}),
    "best-channel": ("/v1/best-channel", "/v1/predict:batch", {"task": "best-channel"}),
    "next-product": ("/v1/next-products", "/v1/predict:batch", {"task": "next-product"}),
    "products": ("/v1/next-products", "/v1/next-products:batch", {"k": 3}),
    "some products": (
        "/v1/next-products",
        "/v1/next-products:batch",
        {"k": 2, "exclude": ["milk"], "max_price": 3, "categories": ["Dairy", "household", "bakery"]},
    ),
    "products for each": ("/v1/next-products", "/v1/next-products:batch", {"rebuys": "never", "exclude_resting": True}),
    "explained": ("/v1/next-products", "/v1/next-products:batch", {"explain": True, "diversity": 0.5}),
    "churn explained": ("/v1/churn", "/v1/predict:batch", {"task": "churn", "explain": True}),
}


@dataclass
class Kept:
    """An online store with the states of some customers, as of some moment."""

    states: dict[str, StateBatch] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    error: Exception | None = None

    def read_state(self, customer_id: str) -> Any:
        if self.error is not None:
            raise self.error
        state = self.states.get(customer_id)
        return None if state is None else _Row(state, int(state.last_seq[0]))

    def read_batch(self, customer_ids: Sequence[str]) -> tuple[list[str], StateBatch]:
        if self.error is not None:
            raise self.error
        self.asked += customer_ids
        names = [name for name in customer_ids if name in self.states]
        return names, StateBatch.concat([StateBatch.empty(0), *(self.states[name] for name in names)])


@dataclass(frozen=True)
class _Row:
    state: StateBatch
    last_seq: int
    updated_at: Any = None


def keep(log: SqliteEventLog, now: Any, items: list[dict[str, Any]]) -> None:
    events, rejected = parse_events(items, now)
    assert not rejected
    log.append(events_to_table(events))


@pytest.fixture
def store() -> Kept:
    return Kept()


@pytest.fixture
def shop(runtime: Runtime, log: SqliteEventLog, store: Kept) -> Runtime:
    """Most customers' states are stored; some did something since, refused profiling, never bought, or came just now."""
    rng, now, items = np.random.default_rng(3), runtime.clock.now(), []

    def add(customer: int, kind: str, days_ago: float, **fields: Any) -> None:
        item = {"event_id": f"m{len(items)}", "occurred_at": now - timedelta(days=days_ago), "kind": kind}
        items.append({"channel": "web", **item, "customer_id": f"m{customer}", **fields})

    for customer in range(N_CUSTOMERS):
        for _ in range(int(rng.integers(1, 9))):
            kind = str(rng.choice(["purchase", "view", "send", "click"])) if customer % 6 else "view"
            channel = "email" if kind in ("send", "click") else "web"
            product = str(rng.choice(["milk", "bread", "tea", "soap"]))
            add(customer, kind, float(rng.uniform(0.1, 40)), channel=channel, product_id=product)
        if customer % 3 == 0:
            add(customer, "subscribe", 50, channel="email", identifiers={"email": f"m{customer}@example.org"})
        if customer % 10 == 5:
            add(customer, "profile", 45, properties={"profiling": False})
    keep(log, now, items)
    fresh = LiveStates(NobodyStored(), log)
    for customer in range(N_CUSTOMERS - 5):
        live = fresh.get(f"m{customer}")
        assert live is not None
        store.states[live.customer_id] = replace(live.state, last_seq=np.array([log.last_seq()]))
    later = [
        {"event_id": f"l{customer}", "kind": "purchase", "channel": "web", "customer_id": f"m{customer}"}
        | {"occurred_at": now - timedelta(hours=1), "product_id": "soap", "value": 1.0}
        for customer in range(0, N_CUSTOMERS, 8)
    ]
    keep(log, now, later)
    runtime.knowledge = replace(runtime.knowledge, states=LiveStates(store, log))
    return runtime


def asked() -> list[Any]:
    """Everybody, somebody twice, and who cannot be asked about."""
    everybody: list[Any] = [f"m{customer}" for customer in range(N_CUSTOMERS)]
    others = [
        "nobody-by-that-name",
        "",
        "a\x00b",
        "null",
        {"identifiers": {"email": "m3@example.org"}},
        "m3",
        {},
        "ada",
    ]
    return [
        *everybody[:40],
        *others,
        {"customer_id": "m9"},
        {"identifiers": {"email": "who@example.org"}},
        *everybody[40:],
    ]


@pytest.mark.parametrize("which", PATHS)
def test_each_row_is_what_the_single_call_answers(shop: Runtime, client: Any, store: Kept, which: str) -> None:
    path, batch_path, question = PATHS[which]
    single = {"explain": False, **{name: value for name, value in question.items() if name != "task"}}
    if path == "/v1/best-channel":
        single = {}
    whom = asked()
    named = [{"customer_id": one} if isinstance(one, str) else one for one in whom]
    batch, *alone = client.run(
        ("POST", batch_path, {"customers": whom, **question}), *(("POST", path, {**single, **one}) for one in named)
    )
    assert batch.status_code == 200, batch.text
    found = batch.json()
    assert len(found["results"]) == len(whom)
    for row, answer in zip(found["results"], alone, strict=True):
        if answer.status_code == 200:
            assert row == {"answer": answer.json()}
        else:
            assert row == {"error": answer.json()["error"]}
    failed = sum(answer.status_code != 200 for answer in alone)
    assert (found["answered"], found["failed"]) == (len(whom) - failed, failed)
    assert failed >= 4


@pytest.mark.parametrize("task", ["churn", "best-channel", "next-product"])
def test_who_is_stored_and_level_is_asked_about_together(
    shop: Runtime, client: Any, monkeypatch: pytest.MonkeyPatch, task: str
) -> None:
    alone: list[str] = []
    ask = many.ManyAnswers._alone

    def counted(self: Any, question: Any, events: Any) -> Any:
        alone.append(question.customer_id)
        return ask(self, question, events)

    monkeypatch.setattr(many.ManyAnswers, "_alone", counted)
    names = [f"m{customer}" for customer in range(N_CUSTOMERS)]
    found = client.post("/v1/predict:batch", {"task": task, "customers": names}).json()
    assert found["answered"] == N_CUSTOMERS
    newer = {f"m{customer}" for customer in range(0, N_CUSTOMERS, 8)}
    refused = {f"m{customer}" for customer in range(5, N_CUSTOMERS, 10)}
    not_stored = {f"m{customer}" for customer in range(N_CUSTOMERS - 5, N_CUSTOMERS)}
    expected = newer | refused | not_stored
    if task == "churn":  # and who never bought, unless it was since
        expected |= {
            row["answer"]["customer"]["customer_id"]
            for row in found["results"]
            if row["answer"]["churn_probability"] is None
        }
    assert set(alone) == expected and len(alone) == len(expected) < N_CUSTOMERS / 2 + 10


def test_what_is_explored_is_in_the_log(shop: Runtime, client: Any, log: SqliteEventLog) -> None:
    before = log.count()
    asked = {"customers": ["m1", "m2", "m1"], "explore_share": 0.5}
    rows = client.post("/v1/next-products:batch", asked).json()["results"]
    ids = [row["answer"]["decision_id"] for row in rows]
    assert ids[0] == ids[2] != ids[1] and None not in ids
    assert log.count() == before + 2


def test_without_the_log_each_is_told_or_answered_as_alone(
    shop: Runtime, client: Any, store: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.error = UnavailableError("The online store does not answer.")
    found = client.post("/v1/predict:batch", {"task": "churn", "customers": ["m1", "m2"]}).json()
    assert [row["error"]["code"] for row in found["results"]] == ["unavailable", "unavailable"]
    degrades = LiveStates(store, shop.log, degrades=True)
    shop.knowledge = replace(shop.knowledge, states=degrades)
    found = client.post("/v1/predict:batch", {"task": "churn", "customers": ["m1", "m2"]}).json()
    assert [row["answer"]["degraded"] for row in found["results"]] == [["online_store"]] * 2


def test_limits_shapes_and_counters(shop: Runtime, client: Any) -> None:
    whole = {"task": "churn", "customers": ["m1"] * 1_000}
    answers = client.run(
        ("POST", "/v1/predict:batch", whole),
        ("POST", "/v1/predict:batch", {**whole, "customers": ["m1"] * 1_001}),
        ("POST", "/v1/predict:batch", {**whole, "customers": []}),
        ("POST", "/v1/predict:batch", {**whole, "task": "win-back"}),
        ("POST", "/v1/predict:batch", {**whole, "customers": [7]}),
        ("POST", "/v1/next-products:batch", {"customers": ["m1"], "k": 101}),
        ("POST", "/v1/next-products:batch", {"customers": ["m1"], "channels": ["web"]}),
        ("POST", "/v1/next-products:batch", {"customers": [{"customer_id": "m1", "k": 3}]}),
        ("POST", "/v1/next-products:batch", b'{"customers": ["' + b"x" * 1_100_000 + b'"]}'),
        ("POST", "/v1/next-products:batch", {"customers": ["m1", "undefined"]}),
        ("GET", "/metrics", None),
    )
    assert [answer.status_code for answer in answers] == [200, *[422] * 7, 413, 200, 200]
    first = answers[0].json()["results"]
    assert len(first) == 1_000 and all(row == first[0] for row in first)
    assert 'omni_batch_customers_total{outcome="answered",task="churn"} 1000.0' in answers[-1].text
    assert 'omni_batch_customers_total{outcome="failed",task="next-product"} 1.0' in answers[-1].text
