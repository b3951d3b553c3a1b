"""Starbucks offers: a made-up week of two customers, and the published month."""

import json
from collections import Counter
from datetime import UTC, datetime

import pyarrow as pa
from source_rows import DATA_DIR, collect, needs_data

from features.sources import load_source, starbucks_offers


def test_offers_go_out_by_each_of_their_channels() -> None:
    portfolio = pa.Table.from_pylist(
        [
            {
                "id": "o1",
                "channels": ["web", "email", "mobile"],
                "reward": 2,
                "difficulty": 10,
                "duration": 7,
                "offer_type": "discount",
            }
        ]
    )
    profile = pa.Table.from_pylist(
        [
            {"id": "ann", "gender": "F", "age": 55, "became_member_on": "20170715", "income": 112000.0},
            {"id": "bob", "gender": None, "age": 118, "became_member_on": "20180712", "income": None},
        ]
    )
    row = {"person": "ann", "offer_id": "o1", "amount": None, "reward": None}
    transcript = pa.Table.from_pylist(
        [
            dict(row, event="offer received", time_h=0),
            dict(row, event="offer viewed", time_h=6),
            dict(row, event="transaction", time_h=30, offer_id=None, amount=12.5),
            dict(row, event="offer completed", time_h=30, reward=2.0),
            dict(row, event="offer completed", time_h=30, reward=2.0),
        ],
        schema=pa.schema(
            [("person", pa.string()), ("event", pa.string()), ("time_h", pa.int16()), ("offer_id", pa.string()),
             ("amount", pa.float64()), ("reward", pa.float64())]
        ),
    )  # fmt: skip
    events, _, batches = collect(starbucks_offers.convert(portfolio, profile, transcript))
    assert sum(batch.rows_total for batch in batches) == 7
    assert Counter((event["kind"], event["channel"]) for event in events) == {
        ("profile", "app"): 2,
        ("send", "web"): 1,
        ("send", "email"): 1,
        ("send", "app"): 1,
        ("open", "app"): 1,
        ("purchase", "store"): 1,
        ("outcome", "app"): 2,
    }
    by_kind = {event["kind"]: event for event in events}
    assert by_kind["open"]["occurred_at"] == datetime(2018, 7, 27, 6, tzinfo=UTC)
    assert (by_kind["open"]["campaign_id"], by_kind["outcome"]["value"]) == ("o1", 2.0)
    assert (by_kind["purchase"]["product_id"], by_kind["purchase"]["value"]) == (None, 12.5)
    assert json.loads(by_kind["send"]["properties"])["offer_type"] == "discount"
    profiles = {event["customer_id"]: event["properties"] for event in events if event["kind"] == "profile"}
    assert json.loads(profiles["ann"]) == {"gender": "F", "age": 55, "income": 112000.0}
    assert profiles["bob"] is None
    assert len({event["event_id"] for event in events}) == len(events)


@needs_data
def test_the_published_offers_become_valid_events() -> None:
    events, _, batches = collect(load_source("starbucks-offers", sample=0.02, path=DATA_DIR / "starbucks_offers"))
    assert sum(batch.rows_total for batch in batches) < len(events)
    assert len({event["event_id"] for event in events}) == len(events)
