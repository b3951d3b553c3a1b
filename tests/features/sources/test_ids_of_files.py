"""Ids of the same rows in files of every kind and column type; event ids that are put together of several columns."""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from features.ingest import ingest
from features.log.engines import open_log
from features.settings import Settings
from features.sources.batch import PRODUCT_SCHEMA, sampled
from features.sources.mapping import load_mapped
from features.sources.product_table import merge_products

MAPPING = """
event_id_from = ["order", "line"]
[columns]
occurred_at = "when"
customer_id = "who"
product_id = "what"
store_id = "where"
[constants]
kind = "purchase"
channel = "store"
[identifiers]
loyalty_card = "card"
[products]
name = "label"
"""
WHEN = ["2024-05-01T10:00:00Z", "2024-05-01T10:01:00Z"]
TWENTY = "12345678901234567890"
NUMBERS: dict[str, Any] = {
    "int64": lambda values: pa.array(values, pa.int64()),
    "int64 with a gap": lambda values: pa.array([*values[:1], None], pa.int64()),
    "float64 with a gap": lambda values: pa.array([float(values[0]), float("nan")]),
    "float64 beside a fraction": lambda values: pa.array([float(values[0]), 0.5]),
    "decimal": lambda values: pa.array([Decimal(value) for value in values], pa.decimal128(20, 2)),
    "text": lambda values: pa.array([str(value) for value in values]),
    "categories": lambda values: pa.array([float(value) for value in values]).dictionary_encode(),
    "pandas Int64": lambda values: pa.Array.from_pandas(pd.Series([*values[:1], None], dtype="Int64")),
}


def events_of(file: Path, mapping: str = MAPPING) -> tuple[list[dict[str, Any]], list[dict[str, Any]], list[str]]:
    """Events, rejected rows and product ids of a mapped file."""
    toml = file.with_suffix(".toml")
    toml.write_text(mapping, encoding="utf-8")
    events, rejected, products = [], [], []
    for batch in load_mapped(file, toml):
        events += batch.events.to_pylist()
        rejected += [] if batch.rejected is None else batch.rejected.to_pylist()
        products += [] if batch.products is None else batch.products["product_id"].to_pylist()
    return events, rejected, products


@pytest.mark.parametrize("kind", NUMBERS)
def test_numeric_columns_of_any_type_give_the_same_ids(tmp_path: Path, kind: str) -> None:
    make = NUMBERS[kind]
    table = pa.table(
        {
            "when": WHEN,
            "who": make([7, 8]),
            "what": make([100, 101]),
            "where": make([12, 13]),
            "card": make([77, 78]),
            "label": ["tea", "pot"],
            "order": make([2024, 2025]),
            "line": make([1, 2]),
        }
    )
    pq.write_table(table, tmp_path / "rows.parquet")
    events, _, products = events_of(tmp_path / "rows.parquet")
    first = events[0]
    named = ("event_id", "customer_id", "product_id", "store_id", "identifiers")
    assert [first[name] for name in named] == ["2024:1", "7", "100", "12", [("loyalty_card", "77")]]
    assert products[0] == "100"


def test_text_of_a_csv_stays_as_it_is_written(tmp_path: Path) -> None:
    ids = ["1.10", "1.1", "1E3", "1000", "007", "7", TWENTY, "12345678901234567891"]
    lines = [f"2024-05-01T10:00:0{place}Z,c{name},{name},s,k,n,{name},1" for place, name in enumerate(ids)]
    (tmp_path / "rows.csv").write_text("\n".join(["when,who,what,where,card,label,order,line", *lines]) + "\n")
    events, rejected, products = events_of(tmp_path / "rows.csv")
    assert ([event["product_id"] for event in events], products, rejected) == (ids, ids, [])
    assert [event["customer_id"] for event in events] == [f"c{name}" for name in ids]
    assert len({event["event_id"] for event in events}) == len(ids)


def test_json_numbers_and_texts_of_one_id_agree_whatever_comes_with_them(tmp_path: Path) -> None:
    given: list[Any] = [12, 12.0, "12", "12.0", int(TWENTY), TWENTY, "1E3", 1000.0]
    expected = ["12", "12", "12", "12.0", TWENTY, TWENTY, "1E3", "1000"]
    rows = [
        {"when": WHEN[0], "who": value, "what": value, "where": value, "card": value, "order": place, "line": value}
        for place, value in enumerate(given)
    ]
    whole = MAPPING.replace('[products]\nname = "label"\n', "")
    for part in (rows, rows[:2], rows[1:3], rows[4:5], rows[-1:]):
        (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, part)), encoding="utf-8")
        events, _, _ = events_of(tmp_path / "rows.jsonl", whole)
        wanted = [expected[row["order"]] for row in part]
        assert [event["customer_id"] for event in events] == wanted
        assert [event["product_id"] for event in events] == wanted
        assert [dict(event["identifiers"])["loyalty_card"] for event in events] == wanted


@pytest.mark.parametrize("column", ["who", "what", "where", "card", "order"])
def test_an_id_that_lost_its_digits_is_a_rejected_row_and_not_somebody_elses(tmp_path: Path, column: str) -> None:
    row = {
        "when": WHEN,
        "who": [7, 8],
        "what": [1, 2],
        "where": [3, 4],
        "card": [5, 6],
        "order": [1, 2],
        "line": [1, 1],
    }
    table = pa.table({**row, "label": ["a", "b"], column: [7.0, float(TWENTY)]})
    pq.write_table(table, tmp_path / "rows.parquet")
    events, rejected, _ = events_of(tmp_path / "rows.parquet")
    assert (len(events), [one["index"] for one in rejected]) == (1, [1])
    assert "too many digits for its type" in rejected[0]["reason"]
    assert "1.2345678901234567e+19" in rejected[0]["source_row"]


