"""What identity costs: appending events with and without identifiers, a login that joins two timelines, and its history.

Makes a small world of its own in a temporary folder: python tests/benchmarks/bench_identity.py
"""

import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from features.events.schema import EVENT_SCHEMA
from features.identity.history import trace
from features.log.engines import open_log
from features.log.identity import identity_rules
from features.online.live import LiveStates
from features.online.reader import OnlineReader
from features.settings import Settings
from features.store.feature_store import Store

VISITORS, EVENTS_EACH, BATCH = 5_000, 20, 1_000
LOGINS = 300
START_US = 1_704_067_200_000_000


def visits(first: int, count: int, cookies: bool) -> pa.Table:
    """`count` page views, one a second, of random visitors who are known by a cookie or by an id."""
    rng = np.random.default_rng(first)
    visitors = [f"v{number}" for number in rng.integers(VISITORS, size=count)]
    pairs = [[("cookie", visitor)] for visitor in visitors] if cookies else None
    return rows(first, count, customer=None if cookies else visitors, identifiers=pairs)


def rows(first: int, count: int, customer: list[str] | None, identifiers: Any) -> pa.Table:
    """Views with these customers and identifiers."""
    moments = pa.array(START_US + (first + np.arange(count)) * 1_000_000).cast(EVENT_SCHEMA.field("occurred_at").type)
    columns = {
        "event_id": pa.array([f"e{number}" for number in range(first, first + count)]),
        "occurred_at": moments,
        "kind": pa.array(["view"] * count),
        "channel": pa.array(["web"] * count),
        "customer_id": pa.array(customer or [None] * count, pa.string()),
        "identifiers": pa.array(identifiers or [None] * count, EVENT_SCHEMA.field("identifiers").type),
        "product_id": pa.array(["p"] * count),
    }
    return pa.table([columns.get(f.name, pa.nulls(count, f.type)) for f in EVENT_SCHEMA], schema=EVENT_SCHEMA)


def append_all(settings: Settings, cookies: bool) -> float:
    """Events a second into an empty log, in batches."""
    log = open_log(settings)
    total = VISITORS * EVENTS_EACH
    started = time.perf_counter()
    for first in range(0, total, BATCH):
        log.append(visits(first, BATCH, cookies))
    took = time.perf_counter() - started
    log.close()
    return total / took


def logins(settings: Settings) -> dict[str, Any]:
    """Anonymous visitors log in: milliseconds until the log has it, and until their one state is there to answer with."""
    log = open_log(settings)
    Store(settings).apply()
    live = LiveStates(OnlineReader(settings), log)
    append_ms, answer_ms = [], []
    for number in range(LOGINS):
        login = rows(10_000_000 + number, 1, [f"customer-{number}"], [[("cookie", f"v{number}")]])
        started = time.perf_counter()
        log.append(login)
        kept = time.perf_counter()
        state = live.get(f"customer-{number}")
        done = time.perf_counter()
        assert state is not None and state.state.scalar("n_action_occasions")[0] > 1, "the visitor's past is not there"
        append_ms.append((kept - started) * 1000)
        answer_ms.append((done - kept) * 1000)
    started = time.perf_counter()
    sightings = [one.sighting for one in log.identity().sightings()]
    history = trace(sightings, identity_rules(settings).config)
    took = time.perf_counter() - started
    assert len(history.epochs) == 0, "nobody was two customers before"
    log.close()
    return {
        "login_kept_ms": percentiles(append_ms),
        "one_state_after_ms": percentiles(answer_ms),
        "history_sightings_per_s": round(len(sightings) / took),
    }


def percentiles(values: list[float]) -> dict[str, float]:
    """The median and the 99th percentile, to 0.01."""
    return {f"p{q}": round(float(np.percentile(values, q)), 2) for q in (50, 99)}


def main() -> None:
    """Print one JSON object."""
    with tempfile.TemporaryDirectory() as folder:
        homes = [Settings.from_env({"OMNI_HOME": str(Path(folder) / name)}) for name in ("ids", "cookies")]
        by_id, by_cookie = append_all(homes[0], cookies=False), append_all(homes[1], cookies=True)
        report = {
            "events_per_s_with_customer_ids": round(by_id),
            "events_per_s_with_cookies": round(by_cookie),
            "ratio": round(by_cookie / by_id, 2),
            **logins(homes[1]),
        }
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
