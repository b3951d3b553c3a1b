"""Files of products and of stock, merged row by row into a home's tables."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from features.errors import InputError
from features.ingest_table import TableReport, ingest_table, put_rows
from features.log.engines import open_log
from features.settings import Settings
from features.vocabulary import TableName

PRODUCTS, STOCK = TableName.PRODUCTS, TableName.STOCK


def bring(settings: Settings, name: TableName, text: str, file: str = "rows.csv") -> TableReport:
    settings.home.mkdir(parents=True, exist_ok=True)
    (settings.home / file).write_text(text)
    return ingest_table(str(settings.home / file), name, settings)


def reasons(report: TableReport) -> list[tuple[int, str, str]]:
    assert report.rejected_path is not None
    rows = pq.read_table(report.rejected_path).sort_by("index").to_pylist()
    return [(row["index"], row["field"], row["reason"]) for row in rows]


def test_products_are_merged_and_bad_rows_told(settings: Settings) -> None:
    bring(settings, PRODUCTS, 'product_id,price,brand,attributes\nmilk,1.50,Alm,"{""withdrawn"": true}"\n')
    text = """product_id,name,price,currency,available_from,attributes
milk,Milk,,,,
tea,Tea,2.5 EUR,,2024-05-01T00:00:00Z,
soap,Soap,"1,250.00",,,
salt,Salt,-1,,,
,Nobody,1,,,
rice,Rice,1,euro,,
oats,Oats,1,,tomorrow,
wine,Wine,9,,,{withdrawn}
"""
    report = bring(settings, PRODUCTS, text)
    assert (report.rows, report.merged, report.rejected) == (8, 2, 6)
    assert [(index, field) for index, field, _ in reasons(report)] == [
        (2, "price"),
        (3, "price"),
        (4, "product_id"),
        (5, "currency"),
        (6, "available_from"),
        (7, "attributes"),
    ]
    assert "is '1,250.00', which is not a number" in reasons(report)[0][2]
    rows = {row["product_id"]: row for row in pq.read_table(settings.products_path).to_pylist()}
    assert sorted(rows) == ["milk", "tea"]
    assert (rows["milk"]["name"], rows["milk"]["price"], rows["milk"]["brand"]) == ("Milk", 1.5, "Alm")
    assert rows["milk"]["attributes"] == '{"withdrawn": true}'
    assert (rows["tea"]["price"], rows["tea"]["currency"]) == (2.5, "EUR")
    assert rows["tea"]["available_from"] == datetime(2024, 5, 1, tzinfo=UTC)


def test_prices_in_another_currency_are_converted_by_the_newest_rate_or_refused(settings: Settings) -> None:
    bring(settings, PRODUCTS, "product_id,price,currency\na,1,EUR\n")
    text = "product_id,price,currency\nb,10,USD\nc,10,CHF\n"
    report = bring(settings, PRODUCTS, text)
    assert [(index, field) for index, field, _ in reasons(report)] == [(0, "price"), (1, "price")]
    assert "in USD, and this home counts in EUR: put a rate of USD into rates.csv" in reasons(report)[0][2]
    (settings.home / "rates.csv").write_text("date,currency,rate\n2024-05-01,USD,0.9\n2024-06-01,USD,0.8\n")
    report = bring(settings, PRODUCTS, text)
    assert (report.merged, report.rejected_by_field) == (1, {"price": 1})
    rows = {
        row["product_id"]: (row["price"], row["currency"]) for row in pq.read_table(settings.products_path).to_pylist()
    }
    assert rows == {"a": (1.0, "EUR"), "b": (8.0, "EUR")}


def test_stock_keeps_a_row_per_product_store_and_moment(settings: Settings) -> None:
    monday, sunday = 1_714_953_600, 1_715_472_000  # seconds since 1970
    bring(settings, STOCK, f"product_id,store_id,units,as_of\na,s1,3,{monday}\na,,5,{monday}\na,s1,4,{monday}\n")
    text = f"""product_id,store_id,units,as_of
