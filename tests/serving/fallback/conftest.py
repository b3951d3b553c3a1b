"""A small shop: 40 customers, three products, two channels and two stores; no model, and none could be trained."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from features.events.schema import events_to_table, parse_events
from features.log.sqlite import SqliteEventLog
from features.settings import Settings
from serving.answers import Knowledge
from serving.fallback.census import Census
from serving.runtime import Runtime
from serving.scorers.bundle import Bundle


def shop_events(now: datetime) -> list[dict[str, Any]]:
    """Everybody bought bread in store s1; every second one tea on the web, later; every fourth milk, four times, in s2.

    c0 to c9 came back within the last four weeks. Ten e-mails went out, of which four were opened and one clicked.
    """
    events: list[dict[str, Any]] = []

    def add(customer: int, days_ago: float, kind: str, channel: str, **fields: Any) -> None:
        at = (now - timedelta(days=days_ago)).isoformat()
        known = {"event_id": f"e{len(events)}", "occurred_at": at, "customer_id": f"c{customer}"}
        events.append({**known, "kind": kind, "channel": channel, **fields})

    for customer in range(40):
        add(customer, 60, "purchase", "store", product_id="bread", value=2.5, store_id="s1")
        if customer % 2 == 0:
            add(customer, 50, "purchase", "web", product_id="tea", value=4.0)
        if customer % 4 == 0:
            for days_ago in (59, 52, 45, 38):
                add(customer, days_ago, "purchase", "store", product_id="milk", value=1.2, store_id="s2")
        if customer < 10:
            add(customer, 10, "purchase", "store", product_id="bread", value=2.5, store_id="s1")
            add(customer, 30, "send", "email")
            add(customer, 40, "subscribe", "email", identifiers={"email": f"c{customer}@example.org"})
        if customer < 4:
            add(customer, 29, "open", "email")
        if customer < 1:
            add(customer, 28.9, "click", "email")
    add(40, 5, "visit", "web")  # who looked and never bought
    return events


def append(log: SqliteEventLog, items: list[dict[str, Any]], now: datetime) -> None:
    events, rejected = parse_events(items, now)
    assert not rejected
    log.append(events_to_table(events))


@pytest.fixture
def shop_log(runtime: Runtime, tmp_path: Path) -> Iterator[SqliteEventLog]:
    """What happened in such a shop."""
    log = SqliteEventLog(tmp_path / "shop.db")
    append(log, shop_events(runtime.clock.now()), runtime.clock.now())
    yield log
    log.close()


@pytest.fixture
def shop_home(tmp_path: Path) -> Settings:
    """Where it is."""
    return Settings(tmp_path / "home", f"sqlite:///{tmp_path}/shop.db", f"sqlite:///{tmp_path}/mlflow.db")


@pytest.fixture
def shop(runtime: Runtime, shop_log: SqliteEventLog, shop_home: Settings) -> Runtime:
    """The runtime of such a shop, without any model; ada of the other tests is not its customer."""
    catalogue = runtime.knowledge.catalogue
    counted = Census(shop_home, shop_log, runtime.clock).up_to_date(None, catalogue)
    states = type(runtime.knowledge.states)(runtime.knowledge.states._reader, shop_log)  # type: ignore[union-attr, arg-type]
    known = Knowledge(Bundle(), catalogue, states=states, counted=counted)
    return replace(runtime, log=shop_log, knowledge=known)


@pytest.fixture
def ask(client: Any, shop: Runtime) -> Callable[..., Any]:
    """Posts one question to the shop, and answers with the response."""
    return type(client)(lambda: shop).post  # type: ignore[no-any-return]
