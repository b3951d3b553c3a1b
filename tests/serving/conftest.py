"""A whole service in one process: real log, real fold, tiny real boosters, a fake ONNX session, a clock that stands."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import lightgbm
import numpy as np
import pytest

from features.events.schema import events_to_table, parse_events
from features.log.sqlite import SqliteEventLog
from features.online.live import LiveStates, NobodyStored
from features.scoring.next_product import ProductFiles
from features.signals import SIGNAL_NAMES
from features.views import feature_service_name
from features.vocabulary import Channel, Task
from serving.answers import Knowledge
from serving.decision.rules import Arm, Rules
from serving.products.catalogue import Catalogue
from serving.products.product_rows import ProductInfo
from serving.runtime import Runtime
from serving.scorers.best_channel import ChannelScorer
from serving.scorers.booster import BoosterScorer
from serving.scorers.bundle import Bundle
from serving.scorers.churn import ChurnScorer
from serving.scorers.model_card import ModelCard
from serving.scorers.next_product import ProductScorer

NOW = datetime(2024, 3, 1, 12, 3, tzinfo=UTC)
PRODUCTS = ("milk", "bread", "tea", "soap")


@dataclass(frozen=True)
class StandingClock:
    moment: datetime = NOW

    def now(self) -> datetime:
        return self.moment


class FakeSession:
    """Scores: what was bought weighs by its decayed count, then the vocabulary's order."""

    def run(self, output_names: list[str] | None, input_feed: dict[str, Any]) -> list[np.ndarray]:
        rows, weights = input_feed["habit_item"], input_feed["habit_weight"]
        scores = np.tile(-np.arange(len(PRODUCTS) + 1, dtype=np.float32) / 100, (len(rows), 1))
        np.add.at(scores, (np.arange(len(rows))[:, None], rows), weights)
        scores[:, 0] = -np.inf
        return [scores]


def booster(rate: float, names: tuple[str, ...] = SIGNAL_NAMES[:3]) -> str:
    """A tiny model that answers about `rate` and leans on its first signal."""
    rng = np.random.default_rng(7)
    x = rng.random((200, len(names)))
    y = (rng.random(200) < np.clip(rate + 0.3 * (x[:, 0] - 0.5), 0, 1)).astype(float)
    data = lightgbm.Dataset(x, y, feature_name=list(names))
    settings = {"objective": "binary", "verbose": -1, "num_leaves": 4, "num_threads": 1}
    return lightgbm.train(settings, data, 3).model_to_string()


def card(task: Task, version: str = "1") -> ModelCard:
    return ModelCard(task, version, feature_service_name(task))


def make_bundle() -> Bundle:
    arms = (Arm("email_news", Channel.EMAIL, 0.01), Arm("post_a", Channel.POST, 0.5))
    return Bundle(
        churn=ChurnScorer(card(Task.CHURN, "2"), BoosterScorer(booster(0.3), "churn"), 28.0),
        channel=ChannelScorer(
            card(Task.BEST_CHANNEL), arms, (BoosterScorer(booster(0.4), "email"), BoosterScorer(booster(0.2), "post"))
        ),
        product=ProductScorer(card(Task.NEXT_PRODUCT, "3"), ProductFiles(PRODUCTS, FakeSession())),
    )


def make_catalogue() -> Catalogue:
    from features.state.event_arrays import product_code

    by_id = {
        "milk": ProductInfo("milk", "Whole milk", "dairy", 1.2),
        "bread": ProductInfo("bread", "Rye bread", "bakery", 2.5),
        "tea": ProductInfo("tea", "Green tea", "drinks", 4.0),
        "soap": ProductInfo("soap", "Soap", "household", 1.0),
    }
    return Catalogue(by_id, dict(zip(product_code(list(by_id)).tolist(), by_id, strict=True)))


def event(event_id: str, at: str, kind: str, **fields: Any) -> dict[str, Any]:
    return {"event_id": event_id, "occurred_at": at, "kind": kind, "channel": "web", "customer_id": "ada", **fields}


HISTORY = [
    event("e1", "2024-01-01T10:00:00Z", "purchase", product_id="tea", value=4.0, channel="store"),
    event("e2", "2024-01-21T10:00:00Z", "purchase", product_id="tea", value=4.0, channel="store"),
    event("e3", "2024-02-10T10:00:00Z", "purchase", product_id="tea", value=4.0, channel="store"),
    event("e4", "2024-02-28T18:00:00Z", "purchase", product_id="milk", value=1.2),
    event("e5", "2024-02-28T18:05:00Z", "subscribe", channel="email", identifiers={"email": "ada@example.org"}),
    event("e6", "2024-02-29T09:00:00Z", "add_to_cart", product_id="soap", quantity=2, channel="app"),
]


def append(log: SqliteEventLog, items: list[dict[str, Any]]) -> None:
    events, rejected = parse_events(items, NOW)
    assert not rejected
    log.append(events_to_table(events))


@pytest.fixture
def log(tmp_path: Path) -> Iterator[SqliteEventLog]:
    found = SqliteEventLog(tmp_path / "events.db")
    append(found, HISTORY)
    yield found
    found.close()


@pytest.fixture
def runtime(log: SqliteEventLog) -> Runtime:
    knowledge = Knowledge(make_bundle(), make_catalogue(), states=LiveStates(NobodyStored(), log))
    return Runtime(log, StandingClock(), Rules(), knowledge)  # type: ignore[arg-type]


@dataclass
class Client:
    """Calls the app in this process; `call` runs one request from start to end of the app's life."""

    open_runtime: Callable[[], Runtime]
    answers: list[httpx.Response] = field(default_factory=list)

    async def many(self, *calls: tuple[str, str, Any]) -> list[httpx.Response]:
        from serving.api import create_app

        app = create_app(self.open_runtime)
        transport = httpx.ASGITransport(app)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://t") as http,
        ):
            return [
                await http.request(method, path, **({"content": body} if isinstance(body, bytes) else {"json": body}))
                if body is not None
                else await http.request(method, path)
                for method, path, body in calls
            ]

    def run(self, *calls: tuple[str, str, Any]) -> list[httpx.Response]:
        import asyncio

        return asyncio.run(self.many(*calls))

    def post(self, path: str, body: Any) -> httpx.Response:
        return self.run(("POST", path, body))[0]

    def get(self, path: str) -> httpx.Response:
        return self.run(("GET", path, None))[0]


@pytest.fixture
def client(runtime: Runtime) -> Client:
    return Client(lambda: runtime)
