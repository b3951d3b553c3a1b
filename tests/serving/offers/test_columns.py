"""Columns of conditions are those of an audience, customer by customer; deciles and stages by where everybody stands."""

import math

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.events.schema import Event
from features.log.event_log import EventLog
from features.online.many import LiveBatch
from features.signals import compute_signals
from serving.campaigns.segments import add_deciles, deciles, segment_table
from serving.offers.columns import KINDS, CustomerColumns, Standing
from serving.runtime import Runtime


@pytest.fixture
def columns_and_table(runtime: Runtime, log: EventLog) -> tuple[CustomerColumns, pd.DataFrame]:
    said = {"occurred_at": "2024-02-20T10:00:00Z", "channel": "web", "product_id": "tea"}
    bought = Event(event_id="b1", kind="purchase", customer_id="bob", value=9.0, **said)
    log.append_events([bought, Event(event_id="c1", kind="view", customer_id="cleo", **said)])
    states = runtime.knowledge.states
    assert states is not None
    lives = [live for name in ("ada", "bob", "cleo") if (live := states.get(name))]
    batch, bundle = LiveBatch.of(lives), runtime.knowledge.bundle
    signals = compute_signals(batch.scored, np.full(3, runtime.clock.now().timestamp()))
    table = add_deciles(segment_table(lives, signals, bundle.churn, bundle.win_back))
    bought = table["days_since_purchase"].notna()
    standing = Standing.of(table["spend_365d"][bought].to_numpy(), table["usual_gap_days"].to_numpy())
    return CustomerColumns(batch, signals, bundle, standing), table


def test_every_column_of_an_audience_is_the_same_here(
    columns_and_table: tuple[CustomerColumns, pd.DataFrame],
) -> None:
    columns, table = columns_and_table
    assert {*table.columns} <= {*KINDS}
    for name, expected in pa.Table.from_pandas(table, preserve_index=False).to_pydict().items():
        assert [columns.row(place)[name] for place in range(3)] == expected, name
    assert columns.of("expected_revenue").missing.tolist() == [True, True, True]
    assert columns.row(2)["lifecycle"] == "prospect"


@given(st.lists(st.sampled_from([0.0, 1.0, 2.5, 3.0, 7.0, 100.0]) | st.floats(0, 1e6), min_size=1, max_size=60))
def test_borders_give_everybody_the_decile_of_the_audience(values: list[float]) -> None:
    standing = Standing.of(np.array(values), np.array([math.nan]))
    assert standing.decile(np.array(values)).tolist() == deciles(pd.Series(values)).tolist()


def test_before_anybody_was_looked_at_no_decile_is_known() -> None:
    assert Standing().borders == ()
    assert Standing.of(np.array([]), np.array([10.0, 30.0, math.nan])) == Standing(20.0)
