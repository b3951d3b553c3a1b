"""Values and prices of several currencies, over files and over HTTP, on both engines of the log."""

import json
import logging
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from features.errors import SettingsError
from features.events.schema import EVENT_SCHEMA
from features.ingest import IngestReport, ingest
from features.log import portable_sql
from features.log.engines import open_log
from features.log.sql_log import SqlEventLog
from features.money.home import HomeCurrency
from features.money.incoming import parse_valued
from features.settings import Settings

NOW = datetime(2024, 6, 1, tzinfo=UTC)
RATES = "date,currency,rate\n2024-05-01,USD,0.9\n2024-05-10,USD,0.8\n2024-05-01,JPY,0.006\n"


@pytest.fixture(params=["sqlite", "postgres"])
def env(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, str]:
    """The environment of an empty home on either engine of the event log."""
    env = {"OMNI_HOME": str(tmp_path / "home")}
    if request.param == "postgres":
        new_postgres: Callable[[], str] = request.getfixturevalue("new_postgres")
        env["OMNI_EVENT_LOG"] = new_postgres()
    return env


@pytest.fixture
def home(env: dict[str, str]) -> Settings:
    return Settings.from_env(env)


def bring(tmp_path: Path, settings: Settings, *rows: tuple[str, str, float | None, str | None]) -> IngestReport:
    """Ingest purchases (event id, day of May, value, currency)."""
    table = [
        {
            "event_id": event_id,
            "occurred_at": datetime.fromisoformat(f"2024-05-{day}T12:00:00+00:00"),
            "kind": "purchase",
            "channel": "web",
            "customer_id": "a",
            "product_id": "p",
            "value": value,
            "currency": currency,
        }
        for event_id, day, value, currency in rows
    ]
    file = tmp_path / f"{'-'.join(row['event_id'] for row in table)}.parquet"
    pq.write_table(pa.Table.from_pylist(table, schema=EVENT_SCHEMA), file)
    return ingest(str(file), settings)


def logged(settings: Settings) -> dict[str, tuple[float | None, str | None]]:
    log = open_log(settings)
    rows = [row for batch in log.read() for row in batch.to_pylist()]
    log.close()
    return {row["event_id"]: (row["value"], row["currency"]) for row in rows}


def write_rates(settings: Settings, text: str = RATES) -> None:
    settings.home.mkdir(parents=True, exist_ok=True)
    (settings.home / "rates.csv").write_text(text)


def reasons(report: IngestReport) -> dict[str, str]:
    return (
        {}
        if report.rejected_path is None
        else {
            row["event_id"]: f"{row['field']} {row['reason']}"
            for row in pq.read_table(report.rejected_path).to_pylist()
        }
    )


def test_a_second_file_in_another_currency_is_refused_with_what_mends_it(tmp_path: Path, home: Settings) -> None:
    first = bring(tmp_path, home, ("e1", "02", 10.0, "EUR"))
    second = bring(tmp_path, home, ("e2", "02", 10.0, "USD"), ("e3", "02", 5.0, "EUR"), ("e4", "02", None, "USD"))
    assert (first.currency, first.currencies) == ("EUR", {"EUR": 1})
    assert (second.appended, second.rejected, second.rejected_by_field) == (2, 1, {"currency": 1})
    assert second.currencies == {"EUR": 1}  # what was rejected is not counted
    assert "currency is USD, and this home counts in EUR: put a rate of USD for 2024-05-02" in reasons(second)["e2"]
    assert logged(home) == {"e1": (10.0, "EUR"), "e3": (5.0, "EUR"), "e4": (None, "USD")}

    write_rates(home)
    third = bring(tmp_path, home, ("e2", "02", 10.0, "USD"), ("e3", "02", 5.0, "EUR"))
    assert (third.appended, third.duplicates, third.rejected) == (1, 1, 0)
    assert logged(home)["e2"] == (9.0, "EUR")


