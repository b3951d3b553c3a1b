"""Three customers, of whom the tests of erasure erase Ada: their events, and how she is erased."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa

from features.build import build_features
from features.erasure.erase import begin_erasure, finish_erasure
from features.events.schema import EVENT_SCHEMA
from features.log.event_log import EventLog
from features.log.receipt import LearntModel, Receipt
from features.settings import Settings

NOW = datetime(2024, 3, 1, tzinfo=UTC)
EMAIL, COOKIE = "ada.lovelace@example.org", "cookie-of-ada-1815"
MODEL = LearntModel(
    task="churn",
    version=3,
    aliases=("champion",),
    run_id="r3",
    trained_at="2024-02-20T00:00:00+00:00",
    as_of_end="2024-02-01T00:00:00+00:00",
    data_fingerprint="f3",
)


def row(event_id: str, day: float, customer: str | None, kind: str = "purchase", **fields: Any) -> dict[str, Any]:
    known = {
        "event_id": event_id,
        "occurred_at": datetime(2024, 1, 1, tzinfo=UTC) + timedelta(days=day),
        "kind": kind,
        "channel": "web",
        "customer_id": customer,
        "product_id": "tea" if kind in ("purchase", "view") else None,
        "quantity": 1.0,
        "value": 4.0,
    }
    return {**known, **fields}


ADA = [
    row("a0", 0, None, "view", identifiers=[("cookie", COOKIE)]),  # anonymous at first
    row("a1", 1, "ada-1815", identifiers=[("email", EMAIL), ("cookie", COOKIE)]),
    row("a2", 2, "ada-1815"),
    row("a3", 3, "ada-1815", "decision", decision_id="d3", properties='{"arm":"email_news"}'),
]
OTHERS = [row(f"b{day}", day, "bob") for day in range(6)] + [row(f"c{day}", day, "cleo", "view") for day in range(5)]
WORLD = [OTHERS[0], *ADA[:2], *OTHERS[1:4], ADA[2], *OTHERS[4:], ADA[3]]


def table(rows: list[dict[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist(rows, schema=EVENT_SCHEMA)


def erased(settings: Settings, log: EventLog, name: str) -> Receipt:
    receipt = begin_erasure(settings, log, name)
    assert receipt is not None
    return finish_erasure(settings, log, receipt, lambda: [MODEL], lambda _: None)


def everything(log: EventLog, after_seq: int = 0) -> pa.Table:
    return pa.concat_tables(log.read(after_seq))


def customers(rows: pa.Table, name: str = "customer_id") -> set[str]:
    return set(rows.column(name).to_pylist())


def build(settings: Settings) -> None:
    build_features(settings, lambda _: None)
