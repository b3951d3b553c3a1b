"""Quantities, values, unit prices and prices as people write them, in files with and without a mapping."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from features.ingest import IngestReport, ingest
from features.settings import Settings
from features.sources.amounts import parse_money, parse_numbers

MAPPING = """
decimal = "{decimal}"
thousands = "{thousands}"
delimiter = ";"
[columns]
occurred_at = "when"
customer_id = "who"
product_id = "what"
{name} = "number"
[constants]
kind = "{kind}"
channel = "web"
[products]
name = "label"
{price}
"""


def money(text: str | None, currency: str | None = None, decimal: str = ".", thousands: str = "") -> object:
    """(amount, currency), or what is wrong."""
    problems: dict = {}
    column, currencies = pa.chunked_array([pa.array([text], pa.string())]), pa.array([currency], pa.string())
    read = parse_money("value", column, currencies, problems, decimal, thousands)
    return problems[0].reason if problems else (read.amounts[0].as_py(), read.currencies[0].as_py())


@pytest.mark.parametrize(
    ("text", "amount", "currency"),
    [
        ("12.50", 12.5, None),
        ("12.50 EUR", 12.5, "EUR"),
        ("EUR 12.50", 12.5, "EUR"),
        ("12.50EUR", 12.5, "EUR"),
        ("12.50 eur", 12.5, "EUR"),
        ("€12", 12.0, "EUR"),
        ("€ 12", 12.0, "EUR"),
        ("12\u00a0€", 12.0, "EUR"),
        ("-€5.5", -5.5, "EUR"),
        ("€-5.5", -5.5, "EUR"),
        ("\u22125.5", -5.5, None),
        ("£3", 3.0, "GBP"),
        ("1e3", 1000.0, None),
        ("1e3 USD", 1000.0, "USD"),
        ("1e3 eur", 1000.0, "EUR"),
        ("+7", 7.0, None),
        (" ", None, None),
        (None, None, None),
    ],
)
def test_an_amount_may_carry_its_currency(text: str | None, amount: float | None, currency: str | None) -> None:
    assert money(text) == (amount, currency)


@pytest.mark.parametrize(
    ("text", "decimal", "thousands", "amount"),
    [
        ("1,250.00 EUR", ".", ",", 1250.0),
        ("1.250,00 €", ",", ".", 1250.0),
        ("1 250,00 €", ",", " ", 1250.0),
        ("1\u202f250,00 €", ",", " ", 1250.0),
        ("CHF 1’250.50", ".", "'", 1250.5),
        ("1.250.000", ",", ".", 1_250_000.0),
    ],
)
def test_a_stated_style_is_read(text: str, decimal: str, thousands: str, amount: float) -> None:
    read = money(text, None, decimal, thousands)
    assert isinstance(read, tuple) and read[0] == amount


@pytest.mark.parametrize(
    "text",
    [
        *(
            "1,250.00",
            "1.250,00",
            "12,50",
            "1.250.000",
            "twelve",
            "12 PCS",
            "(12.50)",
            "12.50-",
            "€ 12 EUR",
            "--5",
            "€",
        ),
        *("12 12", "0x1F", "1_000", "\u0661\u0662", "nan", "inf", "true"),
    ],
)
def test_what_is_not_in_the_style_is_refused_and_never_null(text: str) -> None:
    reason = money(text)
    assert isinstance(reason, str)
    assert f'is {text!r}, which is not a number written with decimal = "." and no thousands mark' in reason


def test_a_written_currency_must_be_the_rows() -> None:
    assert money("12 EUR", "EUR") == (12.0, "EUR")
    assert money("€12", "USD") == "is '€12', and its row's currency is USD: correct one of them."
    assert money("$12", "CAD") == (12.0, "CAD")
    assert money("¥12", "USD") == "is '¥12', and its row's currency is USD: correct one of them."
    assert money("$12") == "is '$12', in a mark of several currencies: name the currency as well."


def test_a_quantity_is_no_money() -> None:
    problems: dict = {}
    parse_numbers("quantity", pa.chunked_array([["3", "€3", "3 EUR", "3 pcs"]]), problems)
    assert sorted(problems) == [1, 2, 3]


@pytest.mark.parametrize(
    "column",
    [
        pa.array([True, None]),
        pa.array([1, None], pa.timestamp("us")),
        pa.array([1, None], pa.date32()),
        pa.array([b"1", None]),
    ],
    ids=lambda column: str(column.type),
)
def test_columns_that_hold_no_numbers_are_refused_row_by_row(column: pa.Array) -> None:
    problems: dict = {}
    assert parse_numbers("value", pa.chunked_array([column]), problems).to_pylist() == [None, None]
    assert list(problems) == [0]


def test_categories_and_decimals_are_read() -> None:
    problems: dict = {}
    words = pa.chunked_array([pa.array(["1.5", "x", "1.5"]).dictionary_encode()])
    assert parse_numbers("value", words, problems).to_pylist() == [1.5, None, 1.5]
    assert list(problems) == [1]
    decimals = pa.chunked_array([pa.array([1250], pa.decimal128(9, 2))])
    assert parse_numbers("value", decimals, {}).to_pylist() == [1250.0]


def bring(tmp_path: Path, settings: Settings, name: str, text: str, decimal: str, thousands: str) -> IngestReport:
    """Ingest one row that holds `text` in the column that stands for `name`."""
    kind, price = ("view", 'price = "number"') if name == "price" else ("purchase", "")
    column = "store_id" if name == "price" else name
    mapping = MAPPING.format(name=column, kind=kind, price=price, decimal=decimal, thousands=thousands)
    (tmp_path / "map.toml").write_text(mapping)
    (tmp_path / "rows.csv").write_text(f"when;who;what;number;label\n2024-05-01T00:00:00Z;a;p;{text};Milk\n")
    return ingest(str(tmp_path / "rows.csv"), settings, mapping=tmp_path / "map.toml")


@pytest.mark.parametrize("name", ["quantity", "value", "unit_price", "price"])
@pytest.mark.parametrize(
    ("text", "decimal", "thousands", "number"),
    [
        ("1,250.00", ".", ",", 1250.0),
        ("1.250,00", ",", ".", 1250.0),
        ("1,250.00", ".", "", None),
        ("1.250,00", ".", "", None),
    ],
)
def test_every_column_of_numbers_of_a_mapped_file(
    tmp_path: Path, name: str, text: str, decimal: str, thousands: str, number: float | None
) -> None:
    settings = Settings.from_env({"OMNI_HOME": str(tmp_path / "home")})
    report = bring(tmp_path, settings, name, text, decimal, thousands)
    assert report.rejected_by_field == ({} if number is not None else {name: 1})
    assert report.appended == (number is not None)
    if number is None:
        [row] = pq.read_table(report.rejected_path).to_pylist()
        assert row["reason"].startswith(f"is '{text}', which is not a number")
        assert json.loads(row["source_row"])["number"] == text
        assert not settings.products_path.exists() or pq.read_table(settings.products_path).num_rows == 0
    elif name == "price":
        assert pq.read_table(settings.products_path)["price"].to_pylist() == [1250.0]


@pytest.mark.parametrize("text", ["-1", "1e16", "1e400"])
def test_a_price_that_cannot_be_one_is_refused(tmp_path: Path, text: str) -> None:
    settings = Settings.from_env({"OMNI_HOME": str(tmp_path / "home")})
    report = bring(tmp_path, settings, "price", text, ".", "")
    assert report.rejected_by_field == {"price": 1}


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_every_column_of_numbers_of_a_file_without_a_mapping(tmp_path: Path, ending: str) -> None:
    settings = Settings.from_env({"OMNI_HOME": str(tmp_path / "home")})
    cells = [("1", "12.50 EUR"), ("1", "1250.00"), ("1,5", "1"), ("1", "1,250.00"), ("2 kg", "€12"), ("2", "€12")]
    rows = [
        {"event_id": f"e{i}", "occurred_at": "2024-05-01T00:00:00Z", "kind": "purchase", "channel": "web",
         "customer_id": "a", "product_id": "p", "quantity": quantity, "value": value, "currency": "EUR"}
        for i, (quantity, value) in enumerate(cells)
    ]  # fmt: skip
    file = tmp_path / f"rows.{ending}"
    if ending == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), file)
    elif ending == "jsonl":
        file.write_text("\n".join(map(json.dumps, rows)))
    else:
        file.write_text("\n".join([",".join(rows[0]), *(",".join(f'"{v}"' for v in row.values()) for row in rows)]))
    report = ingest(str(file), settings)
    assert (report.appended, report.rejected_by_field) == (3, {"quantity": 2, "value": 1})
    rejected = pq.read_table(report.rejected_path).to_pylist()
    assert [(row["event_id"], row["field"]) for row in rejected] == [
        ("e2", "quantity"),
        ("e3", "value"),
        ("e4", "quantity"),
    ]
