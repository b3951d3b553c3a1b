"""What is known of responses follows the log: a worker that is started anew and one that ran along know the same."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from features.events.schema import events_to_table, parse_events
from features.log.sqlite import SqliteEventLog
from serving.offers.learning import ResponseLearner
from serving.offers.response import NOTHING_COUNTED

NOW = datetime(2024, 3, 1, tzinfo=UTC)


@pytest.fixture
def log(tmp_path: Path) -> Iterator[SqliteEventLog]:
    log = SqliteEventLog(tmp_path / "events.db")
    yield log
    log.close()


def add(log: SqliteEventLog, kind: str, decision_id: str, hours: float, **fields: Any) -> None:
    item = {"event_id": f"{kind}-{decision_id}", "occurred_at": NOW + timedelta(hours=hours), "kind": kind}
    events, refused = parse_events(
        [{**item, "channel": "email", "customer_id": "ada", "decision_id": decision_id, **fields}],
        NOW + timedelta(days=99),
    )
    assert not refused
    log.append(events_to_table(events))


def test_it_follows_the_log_and_a_new_worker_knows_the_same(log: SqliteEventLog) -> None:
    first = ResponseLearner(log)
    told = {"arm": "email", "offer_id": "tea", "terms": {"response_probability": 0.25}}
    for number in range(4):
        add(log, "decision", f"d{number}", number, properties=told)
        first.up_to_date(has_offers=True)
        add(log, "send", f"d{number}", number + 0.5)
        if number % 2:
            add(log, "click", f"d{number}", number + 1)
    add(log, "visit", "none", 24 * 9)
    running, anew = first.up_to_date(has_offers=True), ResponseLearner(log).up_to_date(has_offers=True)
    assert running.tallies == anew.tallies
    assert running.version == anew.version
    assert running.tallies["tea", "email"].responses == 2
    assert running.tallies["tea", "email"].expected == pytest.approx(1.0)


def test_nothing_is_read_where_there_are_no_offers(log: SqliteEventLog) -> None:
    log.close()
    assert ResponseLearner(log).up_to_date(has_offers=False) is NOTHING_COUNTED
