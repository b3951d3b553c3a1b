"""Amounts that no shop takes for one thing are refused, by their currency, over files and over HTTP's own door."""

from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.errors import InputError
from features.events.schema import EVENT_SCHEMA
from features.ingest import ingest
from features.log.sqlite import SqliteEventLog
from features.money.home import HomeCurrency
from features.money.incoming import parse_valued
from features.money.limits import MAX_UNITS, LimitsConfig, load_limits
from features.settings import Settings

NOW = datetime(2024, 6, 1, tzinfo=UTC)


def bought(event_id: str, value: float, currency: str | None = None) -> dict[str, object]:
    item = {"event_id": event_id, "kind": "purchase", "channel": "web", "customer_id": "a", "value": value}
    return {**item, "occurred_at": NOW, **({"currency": currency} if currency else {})}


def home(tmp_path: Path, limits: str = "", currency: str = "EUR") -> tuple[HomeCurrency, SqliteEventLog]:
    if limits:
        (tmp_path / "limits.toml").write_text(limits)
    log = SqliteEventLog(tmp_path / "events.db")
    return HomeCurrency(Settings.from_env({"OMNI_HOME": str(tmp_path), "OMNI_CURRENCY": currency}), log), log


@pytest.mark.parametrize(
    ("code", "most"), [("EUR", 1e8), ("XXX", 1e8), (None, 1e8), ("JPY", 1e10), ("KRW", 1e11), ("VND", 1e13)]
)
def test_the_most_is_in_units_of_the_currency(code: str | None, most: float) -> None:
    assert LimitsConfig().largest(code) == most


def test_values_beyond_it_are_told_and_the_others_kept(tmp_path: Path) -> None:
    currency, log = home(tmp_path)
    (tmp_path / "rates.csv").write_text("date,currency,rate\n2024-01-01,JPY,0.006\n2024-01-01,VND,0.00004\n")
    items = [
        bought("cents", 1e9, "EUR"),
        bought("jpy", 1e9, "JPY"),
        bought("none", -1e8 - 1) | {"kind": "feedback"},
        bought("rateless", 1.0, "CHF"),
        bought("wild", 1e15),
        bought("dear", 1e8, "EUR"),
        bought("vnd", 2e13, "VND"),
    ]
    table, rejections = parse_valued(items, NOW, currency)
    log.close()
    assert table["event_id"].to_pylist() == ["jpy", "dear"]
    assert table["value"].to_pylist() == [6e6, 1e8]
    assert [(row.index, row.field, row.event_id) for row in rejections] == [
        (0, "value", "cents"),
        (2, "value", "none"),
        (3, "currency", "rateless"),
        (4, "value", "wild"),
        (6, "value", "vnd"),
    ]
    assert rejections[0].reason == (
        "is 1000000000 EUR, and 1e+08 is the most on one event: check its unit, or raise it under [max_value] in limits.toml"
        " in OMNI_HOME."
    )


def test_a_home_may_sell_dearer_things_or_cheaper_ones(tmp_path: Path) -> None:
    currency, log = home(tmp_path, "[max_value]\nEUR = 5e9\nUSD = 10\n")
    table, rejections = parse_valued(
        [bought("e", 4e9, "EUR"), bought("n", 4e9), bought("u", 11.0, "USD")], NOW, currency
    )
    log.close()
    assert table["event_id"].to_pylist() == ["e", "n"]
    assert [(row.index, "11 USD, and 10 is the most" in row.reason) for row in rejections] == [(2, True)]


def test_an_amount_without_a_currency_counts_as_the_homes(tmp_path: Path) -> None:
    currency, log = home(tmp_path, currency="VND")
    table, rejections = parse_valued([bought("rich", 5e12), bought("wrong", 2e13)], NOW, currency)
    log.close()
    assert (table.num_rows, [row.event_id for row in rejections]) == (1, ["wrong"])


@pytest.mark.parametrize(
    "text", ["[max_value]\nEUR = 0\n", "[max_value]\neuro = 5\n", "[max_value]\nEUR = 1e15\n", "x = 1"]
)
def test_a_bad_file_is_told(tmp_path: Path, text: str) -> None:
    (tmp_path / "limits.toml").write_text(text)
    with pytest.raises(InputError, match=r"limits\.toml"):
        load_limits(tmp_path)


def test_a_files_row_beyond_it_goes_to_the_rejects(tmp_path: Path) -> None:
    settings = Settings.from_env({"OMNI_HOME": str(tmp_path / "home")})
    rows = [bought("a", 5.0, "EUR"), bought("b", 9.9e8, "EUR"), bought("c", 1e15, "EUR")]
    pq.write_table(pa.Table.from_pylist(rows, schema=EVENT_SCHEMA), tmp_path / "sales.parquet")
    report = ingest(str(tmp_path / "sales.parquet"), settings)
    assert (report.appended, report.rejected, report.rejected_by_field) == (1, 2, {"value": 2})
    assert pq.read_table(str(report.rejected_path))["event_id"].to_pylist() == ["c", "b"]


@given(st.lists(st.tuples(st.floats(-1e12, 1e12), st.sampled_from(["EUR", "JPY", "IDR", None])), max_size=8))
def test_what_is_exceeded_is_exactly_what_is_beyond(rows: list[tuple[float, str | None]]) -> None:
    limits = LimitsConfig(max_value={"EUR": 10.0})
    amounts = pa.chunked_array([pa.array([amount for amount, _ in rows], pa.float64())])
    codes = pa.chunked_array([pa.array([code for _, code in rows], pa.string())])
    beyond = {i for i, (amount, code) in enumerate(rows) if abs(amount) > limits.largest(code or "JPY")}
    assert set(limits.exceeded(amounts, codes, "JPY")) == beyond
    assert limits.smallest == 10.0 < MAX_UNITS
