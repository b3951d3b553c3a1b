"""Signals: values by hand at a chosen moment, the same for one row and for many."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest

from features.errors import SettingsError
from features.signals import (
    CHUNK_ROWS,
    SIGNAL_NAMES,
    WORDS,
    compute_signals,
    describe,
    signal_index,
    signals_frame,
)
from features.state.batch import StateBatch
from features.state.fold import fold_customer
from features.state.moment import half_life

START = datetime(2024, 1, 1, tzinfo=UTC)


def state_of(*rows: tuple) -> StateBatch:
    """The state after events (days after START, kind, channel, product, value)."""
    return fold_customer(
        pa.table(
            {
                "occurred_at": pa.array([START + timedelta(days=row[0]) for row in rows], pa.timestamp("us", "UTC")),
                "seq": pa.array(range(1, len(rows) + 1), pa.int64()),
                "kind": [row[1] for row in rows],
                "channel": [row[2] for row in rows],
                "product_id": pa.array([row[3] if len(row) > 3 else None for row in rows], pa.string()),
                "quantity": pa.array([None] * len(rows), pa.float64()),
                "value": pa.array([row[4] if len(row) > 4 else None for row in rows], pa.float64()),
            }
        )
    )


def at(days: float) -> np.ndarray:
    return np.array([(START + timedelta(days=days)).timestamp()])


SHOPPER = (
    (0, "purchase", "store", "a", 10.0),
    (0, "purchase", "store", "b", 20.0),
    (10, "purchase", "web", "a", 40.0),
    (12, "send", "email"),
    (13, "send", "email"),
    (14, "open", "email"),
    (15, "send", "sms"),
    (16, "add_to_cart", "app", "c"),
    (20, "purchase", "store", "a", 5.0),
)


def test_values_by_hand() -> None:
    row = signals_frame(state_of(*SHOPPER), at(26)).iloc[0]
    assert row["days_since_purchase"] == pytest.approx(6)
    assert row["purchase_total"] == 4
    assert row["n_occasions"] == 3
    assert row["gap_mean_days"] == pytest.approx(10)
    assert row["overdue_ratio"] == pytest.approx(0.6)
    assert row["tenure_days"] == pytest.approx(26)
    assert row["spend_30d"] == pytest.approx(30 * 2 ** (-26 / 30) + 40 * 2 ** (-16 / 30) + 5 * 2 ** (-6 / 30), rel=1e-5)
    assert row["purchases_web_90d"] == pytest.approx(2 ** (-16 / 90), rel=1e-5)
    assert row["last_basket_value"] == pytest.approx(5)
    assert row["previous_basket_value"] == pytest.approx(40)
    assert row["unanswered_email"] == 0
    assert row["unanswered_sms"] == 1
    assert row["contacts_30_days"] == 3
    assert row["contacts_7_days"] == 0
    assert row["cart_products"] == 1
    assert row["days_since_cart"] == pytest.approx(10)
    assert row["response_rate_email"] == pytest.approx(
        2 ** (-12 / 365) / (2 ** (-14 / 365) + 2 ** (-13 / 365) + 5), rel=1e-5
    )
    assert np.isnan(row["days_since_click"])


def test_nothing_is_known_of_an_empty_state() -> None:
    row = signals_frame(StateBatch.empty(1), at(0)).iloc[0]
    assert np.isnan(row["days_since_purchase"])
    assert row["purchase_total"] == 0
    assert row["consent_email"] == -1
    assert row["n_occasions"] == 0
    assert np.isnan(row["overdue_ratio"])


def test_many_rows_and_one_row_give_the_same_numbers() -> None:
    one = state_of(*SHOPPER)
    many = StateBatch.concat([one, StateBatch.empty(1), state_of(*SHOPPER[:3])])
    index = np.arange(CHUNK_ROWS + 10) % 3
    moments = at(26)[0] + index * 86_400.0
    matrix = compute_signals(many.take(index), moments)
    for i in (0, 1, 2, CHUNK_ROWS, CHUNK_ROWS + 9):
        np.testing.assert_array_equal(matrix[i], compute_signals(many.take(index[i : i + 1]), moments[i : i + 1])[0])


def test_every_signal_has_a_name_and_words_of_its_own() -> None:
    assert len(set(SIGNAL_NAMES)) == len(SIGNAL_NAMES) == compute_signals(StateBatch.empty(1), at(0)).shape[1]
    assert describe("days_since_purchase") == "days since the last of: purchased lines"
    assert len(set(WORDS.values())) == len(WORDS)
    assert SIGNAL_NAMES[signal_index(["tenure_days"])[0]] == "tenure_days"
    with pytest.raises(KeyError, match="no_such_signal"):
        signal_index(["no_such_signal"])


def test_a_half_life_that_signals_are_named_after_cannot_silently_become_another() -> None:
    assert half_life(90) == 3
    with pytest.raises(SettingsError, match="half-life of 60 days"):
        half_life(60)


def contract(state: StateBatch, days: float) -> tuple[float, ...]:
    """What the signals say of the contract at a day: days, price, days left, how many, days since the last end."""
    names = ("contract_days", "contract_value", "contract_days_left", "contracts_total", "days_since_contract_end")
    return tuple(compute_signals(state, at(days))[0, signal_index(names)].tolist())


def test_a_contract_runs_from_its_subscribe_to_its_unsubscribe_and_a_change_of_plan_goes_on() -> None:
    never = float("nan")
    plan = ((0, "subscribe", "web", "box", 20.0), (30, "subscribe", "web", "crate", 35.0))
    assert contract(state_of(*plan), 40) == pytest.approx((40, 35, never, 2, never), nan_ok=True)
    left = state_of(*plan, (50, "unsubscribe", "web", "crate"))
    assert contract(left, 60) == pytest.approx((never, never, never, 2, 10), nan_ok=True)
    back = state_of(*plan, (50, "unsubscribe", "web", "crate"), (80, "subscribe", "app", "box", 20.0))
    assert contract(back, 90) == pytest.approx((10, 20, never, 3, 40), nan_ok=True)


def test_a_subscription_to_no_product_is_a_consent_and_no_contract() -> None:
    state = state_of((0, "subscribe", "email"), (1, "unsubscribe", "email"))
    assert np.isnan(contract(state, 2)[0]) and contract(state, 2)[3] == 0
    both = state_of(
        (0, "subscribe", "email"), (1, "subscribe", "email", "box", 20.0), (2, "unsubscribe", "email", "box")
    )
    assert compute_signals(both, at(3))[0, signal_index(("consent_email",))].tolist() == [1.0]
