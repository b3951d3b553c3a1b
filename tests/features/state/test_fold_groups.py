"""Customers who are folded together are what each of them is alone, or are said to need all of their events."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.events.schema import events_to_table, parse_events
from features.state.batch import StateBatch
from features.state.encoding import decode
from features.state.fold import customer_arrays, fold_customer, fold_newer, fold_on

KINDS = ("view", "purchase", "return", "add_to_cart", "send", "click", "profile", "unsubscribe", "decision")
NAMES = ("ada", "bob", "cyd", "dan")


def events(kit, drawn: list[tuple[str, int, str, bool]], first_seq: int) -> pa.Table:
    """Events of (customer, minute, kind, whether it names a decision) as the log gives them, in its order of arrival."""
    items = [
        {
            "event_id": f"e{first_seq + number}",
            "occurred_at": kit.at(minute / 1440).isoformat(),
            "kind": kind,
            "channel": "email",
            "customer_id": customer,
            "product_id": None if kind in ("send", "click") and decided else f"p{minute % 3}",
            "decision_id": f"d{minute % 2}" if decided or kind == "decision" else None,
        }
        for number, (customer, minute, kind, decided) in enumerate(drawn)
    ]
    for item in items:
        if item["kind"] in ("profile", "unsubscribe"):
            item["product_id"] = None
        if item["kind"] == "profile":
            item["properties"] = {"profiling": False}
    table = events_to_table(parse_events(items, kit.at(9))[0])
    assert table.num_rows == len(items)
    seqs = pa.array(range(first_seq, first_seq + len(items)), pa.int64())
    return table.append_column("seq", seqs).append_column("resolved_customer_id", table["customer_id"])


def in_timeline(table: pa.Table) -> pa.Table:
    return table.sort_by(
        [("resolved_customer_id", "ascending"), ("occurred_at", "ascending"), ("event_id", "ascending")]
    )


def of(table: pa.Table, name: str) -> pa.Table:
    mask = [other == name for other in table["resolved_customer_id"].to_pylist()]
    return in_timeline(table.filter(pa.array(mask, pa.bool_())))


DRAWN = st.lists(
    st.tuples(st.sampled_from(NAMES), st.integers(0, 40), st.sampled_from(KINDS), st.booleans()), max_size=40
)


@given(before=DRAWN, later=DRAWN, shift=st.sampled_from([0, 41]))
def test_a_group_is_folded_as_each_of_them_alone(kit, before, later, shift):
    old = events(kit, before, 1)
    new = events(kit, [(name, minute + shift, *rest) for name, minute, *rest in later], len(before) + 1)
    states = [fold_customer(of(old, name)) for name in NAMES]
    batch = StateBatch.concat(states)

    folded = fold_on(NAMES, batch, in_timeline(new), dict.fromkeys(NAMES, 7))

    expected: dict[str, StateBatch | None] = {}
    for name, state in zip(NAMES, states, strict=True):
        nothing_known = np.isnan(state.scalar("last_event")[0])
        expected[name] = (
            fold_customer(of(new, name)) if nothing_known else fold_newer(state, customer_arrays(of(new, name)))
        )
    assert folded.anew == [name for name, state in expected.items() if state is None]
    told = {n: s for n, s in expected.items() if s is not None and not np.isnan(s.scalar("last_event")[0])}
    assert folded.states["customer_id"].to_pylist() == folded.products["customer_id"].to_pylist() == list(told)
    for row, (name, state) in enumerate(told.items()):
        kit.assert_same_states(decode(folded.states.slice(row, 1), folded.products.slice(row, 1)), state)
        newest = [*of(old, name)["seq"].to_pylist(), *of(new, name)["seq"].to_pylist()]
        assert folded.states["last_seq"][row].as_py() == folded.products["products_seq"][row].as_py() == max(7, *newest)
        assert folded.states["event_timestamp"][row].as_py().timestamp() == state.scalar("last_event")[0]


def test_from_nothing_everything_is_folded_whatever_it_is(kit):
    history = events(kit, [("ada", 1, "purchase", False), ("ada", 2, "return", False), ("ada", 3, "send", True)], 1)

    folded = fold_on(["ada"], StateBatch.empty(1), in_timeline(history), {"ada": 3})

    assert folded.anew == []
    kit.assert_same_states(decode(folded.states, folded.products), fold_customer(of(history, "ada")))


@pytest.mark.parametrize("names", [[], ["ada"]])
def test_who_has_no_events_keeps_their_state(kit, names):
    state = fold_customer(of(events(kit, [("ada", 1, "view", False)], 1), "ada"))
    batch = state if names else StateBatch.empty(0)

    folded = fold_on(names, batch, in_timeline(events(kit, [], 1)), {"ada": 9})

    assert folded.states["last_seq"].to_pylist() == [9] * len(names)
    if names:
        kit.assert_same_states(decode(folded.states, folded.products), state)
