"""What a bulk load remembers of customers is never older than what others, or it itself, have written since."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa

from features.events.schema import EVENT_SCHEMA
from features.log.sqlite import SqliteEventLog

BEGAN = datetime(2025, 1, 1, tzinfo=UTC)
N = 1_200  # as many customers as make it a bulk load


def visits(batch: str, cookies: bool = False, days: int = 0) -> pa.Table:
    """A visit of each customer, with a cookie of theirs or without."""
    rows = [
        {
            "event_id": f"{batch}-{n}",
            "occurred_at": BEGAN + timedelta(days=days, seconds=n),
            "kind": "visit",
            "channel": "web",
            "customer_id": f"c{n}",
            "identifiers": [("cookie", f"k{n}")] if cookies else None,
        }
        for n in range(N)
    ]
    return pa.Table.from_pylist(rows, EVENT_SCHEMA)


def anonymous(batch: str) -> pa.Table:
    table = visits(batch, cookies=True)
    place = table.schema.get_field_index("customer_id")
    return table.set_column(place, "customer_id", pa.nulls(N, pa.string()))


def owners(log: SqliteEventLog) -> dict[str, str]:
    return {
        row["event_id"]: row["resolved_customer_id"]
        for batch in log.read()
        for row in batch.select(["event_id", "resolved_customer_id"]).to_pylist()
    }


def test_a_customer_is_one_over_many_batches(tmp_path: Path) -> None:
    log = SqliteEventLog(tmp_path / "events.db")
    for batch in ("a", "b", "c"):
        assert log.append(visits(batch)).appended == N
    assert owners(log)["c-7"] == "c7"
    keys = {key for batch in log.read() for key in batch["customer_key"].to_pylist()}
    assert len(keys) == N
    log.close()


def test_what_another_process_joined_since_is_seen(tmp_path: Path) -> None:
    ours, theirs = SqliteEventLog(tmp_path / "events.db"), SqliteEventLog(tmp_path / "events.db")
    ours.append(anonymous("a"))
    ours.append(anonymous("b"))
    theirs.append(visits("login", cookies=True, days=1))  # whose cookies these are
    ours.append(anonymous("c"))
    assert {event: who for event, who in owners(ours).items() if event.endswith("-7")} == dict.fromkeys(
        ("a-7", "b-7", "c-7", "login-7"), "c7"
    )
    ours.close()
    theirs.close()


def test_what_it_joined_itself_and_what_was_erased_is_not_remembered(tmp_path: Path) -> None:
    log = SqliteEventLog(tmp_path / "events.db")
    log.append(anonymous("a"))
    log.append(visits("login", cookies=True, days=1))
    log.append(anonymous("b"))
    assert owners(log)["b-7"] == "c7"
    log.close()


def test_what_was_rolled_back_is_not_remembered(tmp_path: Path) -> None:
    log = SqliteEventLog(tmp_path / "events.db")
    broken = visits("a")
    place = broken.schema.get_field_index("kind")
    results = log.append_many([broken.set_column(place, "kind", pa.nulls(N, pa.string())), visits("b")])
    assert isinstance(results[0], Exception)
    assert log.append(visits("c")).appended == N
    keys = {key for batch in log.read() for key in batch["customer_key"].to_pylist()}
    assert len(keys) == N and set(owners(log)) == {f"{batch}-{n}" for batch in "bc" for n in range(N)}
    log.close()
