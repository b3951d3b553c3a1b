"""Files that are in the event schema already: CSV, JSONL and Parquet without a mapping."""

import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from features.errors import InputError
from features.ingest import ingest
from features.log.engines import open_log
from features.settings import Settings
from features.sources.plain import load_plain

_HEAD = "event_id,occurred_at,kind,channel,customer_id,identifiers,product_id,quantity,value,properties\n"


def test_a_plain_csv_needs_no_mapping(tmp_path: Path) -> None:
    file = tmp_path / "events.csv"
    file.write_text(
        _HEAD
        + 'e1,2024-05-01T09:30:00+02:00,purchase,web,c1,"{""email"": ""a@x""}",p1,2,9.5,"{""coupon"": true}"\n'
        + "e2,2024-05-01 09:30,view,web,c1,,p1,,,\n"
        + "e3,2024-05-01T09:30:00Z,view,web,,,p1,,,\n"
        + "e4,2024-05-01T09:30:00Z,view,web,c1,,p1,two,,\n"
        + "e5,2024-05-01T09:30:00Z,view,web,c1,nobody,p1,,,\n"
        + "e1,2024-05-01T09:30:00+02:00,purchase,web,c1,,p1,2,9.5,\n",
        encoding="utf-8",
    )
    settings = Settings.from_env({"OMNI_HOME": str(tmp_path / "home")})
    report = ingest(str(file), settings)
    assert (report.rows, report.appended, report.duplicates, report.rejected) == (6, 1, 1, 4)
    log = open_log(settings)
    row = next(log.read()).to_pylist()[0]
    log.close()
    assert row["occurred_at"] == datetime(2024, 5, 1, 7, 30, tzinfo=UTC)
    assert (row["quantity"], row["identifiers"], row["properties"]) == (2.0, [("email", "a@x")], '{"coupon": true}')
    rejected = {row["index"]: row["field"] for row in pq.read_table(report.rejected_path).to_pylist()}
    assert rejected == {1: "occurred_at", 2: "customer_id", 3: "quantity", 4: "identifiers"}


def test_plain_jsonl_and_parquet_are_the_same_events(tmp_path: Path) -> None:
    event = {"event_id": "e1", "occurred_at": "2024-05-01T07:30:00Z", "kind": "identify", "channel": "app",
             "customer_id": "c1", "identifiers": {"device": "d"}, "properties": {"a": [1]}}  # fmt: skip
    (tmp_path / "events.jsonl").write_text(json.dumps(event) + "\n\nnot json\n[1]\n", encoding="utf-8")
    typed = {**event, "occurred_at": datetime(2024, 5, 1, 7, 30, tzinfo=UTC), "properties": '{"a": [1]}'}
    pq.write_table(pa.Table.from_pylist([typed]), tmp_path / "events.parquet")
    prints = []
    for name, rejects in (("events.jsonl", 2), ("events.parquet", 0)):
        settings = Settings.from_env({"OMNI_HOME": str(tmp_path / name.replace(".", "-"))})
        report = ingest(str(tmp_path / name), settings)
        assert (report.appended, report.rejected) == (1, rejects)
        log = open_log(settings)
        prints.append((log.fingerprint(), log.resolve(None, {"device": "d"})))
        log.close()
    assert prints[0] == prints[1] == (prints[0][0], "c1")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("events.csv", "event_id,sku\n1,2\n", "pass --mapping"),
        ("events.xlsx", "x", "cannot be read as a workbook"),
        ("events.csv", "", "is empty"),
        ("events.parquet", "no parquet", "cannot be read as Parquet"),
        ("events.csv", "event_id,event_id\n1,2\n", "two columns named 'event_id'"),
    ],
)
def test_a_file_of_another_kind_is_refused_with_the_way_on(tmp_path: Path, name: str, content: str, words: str) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8")
    with pytest.raises(InputError) as caught:
        ingest(str(tmp_path / name), Settings.from_env({"OMNI_HOME": str(tmp_path / "home")}))
    assert words in str(caught.value)
    assert not list((tmp_path / "home").glob("rejected/*"))


def test_a_plain_parquet_may_keep_ids_as_numbers_and_words_as_categories(tmp_path: Path) -> None:
    table = pa.table(
        {
            "event_id": pa.array([1, 2]),
            "occurred_at": pa.array([datetime(2024, 5, 1, tzinfo=UTC)] * 2),
            "kind": pa.array(["purchase"] * 2).dictionary_encode(),
            "channel": pa.array(["web"] * 2).dictionary_encode(),
            "customer_id": pa.array([17850.0, 17851.0]),
            "product_id": pa.array([7, 8], pa.int32()),
            "quantity": pa.array([1, 2], pa.int8()),
            "value": pa.array([Decimal("1.25"), None], pa.decimal128(10, 2)),
        }
    )
    pq.write_table(table, tmp_path / "events.parquet")
    (batch,) = load_plain(tmp_path / "events.parquet")
    rows = batch.events.select(["event_id", "customer_id", "product_id", "quantity", "value"]).to_pylist()
    assert [tuple(row.values()) for row in rows] == [("1", "17850", "7", 1.0, 1.25), ("2", "17851", "8", 2.0, None)]


@pytest.mark.parametrize("currency", [pa.array([{"code": "EUR"}]), pa.array([["EUR"]])])
def test_a_currency_of_another_type_is_named(tmp_path: Path, currency: pa.Array) -> None:
    moment = pa.array([datetime(2024, 5, 1, tzinfo=UTC)], pa.timestamp("us", "UTC"))
    base = {"event_id": ["e1"], "occurred_at": moment, "kind": ["purchase"], "channel": ["web"], "customer_id": ["c1"]}
    pq.write_table(
        pa.table({**base, "product_id": ["p"], "value": [1.0], "currency": currency}), tmp_path / "e.parquet"
    )
    with pytest.raises(InputError, match=r"Column 'currency' is of type (struct|list)<"):
        list(load_plain(tmp_path / "e.parquet"))
