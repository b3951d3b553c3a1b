"""Exposures: what a customer was contacted about, how often without a reaction; the same however the events are folded."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.state import layout
from features.state.batch import StateBatch
from features.state.encoding import decode, encode
from features.state.event_arrays import event_arrays, product_code
from features.state.exposed import all_exposures
from features.state.fold import customer_arrays, fold_customer, fold_newer, fold_timeline
from features.vocabulary import CHANNELS

START = datetime(2024, 1, 1, tzinfo=UTC)
NAMES = ("a", "b", "c", "spring", "autumn")
CODES = {
    name: int(product_code([name])[0]) + (layout.CAMPAIGN_MARK if name in ("spring", "autumn") else 0) for name in NAMES
}


def timeline(*rows: tuple) -> pa.Table:
    """Events as (days after START, kind, channel, product, campaign, decision), in the order in which they arrived."""
    rows = tuple((*row, *[None] * (6 - len(row))) for row in rows)
    numbered = sorted(enumerate(rows, 1), key=lambda item: item[1][0])
    columns = list(zip(*(row for _, row in numbered), strict=True)) or [()] * 6
    moments = [START + timedelta(days=day) for day in columns[0]]
    texts = {"kind": 1, "channel": 2, "product_id": 3, "campaign_id": 4, "decision_id": 5}
    return pa.table(
        {
            "customer_id": pa.array(["ada"] * len(rows), pa.string()),
            "occurred_at": pa.array(moments, pa.timestamp("us", "UTC")),
            "seq": pa.array([seq for seq, _ in numbered], pa.int64()),
            **{name: pa.array(columns[place], pa.string()) for name, place in texts.items()},
            "quantity": pa.nulls(len(rows), pa.float64()),
            "value": pa.nulls(len(rows), pa.float64()),
        }
    )


Exposure = tuple[float, int, str]  # days after START of the last contact, contacts in a row without a reaction, channel


def exposures_of(state: StateBatch) -> dict[str, Exposure]:
    names = {code: name for name, code in CODES.items()}
    rows = zip(state.exposure_code.values.tolist(), state.exposure_stats.values.tolist(), strict=True)
    return {names[code]: (days(last), int(n), CHANNELS[int(channel)]) for code, (last, n, channel, _) in rows}


def days(at_s: float) -> float:
    return round((at_s - START.timestamp()) / 86_400, 6)


def after(*rows: tuple) -> dict[str, Exposure]:
    return exposures_of(fold_customer(timeline(*rows)))


MAIL, PUSH, WEB, SHOP = "email", "push", "web", "store"


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([(0, "send", MAIL, "a"), (1, "send", PUSH, "a"), (1.1, "send", MAIL, "a")], {"a": (1.1, 3, MAIL)}),
        ([(0, "send", MAIL, "a", "spring")], {"a": (0, 1, MAIL), "spring": (0, 1, MAIL)}),
        ([(0, "send", MAIL)], {}),
        ([(0, "decision", MAIL, "a", None, "d-1")], {}),  # nobody sent it
        ([(0, "impression", WEB, "a"), (0.5, "impression", WEB, "a")], {"a": (0.5, 1, WEB)}),  # on one day
        ([(0, "impression", WEB, "a"), (1, "impression", WEB, "a")], {"a": (1, 2, WEB)}),
        ([(0, "send", MAIL, "a"), (1, "open", MAIL, "a"), (2, "send", MAIL, "a")], {"a": (2, 2, MAIL)}),
        ([(0, "send", MAIL, "a"), (1, "click", MAIL, "a")], {"a": (0, 0, MAIL)}),
        ([(0, "send", MAIL, "a"), (1, "view", WEB, "a"), (2, "send", PUSH, "a")], {"a": (2, 1, PUSH)}),
        ([(0, "send", MAIL, "a"), (1, "purchase", SHOP, "a")], {"a": (0, 0, MAIL)}),
        ([(0, "send", MAIL, "a"), (1, "purchase", SHOP, "b"), (2, "return", SHOP, "a")], {"a": (0, 1, MAIL)}),
        (
            [(0, "send", MAIL, "a", "spring"), (1, "outcome", WEB, None, "spring")],
            {"a": (0, 1, MAIL), "spring": (0, 0, MAIL)},
        ),
        # an answer that names nothing is to the newest contact on its channel
        ([(0, "send", MAIL, "a"), (1, "send", MAIL, "b"), (2, "click", MAIL)], {"a": (0, 1, MAIL), "b": (1, 0, MAIL)}),
        ([(0, "send", MAIL, "a"), (1, "send", MAIL), (2, "click", MAIL)], {"a": (0, 1, MAIL)}),
        (
            [
                (0, "impression", MAIL, "a"),
                (1, "impression", MAIL, "b"),
                (2, "impression", WEB, "b"),
                (3, "click", MAIL),
            ],
            {"a": (0, 1, MAIL), "b": (2, 2, WEB)},
        ),  # to b's, which has been seen elsewhere since
        ([(0, "impression", WEB, "a"), (1, "impression", WEB), (2, "click", WEB)], {"a": (0, 1, WEB)}),
        ([(0, "send", MAIL, "a"), (1, "click", PUSH), (2, "visit", MAIL)], {"a": (0, 1, MAIL)}),
        ([(0, "send", MAIL, "a"), (0, "click", MAIL, "a")], {"a": (0, 0, MAIL)}),  # the contact before its answer
        ([(0, "click", MAIL, "a"), (0, "send", MAIL, "a")], {"a": (0, 0, MAIL)}),
    ],
)
def test_contacts_count_until_the_customer_reacts(rows: list[tuple], expected: dict[str, Exposure]) -> None:
    assert after(*rows) == expected


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([(0, "decision", MAIL, "a", "spring", "d-1"), (1, "send", MAIL, None, None, "d-1")], {"a": 1, "spring": 1}),
        ([(0, "decision", MAIL, "a", None, "d-1"), (1, "send", MAIL, "b", None, "d-1")], {"b": 1}),
        ([(0, "decision", MAIL, "a", None, "d-1"), (1, "send", MAIL, None, None, "d-2")], {}),
        ([(2, "decision", MAIL, "a", None, "d-1"), (1, "send", MAIL, None, None, "d-1")], {}),  # decided later
        ([(1, "send", MAIL, None, None, "d-1"), (0, "decision", MAIL, "a", None, "d-1")], {"a": 1}),  # came in later
        (
            [
                *((0, "decision", MAIL, "a", None, "d-1"), (1, "send", MAIL, None, None, "d-1")),
                *((2, "send", MAIL, "b"), (3, "click", MAIL, None, None, "d-1")),
            ],
            {"a": 0, "b": 1},
        ),
    ],
)
def test_a_message_that_only_names_its_decision_is_about_what_was_decided(
    rows: list[tuple], expected: dict[str, int]
) -> None:
    assert {name: n for name, (_, n, _) in after(*rows).items()} == expected
    for n in range(1, len(rows)):  # as they came in
        newer = fold_newer(fold_customer(timeline(*rows[:n])), customer_arrays(timeline(*rows[n:])))
        assert newer is None or exposures_of(newer) == after(*rows)


STORIES = st.lists(
    st.tuples(
        st.integers(0, 60).map(lambda part: part / 3),
        st.sampled_from(
            [
                "send",
                "send",
                "impression",
                "impression",
                "open",
                "click",
                "outcome",
                "visit",
                "view",
                "decision",
                "return",
            ]
        ),
        st.sampled_from([MAIL, PUSH, WEB]),
        st.sampled_from(["a", "b", "c", None]),
        st.sampled_from(["spring", "autumn", None, None, None]),
        st.sampled_from(["d-1", "d-2", None, None]),
    ).filter(lambda row: row[3] is not None or row[1] not in ("view", "return")),
    max_size=30,
)


@settings(max_examples=300, deadline=None)
@given(rows=STORIES, cut=st.integers(0, 30))
def test_builds_answers_and_the_log_say_the_same(rows: list[tuple], cut: int) -> None:
    rows = sorted(rows, key=lambda row: row[0])
    events = timeline(*rows)
    state = fold_customer(events)

    from_log = all_exposures(customer_arrays(events))
    table = zip(*(column.tolist() for column in vars(from_log).values()), strict=True)
    rows_of_state = zip(state.exposure_code.values.tolist(), state.exposure_stats.values[:, :3].tolist(), strict=True)
    assert [(code, last, n, channel) for code, last, n, channel in table] == [
        (code, *map(float, row)) for code, row in rows_of_state
    ]

    built = [row for part, _ in fold_timeline(events) for row in part["state"].to_pylist()]
    newest, products = encode(state, ["ada"])
    if built:
        assert newest["state"].to_pylist() == built[-1:]

    stored = decode(*encode(fold_customer(events.slice(0, cut)), ["ada"])) if cut and rows else StateBatch.empty(1)
    newer = fold_newer(stored, customer_arrays(events.slice(cut)))
    if newer is not None and rows:
        assert encode(newer, ["ada"])[0]["state"] == newest["state"]
    assert decode(newest, products).exposure_stats.values.tolist() == state.exposure_stats.values.tolist()


@pytest.mark.parametrize("n", [0, 1, 7])
def test_a_few_events_with_campaigns_and_decisions_become_the_same_arrays_as_many(
    n: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [(i, "send", MAIL, None, f"c{i % 2}" if i % 3 else None, None if i % 2 else f"d{i}") for i in range(n)]
    few = event_arrays(timeline(*rows))
    monkeypatch.setattr("features.state.event_arrays._FEW", -1)
    for name, values in event_arrays(timeline(*rows))._asdict().items():
        assert getattr(few, name).dtype == values.dtype, name
        np.testing.assert_array_equal(getattr(few, name), values, err_msg=name)


def test_decisions_of_other_customers_say_nothing() -> None:
    decided = timeline((0, "decision", MAIL, "a", None, "d-1"))
    sent = timeline((1, "send", MAIL, None, None, "d-1"), (2, "send", MAIL, None, None, "d-1"))
    both = pa.concat_tables([decided, sent.set_column(0, "customer_id", pa.array(["bob"] * 2)).slice(0, 1)])
    both = both.set_column(both.column_names.index("seq"), "seq", pa.array([1, 2], pa.int64()))
    states = [row for part, _ in fold_timeline(both) for row in part.to_pylist()]
    assert [row["customer_id"] for row in states] == ["bob"]  # a decision changes no state
    assert exposures_of(fold_customer(both.slice(1))) == {}
    from_build = decode(pa.Table.from_pylist(states), None)
    assert exposures_of(from_build) == {}