def test_the_rate_is_the_latest_on_or_before_the_events_day(tmp_path: Path, home: Settings) -> None:
    write_rates(home)
    bring(tmp_path, home, ("e0", "01", 1.0, "EUR"))
    days = ("01", "09", "10", "31")
    report = bring(tmp_path, home, *((f"u{day}", day, 100.0, "USD") for day in days), ("j", "05", 1500.0, "JPY"))
    assert report.currencies == {"USD": 4, "JPY": 1}
    values = logged(home)
    assert [values[f"u{day}"] for day in days] == [(90.0, "EUR"), (90.0, "EUR"), (80.0, "EUR"), (80.0, "EUR")]
    assert values["j"] == (9.0, "EUR")
    log = open_log(home)
    [came] = [row["properties"] for batch in log.read() for row in batch.to_pylist() if row["event_id"] == "j"]
    log.close()
    assert json.loads(came) == {"converted_from": {"value": 1500.0, "currency": "JPY", "rate": 0.006}}


def test_an_event_before_the_first_rate_is_refused(tmp_path: Path, home: Settings) -> None:
    write_rates(home, "date,currency,rate\n2024-05-10,USD,0.8\n")
    report = bring(tmp_path, home, ("e1", "01", 1.0, "EUR"))
    report = bring(tmp_path, home, ("e2", "09", 1.0, "USD"), ("e3", "10", 1.0, "USD"))
    assert list(reasons(report)) == ["e2"]
    assert "for 2024-05-09 or before" in reasons(report)["e2"]
    assert logged(home)["e3"] == (0.8, "EUR")


def test_a_first_file_in_two_currencies_that_have_rates_waits_until_somebody_says_which(
    tmp_path: Path, env: dict[str, str], home: Settings
) -> None:
    write_rates(home)
    rows = (("e1", "02", 10.0, "USD"), ("e2", "02", 150.0, "JPY"), ("e3", "02", None, None))
    report = bring(tmp_path, home, *rows)
    assert (report.appended, report.rejected_by_field, report.currency) == (1, {"currency": 2}, None)
    assert "several (JPY, USD) before it is known" in reasons(report)["e1"] and "OMNI_CURRENCY" in reasons(report)["e2"]

    stated = Settings.from_env({**env, "OMNI_CURRENCY": "EUR"})
    report = bring(tmp_path, stated, *rows)
    assert (report.appended, report.rejected, report.currency) == (2, 0, "EUR")
    assert logged(stated) == {"e1": (9.0, "EUR"), "e2": (0.9, "EUR"), "e3": (None, None)}


def test_a_setting_that_the_log_contradicts_is_refused(tmp_path: Path, env: dict[str, str], home: Settings) -> None:
    bring(tmp_path, home, ("e1", "02", 10.0, "EUR"))
    with pytest.raises(SettingsError, match="OMNI_CURRENCY is USD, and the values in the event log are in EUR"):
        bring(tmp_path, Settings.from_env({**env, "OMNI_CURRENCY": "USD"}), ("e2", "02", 10.0, "USD"))
    with pytest.raises(SettingsError, match="three capital letters"):
        Settings.from_env({**env, "OMNI_CURRENCY": "euro"})