def test_a_plain_file_reads_ids_alike(tmp_path: Path) -> None:
    moments = pd.to_datetime([*WHEN, "2024-05-01T10:02:00Z"])
    table = pa.table(
        {
            "event_id": [1.0, 2.0, 3.0],
            "occurred_at": pa.array(moments, pa.timestamp("us", "UTC")),
            "kind": ["view"] * 3,
            "channel": ["web"] * 3,
            "customer_id": [7.0, None, float(TWENTY)],
            "product_id": pa.array([Decimal("100.00"), Decimal(TWENTY), Decimal("1.50")], pa.decimal128(30, 2)),
            "store_id": [12.0, 12.5, None],
            "identifiers": ['{"loyalty_card": 77.0}', f'{{"loyalty_card": {TWENTY}}}', None],
        }
    )
    pq.write_table(table, tmp_path / "events.parquet")
    settings = Settings.from_env({"OMNI_HOME": str(tmp_path / "home")})
    report = ingest(str(tmp_path / "events.parquet"), settings)
    log = open_log(settings)
    rows = {row["event_id"]: row for batch in log.read() for row in batch.to_pylist()}
    log.close()
    named = ("customer_id", "product_id", "store_id", "identifiers")
    assert {event_id: [row[name] for name in named] for event_id, row in rows.items()} == {
        "1": ["7", "100", "12", [("loyalty_card", "77")]],
        "2": [None, TWENTY, "12.5", [("loyalty_card", TWENTY)]],
    }
    assert (report.rejected, report.rejected_by_field) == (1, {"customer_id": 1})


def test_identifiers_may_be_numbers_in_a_struct_or_a_map(tmp_path: Path) -> None:
    base = {"event_id": ["1"], "occurred_at": pa.array(pd.to_datetime(WHEN[:1]), pa.timestamp("us", "UTC"))}
    for name, column in {
        "struct": pa.array([{"loyalty_card": 77.0}]),
        "map": pa.array([[("loyalty_card", 77)]], pa.map_(pa.string(), pa.int64())),
        "decimal": pa.array([[("loyalty_card", Decimal("77.0"))]], pa.map_(pa.string(), pa.decimal128(5, 1))),
    }.items():
        pq.write_table(
            pa.table({**base, "kind": ["visit"], "channel": ["web"], "identifiers": column}), tmp_path / "e.parquet"
        )
        settings = Settings.from_env({"OMNI_HOME": str(tmp_path / name)})
        assert ingest(str(tmp_path / "e.parquet"), settings).appended == 1
        log = open_log(settings)
        assert log.resolve(None, {"loyalty_card": "77"}) == "anon:loyalty_card:77"
        log.close()


def test_a_product_table_with_numeric_ids_is_read_and_replaced_by_the_same_ids(tmp_path: Path) -> None:
    path = tmp_path / "products.parquet"
    pd.DataFrame({"product_id": [100.0, 101.0], "name": ["tea", "pot"], "price": [1, 2]}).to_parquet(path)
    merge_products(path, pa.Table.from_pylist([{"product_id": "101", "name": "kettle"}], PRODUCT_SCHEMA))
    merged = pq.read_table(path)
    assert dict(zip(merged["product_id"].to_pylist(), merged["name"].to_pylist(), strict=True)) == {
        "100": "tea",
        "101": "kettle",
    }


def test_a_sample_takes_the_same_customers_whatever_their_type() -> None:
    numbers = np.arange(1, 400)
    picks = {
        str(column.type): sampled(column, 0.3).to_pylist()
        for column in (pa.array(numbers), pa.array(numbers.astype(float)), pa.array(numbers.astype(str)))
    }
    assert picks["int64"] == picks["double"] == picks["string"]
    assert 80 < sum(picks["int64"]) < 160


def test_composed_event_ids_do_not_collide_and_plain_ones_stay(tmp_path: Path) -> None:
    rows = [("2024", "1"), ("2024:1", "1"), ("2024", "1:1"), ("2024|1", "1"), ("2024%3A1", "1")]
    lines = [f"2024-05-01T10:00:00Z,c,p,s,k,n,{order},{line}" for order, line in rows]
    (tmp_path / "rows.csv").write_text("\n".join(["when,who,what,where,card,label,order,line", *lines]) + "\n")
    (tmp_path / "rows.toml").write_text('event_id_prefix = "shop:"\n' + MAPPING, encoding="utf-8")
    settings = Settings.from_env({"OMNI_HOME": str(tmp_path / "home")})
    first = ingest(str(tmp_path / "rows.csv"), settings, mapping=tmp_path / "rows.toml")
    again = ingest(str(tmp_path / "rows.csv"), settings, mapping=tmp_path / "rows.toml")
    assert (first.appended, again.appended, again.duplicates) == (5, 0, 5)
    log = open_log(settings)
    ids = sorted(row["event_id"] for batch in log.read() for row in batch.to_pylist())
    log.close()
    assert ids == ["shop:2024%3A1:1", "shop:2024%3A1|1", "shop:2024:1", "shop:2024:1:1", "shop:2024|1:1"]
