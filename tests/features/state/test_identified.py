"""What a customer is known by: kept by the fold, whatever the order, live as in a build, and told by `identify` alone."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa

from features.events.contact_points import kind_bits
from features.events.schema import events_to_table, parse_events
from features.offline.timeline import timeline_rows
from features.online.live import state_version
from features.state.batch import StateBatch
from features.state.encoding import decode
from features.state.fold import customer_arrays, fold_customer, fold_newer, fold_timeline

START = datetime(2024, 1, 1, tzinfo=UTC)


def table(*items: dict[str, Any]) -> pa.Table:
    """Events of ada, one a day, as the log gives them."""
    told = [
        {"event_id": f"e{day}", "occurred_at": (START + timedelta(days=day)).isoformat(), "customer_id": "ada"}
        | {"channel": "web", **item}
        for day, item in enumerate(items)
    ]
    events, rejected = parse_events(told, START + timedelta(days=400))
    assert not rejected
    made = events_to_table(events)
    n = made.num_rows
    for name, values in (("seq", range(1, n + 1)), ("customer_key", [1] * n)):
        made = made.append_column(name, pa.array(values, pa.int64()))
    return made.append_column("resolved_customer_id", pa.array(["ada"] * n))


VISIT = {"kind": "visit", "identifiers": {"cookie": "c-1"}}
BUY = {"kind": "purchase", "product_id": "tea", "value": 4.0}
LOGIN = {"kind": "identify", "identifiers": {"email": "ada@example.org", "cookie": "c-1"}}


def known_by(state: StateBatch) -> list[int]:
    return [int(bits) for bits in state.scalar("identified")]


def test_each_event_adds_what_it_names() -> None:
    assert known_by(fold_customer(table(VISIT))) == [kind_bits(["cookie"])]
    assert known_by(fold_customer(table(VISIT, BUY, LOGIN))) == [kind_bits(["cookie", "email"])]
    assert known_by(fold_customer(table(BUY))) == [0]


def test_an_identify_counts_on_top_of_a_state_even_where_it_is_of_before() -> None:
    events = table(LOGIN, VISIT, BUY)
    whole = fold_customer(events)
    later = fold_newer(fold_customer(events.slice(1)), customer_arrays(events.slice(0, 1)))
    assert later is not None
    assert known_by(later) == known_by(whole) == [kind_bits(["cookie", "email"])]
    assert later.scalar("last_event")[0] == whole.scalar("last_event")[0]
    assert state_version(later) == state_version(whole) != state_version(fold_customer(events.slice(1)))


def test_a_build_keeps_a_row_of_an_identify_that_tells_something_new() -> None:
    timeline = timeline_rows(table(VISIT, LOGIN, LOGIN, BUY))
    rows = pa.concat_tables([states for states, _ in fold_timeline(timeline)])
    assert [moment.day for moment in rows["event_timestamp"].to_pylist()] == [1, 2, 4]
    states = decode(rows, None)
    cookie, both = kind_bits(["cookie"]), kind_bits(["cookie", "email"])
    assert known_by(states) == [cookie, both, both]