a,s1,7,{sunday}
a,s1,9,{monday}
b,12,"1,000",{sunday}
b,12,two,{sunday}
b,12,,{sunday}
b,12,-1,{sunday}
b,12,1,
b,12,1,20240512
b,12,2,2024-05-12T00:00:00Z
"""
    report = bring(settings, STOCK, text)
    assert (report.rows, report.merged, report.rejected) == (9, 3, 6)
    assert [field for _, field, _ in reasons(report)] == ["units", "units", "units", "units", "as_of", "as_of"]
    rows = [tuple(row.values()) for row in pq.read_table(settings.stock_path).to_pylist()]
    days = datetime(2024, 5, 6, tzinfo=UTC), datetime(2024, 5, 12, tzinfo=UTC)
    assert sorted(rows, key=str) == sorted(
        [("a", None, 5.0, days[0]), ("a", "s1", 9.0, days[0]), ("a", "s1", 7.0, days[1]), ("b", "12", 2.0, days[1])],
        key=str,
    )


def test_a_table_of_stock_that_somebody_wrote_is_merged_with(settings: Settings) -> None:
    moment = pa.array([datetime(2024, 5, 6, tzinfo=UTC)], pa.timestamp("us", "UTC"))
    settings.stock_path.parent.mkdir(parents=True)
    own = pa.table({"product_id": pa.array([7]), "store_id": pa.array([12]), "units": pa.array([3]), "as_of": moment})
    pq.write_table(own, settings.stock_path)
    bring(
        settings, STOCK, "product_id,store_id,units,as_of\n7,12,4,2024-05-06T00:00:00Z\n7,13,1,2024-05-06T00:00:00Z\n"
    )
    rows = pq.read_table(settings.stock_path).select(["product_id", "store_id", "units"]).to_pylist()
    assert [tuple(row.values()) for row in rows] == [("7", "12", 4.0), ("7", "13", 1.0)]


NUMBERS: dict[str, Callable[[list[Any]], pa.Array]] = {
    "whole": lambda ids: pa.array(ids, pa.int64()),
    "fraction": lambda ids: pa.array(ids, pa.float64()),
    "decimal": lambda ids: pa.array([None if name is None else Decimal(f"{name}.00") for name in ids]),
    "category": lambda ids: pa.array(ids, pa.float64()).dictionary_encode(),
    "text": lambda ids: pa.array([None if name is None else str(name) for name in ids]),
}


@pytest.mark.parametrize("kind", NUMBERS)
def test_ids_of_products_and_stock_are_the_same_whatever_their_type(settings: Settings, kind: str) -> None:
    make = NUMBERS[kind]
    settings.home.mkdir(parents=True, exist_ok=True)
    file = settings.home / "rows.parquet"
    bring(settings, PRODUCTS, "product_id,name\n7,Tea\n007,Other\n")
    other = 8.5 if kind == "fraction" else 8
    pq.write_table(pa.table({"product_id": make([7, other, None]), "price": [1.0, 2.0, 3.0]}), file)
    assert ingest_table(str(file), PRODUCTS, settings).rejected_by_field == {"product_id": 1}
    rows = {row["product_id"]: (row["name"], row["price"]) for row in pq.read_table(settings.products_path).to_pylist()}
    assert rows == {"007": ("Other", None), "7": ("Tea", 1.0), str(other): (None, 2.0)}
    bring(settings, STOCK, "product_id,store_id,units,as_of\n7,12,1,2024-05-06T00:00:00Z\n")
    moments = pa.array([datetime(2024, 5, 6, tzinfo=UTC)] * 2, pa.timestamp("us", "UTC"))
    stock = {"product_id": make([7, 7]), "store_id": make([12, None]), "units": [4, 5], "as_of": moments}
    pq.write_table(pa.table(stock), file)
    assert ingest_table(str(file), STOCK, settings).merged == 2
    kept = pq.read_table(settings.stock_path).select(["product_id", "store_id", "units"]).to_pylist()
    assert {tuple(row.values()) for row in kept} == {("7", "12", 4.0), ("7", None, 5.0)}


def test_an_id_that_lost_its_digits_is_a_rejected_row(settings: Settings) -> None:
    settings.home.mkdir(parents=True, exist_ok=True)
    file = settings.home / "rows.parquet"
    pq.write_table(pa.table({"product_id": [7.0, 2.0**53], "name": ["Tea", "Pot"]}), file)
    report = ingest_table(str(file), PRODUCTS, settings)
    assert [(index, field) for index, field, _ in reasons(report)] == [(1, "product_id")]
    assert "too many digits for its type" in reasons(report)[0][2]
    assert pq.read_table(settings.products_path)["product_id"].to_pylist() == ["7"]
    moments = pa.array([datetime(2024, 5, 6, tzinfo=UTC)] * 2, pa.timestamp("us", "UTC"))
    pq.write_table(
        pa.table({"product_id": ["a", "a"], "store_id": [1.0, 2.0**60], "units": [1, 2], "as_of": moments}), file
    )
    report = ingest_table(str(file), STOCK, settings)
    assert [(index, field) for index, field, _ in reasons(report)] == [(1, "store_id")]
    assert pq.read_table(settings.stock_path)["store_id"].to_pylist() == ["1"]


NOON = datetime(2024, 5, 6, 12, tzinfo=UTC)
MOMENTS: dict[str, pa.Array] = {
    "seconds": pa.array([int(NOON.timestamp())]),
    "milliseconds": pa.array([NOON.timestamp() * 1000]),
    "text": pa.array(["2024-05-06T14:00:00+02:00"]),
    "without a zone": pa.array([NOON.replace(tzinfo=None)], pa.timestamp("ns")),
    "nanoseconds in UTC": pa.array([NOON], pa.timestamp("ns", "UTC")),
}


@pytest.mark.parametrize("kind", MOMENTS)
def test_moments_of_a_table_that_somebody_wrote_are_read_as_those_of_a_file(settings: Settings, kind: str) -> None:
    settings.stock_path.parent.mkdir(parents=True)
    pq.write_table(
        pa.table({"product_id": ["a"], "store_id": ["s"], "units": [1], "as_of": MOMENTS[kind]}), settings.stock_path
    )
    pq.write_table(pa.table({"product_id": ["a"], "available_from": MOMENTS[kind]}), settings.products_path)
    bring(settings, STOCK, "product_id,store_id,units,as_of\na,s,2,2024-05-06T12:00:00Z\n")
    bring(settings, PRODUCTS, "product_id,name\na,Tea\n")
    [stock] = pq.read_table(settings.stock_path).to_pylist()
    [product] = pq.read_table(settings.products_path).to_pylist()
    assert (stock["units"], stock["as_of"], product["available_from"], product["name"]) == (2.0, NOON, NOON, "Tea")


def test_a_table_whose_moments_are_none_is_named_and_left(settings: Settings) -> None:
    settings.products_path.parent.mkdir(parents=True)
    pq.write_table(pa.table({"product_id": ["a"], "available_from": [20240501]}), settings.products_path)
    before = settings.products_path.read_bytes()
    with pytest.raises(InputError, match="row 0: available_from is 20240501, which is no number of seconds"):
        bring(settings, PRODUCTS, "product_id,name\na,Tea\n")
    assert settings.products_path.read_bytes() == before


@pytest.mark.parametrize("name", [PRODUCTS, STOCK])
def test_a_table_whose_ids_lost_their_digits_is_named_and_left(settings: Settings, name: TableName) -> None:
    path = settings.products_path if name == PRODUCTS else settings.stock_path
    path.parent.mkdir(parents=True, exist_ok=True)
    moments = pa.array([datetime(2024, 5, 6, tzinfo=UTC)] * 2, pa.timestamp("us", "UTC"))
    pq.write_table(
        pa.table({"product_id": [7.0, 2.0**53], "store_id": ["s", "s"], "units": [1, 1], "as_of": moments}), path
    )
    before = path.read_bytes()
    text = "product_id,name\n7,Tea\n" if name == PRODUCTS else "product_id,units,as_of\n7,1,2024-05-06T00:00:00Z\n"
    with pytest.raises(
        InputError, match=r"cannot be merged with: product_id: row 2 is 9007199254740992\.0, a number with"
    ):
        bring(settings, name, text)
    assert path.read_bytes() == before


@pytest.mark.parametrize("name", [PRODUCTS, STOCK])
def test_eight_rounds_of_four_writers_lose_no_row(settings: Settings, name: TableName) -> None:
    head, tail = ("product_id,price", "1") if name == PRODUCTS else ("product_id,units,as_of", "1,2024-05-06T00:00:00Z")
    with ThreadPoolExecutor(4) as pool:
        for start in range(0, 32, 4):
            rounds = [
                pool.submit(bring, settings, name, f"{head}\np{number:02},{tail}\n", f"{number}.csv")
                for number in range(start, start + 4)
            ]
            assert [done.result().merged for done in rounds] == [1, 1, 1, 1]
    path = settings.products_path if name == PRODUCTS else settings.stock_path
    assert pq.read_table(path)["product_id"].to_pylist() == [f"p{number:02}" for number in range(32)]


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        (PRODUCTS, "id,price\na,1\n", r"missing columns \['product_id'\], unknown columns \['id'\]"),
        (STOCK, "product_id,units\na,1\n", r"missing columns \['as_of'\]"),
    ],
)
def test_another_table_is_refused_in_words(settings: Settings, name: TableName, text: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        bring(settings, name, text)


def test_a_file_that_is_not_there(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="There is no file"):
        ingest_table(str(tmp_path / "none.csv"), STOCK, settings)


def test_rows_that_come_as_objects_are_merged_as_a_file_is(settings: Settings) -> None:
    now = datetime(2024, 3, 1, tzinfo=UTC)
    with closing(open_log(settings)) as log:
        products = [
            {"product_id": 7, "name": "Tea", "price": 3.5, "attributes": {"withdrawn": True}},
            {"name": "nobody"},
        ]
        merged, refused = put_rows(products, TableName.PRODUCTS, settings, log, now)
        assert (merged, [(row.index, row.field) for row in refused]) == (1, [(1, "product_id")])
        stock = [{"product_id": "7", "store_id": "north", "units": 3}, {"product_id": "7", "units": -1}]
        merged, refused = put_rows(stock, TableName.STOCK, settings, log, now)
        assert (merged, [(row.index, row.field) for row in refused]) == (1, [(1, "units")])
        merged, refused = put_rows([{"product_id": "7", "unit": 3}], TableName.STOCK, settings, log, now)
        assert (merged, [(row.index, row.field) for row in refused]) == (0, [(0, "unit")])
    assert pq.read_table(settings.products_path).to_pylist()[0]["attributes"] == '{"withdrawn": true}'
    assert pq.read_table(settings.stock_path).to_pylist() == [
        {"product_id": "7", "store_id": "north", "units": 3.0, "as_of": now}
    ]