def test_values_without_a_currency_are_the_homes_and_told(
    tmp_path: Path, home: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    bring(tmp_path, home, ("e1", "02", 10.0, "EUR"))
    with caplog.at_level(logging.WARNING):
        report = bring(tmp_path, home, ("e2", "02", 7.0, None))
    assert (report.currencies, report.currency) == ({"": 1}, "EUR")
    assert "1 values name no currency and count as EUR" in caplog.text


def test_broken_rates_are_named_in_the_refusal(tmp_path: Path, home: Settings) -> None:
    write_rates(home, "date,currency,rate\n2024-05-01,USD,much\n")
    bring(tmp_path, home, ("e1", "02", 10.0, "EUR"))
    report = bring(tmp_path, home, ("e2", "02", 10.0, "USD"))
    assert "rates.csv, line 2: 'much' is no rate above 0" in reasons(report)["e2"]


def test_a_log_from_before_counts_in_the_currency_of_most_values(
    tmp_path: Path, home: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    bring(tmp_path, home, ("e1", "02", 1.0, "GBP"), ("e2", "02", 1.0, "GBP"))
    log = open_log(home)
    assert isinstance(log, SqlEventLog)
    with log._writing() as connection:  # as it was before the log noted its currency
        connection.execute("DELETE FROM meta WHERE name = ?", (portable_sql.CURRENCY,))
        connection.execute("UPDATE events SET currency = 'EUR' WHERE event_id = 'e2'")
        connection.execute("UPDATE events SET currency = 'GBP' WHERE event_id = 'e1'")
    with caplog.at_level(logging.WARNING):
        assert log.currency() == "EUR"  # one each: the first in the alphabet
    assert "holds values in EUR, GBP. From now on EUR counts" in caplog.text
    assert log.settle_currency("USD") == "EUR"
    assert sorted(log.customer_events("a")["value"].to_pylist(), key=str) == [1.0, None]  # never added to each other
    log.close()


def test_events_over_http_go_the_same_way(home: Settings) -> None:
    write_rates(home)
    log = open_log(home)
    currency = HomeCurrency(home, log)
    event = {"occurred_at": "2024-05-10T01:00:00+02:00", "kind": "purchase", "channel": "web", "customer_id": "a"}
    items = [
        {**event, "event_id": "e1", "value": 10, "currency": "EUR"},
        {**event, "event_id": "e2", "value": -1, "currency": "EUR"},
        {**event, "event_id": "e3", "value": 10, "currency": "CHF"},
        {**event, "event_id": "e4", "value": 10, "currency": "USD", "properties": {"note": "x"}},
    ]
    table, rejections = parse_valued(items[:1], NOW, currency)
    assert (table["value"].to_pylist(), rejections) == ([10.0], [])
    table, rejections = parse_valued(items, NOW, currency)
    assert [(row.index, row.field, row.event_id) for row in rejections] == [(1, "value", "e2"), (2, "currency", "e3")]
    # at one in the morning in Berlin it is still the ninth in UTC
    assert table.select(["event_id", "value", "currency"]).to_pylist() == [
        {"event_id": "e1", "value": 10.0, "currency": "EUR"},
        {"event_id": "e4", "value": 9.0, "currency": "EUR"},
    ]
    assert json.loads(table["properties"][1].as_py()) == {
        "note": "x",
        "converted_from": {"value": 10.0, "currency": "USD", "rate": 0.9},
    }
    log.close()


MAPPING = """
[columns]
occurred_at = "when"
customer_id = "who"
product_id = "what"
currency = "cur"
[constants]
kind = "view"
channel = "web"
[products]
price = "price"
name = "name"
"""


def test_prices_are_converted_or_refused_like_values(tmp_path: Path, home: Settings) -> None:
    write_rates(home)
    bring(tmp_path, home, ("e1", "02", 10.0, "EUR"))
    (tmp_path / "map.toml").write_text(MAPPING)
    lines = ["p1,10,EUR,One", "p2,10,USD,Two", "p3,10,CHF,Three", "p4,,CHF,Four", "p1,,EUR,"]
    text = "".join(f"2024-05-02T00:00:00Z,a,{line}\n" for line in lines)
    (tmp_path / "rows.csv").write_text("when,who,what,price,cur,name\n" + text)
    report = ingest(str(tmp_path / "rows.csv"), home, mapping=tmp_path / "map.toml")
    assert (report.appended, report.rejected_by_field, report.products) == (4, {"price": 1}, 3)
    products = {row["product_id"]: row for row in pq.read_table(home.products_path).to_pylist()}
    assert {name: (row["price"], row["currency"], row["name"]) for name, row in products.items()} == {
        "p1": (10.0, "EUR", "One"),
        "p2": (9.0, "EUR", "Two"),
        "p4": (None, None, "Four"),
    }
    [rejected] = pq.read_table(report.rejected_path).to_pylist()
    assert (rejected["index"], rejected["product_id"]) == (2, "p3")
    assert "price is in CHF, and this home counts in EUR" in f"{rejected['field']} {rejected['reason']}"
