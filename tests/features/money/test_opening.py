"""A home whose first values are in several currencies: all are kept, one counts, and none is added to another."""

import logging
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.build import fold_to_parquet
from features.checks.parity import check_parity
from features.events.schema import EVENT_SCHEMA
from features.ingest import dry_run, ingest
from features.log.engines import open_log
from features.log.sql_log import SqlEventLog
from features.log.tables import SEGMENT_MIN_ROWS
from features.money.counted import count_values
from features.money.home import HomeCurrency
from features.money.incoming import parse_few
from features.money.rates import NO_RATES, RatesFile
from features.offline.timeline import build_timeline, read_timeline
from features.settings import Settings
from features.state.encoding import decode
from features.state.fold import fold_customer
from features.vocabulary import Columns
from tests.features.money.test_home import bring, env, home, logged, reasons, write_rates  # noqa: F401 - fixtures

NOW = datetime(2024, 6, 1, tzinfo=UTC)
ROWS = (
    ("e1", "02", 10.0, "CAD"),
    ("e2", "02", 20.0, "USD"),
    ("e3", "11", 5.0, "CAD"),
    ("e4", "12", 30.0, "USD"),
    ("e5", "12", 1.0, "USD"),
    ("e6", "12", None, "CHF"),
)
"""Event id, day of May, value and currency."""
COUNTED = {
    "e1": (None, "CAD"),
    "e2": (20.0, "USD"),
    "e3": (None, "CAD"),
    "e4": (30.0, "USD"),
    "e5": (1.0, "USD"),
    "e6": (None, "CHF"),
}
RATES = "date,currency,rate\n2024-05-01,CAD,0.7\n2024-05-10,CAD,0.8\n"
COUNTED_BY_RATES = {**COUNTED, "e1": (7.0, "USD"), "e3": (4.0, "USD")}


def stored(settings: Settings) -> dict[str, tuple[float | None, str | None]]:
    """What lies in the log's table, whatever counts."""
    with closing(open_log(settings)) as log:
        assert isinstance(log, SqlEventLog)
        return {row[0]: (row[1], row[2]) for row in log._query("SELECT event_id, value, currency FROM events")}


def build(settings: Settings) -> dict[str, tuple[float | None, str | None]]:
    """Timeline and states anew; the values in the timeline."""
    with closing(open_log(settings)) as log:
        fold_to_parquet(settings, build_timeline(log, settings, lambda _: None), lambda _: None)
    return {row["event_id"]: row["value"] for row in read_timeline(settings).to_pylist()}


def test_all_are_kept_and_the_commonest_counts(
    tmp_path: Path,
    home: Settings,  # noqa: F811
    caplog: pytest.LogCaptureFixture,
) -> None:
    report = bring(tmp_path, home, *ROWS)
    assert (report.appended, report.rejected, report.currency) == (6, 0, "USD")
    assert (report.currencies, report.uncounted) == ({"USD": 3, "CAD": 2}, {"CAD": 2})
    [told] = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert "3 in USD, 2 in CAD" in told and "counts in USD from now on" in told
    assert "omni features build --force" in told and "rates.csv" in told
    assert stored(home) == {row[0]: (row[2], row[3]) for row in ROWS}
    assert logged(home) == COUNTED


def test_every_reader_of_the_log_counts_alike_without_and_with_a_rate(tmp_path: Path, home: Settings) -> None:  # noqa: F811
    bring(tmp_path, home, *ROWS)
    for expected in (COUNTED, COUNTED_BY_RATES):
        with closing(open_log(home)) as log:
            for table in (log.customer_events("a"), log.events_of({"a": 0}), pa.concat_tables(log.read())):
                rows = {row["event_id"]: (row["value"], row["currency"]) for row in table.to_pylist()}
                assert rows == expected
            values = sorted(value for value, _ in expected.values() if value is not None)
            assert sorted(log.purchases("a")["value"].drop_null().to_pylist()) == values
            assert log.kept_under("e1") == {"e1": 10.0}  # as it came
            live = fold_customer(log.customer_events("a"))
        assert build(home) == {event_id: value for event_id, (value, _) in expected.items()}
        states = pq.read_table(home.customer_state_path).sort_by(Columns.EVENT_TIMESTAMP)
        np.testing.assert_array_equal(live.scalars, decode(states.slice(states.num_rows - 1), None).scalars)
        parity = check_parity(home, customers=1, seed=1, progress=lambda _: None)
        assert (parity.customers, parity.different) == (1, 0)
        write_rates(home, RATES)


def test_a_rate_that_comes_while_the_log_is_open_counts_at_once(tmp_path: Path, home: Settings) -> None:  # noqa: F811
    bring(tmp_path, home, *ROWS)
    with closing(open_log(home)) as log:
        assert log.customer_events("a")["value"].null_count == 3
        write_rates(home, RATES)
        assert log.customer_events("a")["value"].null_count == 1
        write_rates(home, "nonsense")  # whoever ingests is told; a read goes on without
        assert log.customer_events("a")["value"].null_count == 3


def test_to_bring_it_again_changes_nothing_and_what_is_new_needs_a_rate(tmp_path: Path, home: Settings) -> None:  # noqa: F811
    bring(tmp_path, home, *ROWS)
    again = bring(tmp_path, home, *ROWS, ("n1", "12", 2.0, "CAD"), ("n2", "12", 2.0, "USD"))
    assert (again.appended, again.duplicates, again.conflicts, again.rejected) == (1, 6, 0, 1)
    assert "n1" in reasons(again) and "put a rate of CAD" in reasons(again)["n1"]
    write_rates(home, RATES)
    with_rates = bring(tmp_path, home, *ROWS, ("n1", "12", 2.0, "CAD"))
    assert (with_rates.appended, with_rates.duplicates, with_rates.conflicts) == (1, 6, 0)
    assert stored(home)["n1"] == (1.6, "USD")  # a home that knows what it counts in converts as it takes in
    assert logged(home) == {**COUNTED_BY_RATES, "n1": (1.6, "USD"), "n2": (2.0, "USD")}


def test_of_as_many_the_first_counts_and_one_that_has_a_rate_never(tmp_path: Path, home: Settings) -> None:  # noqa: F811
    write_rates(home, RATES)
    report = bring(tmp_path, home, ROWS[0], ROWS[2], ("x", "03", 3.0, "SEK"), ("y", "03", 4.0, "NOK"))
    assert (report.currency, report.uncounted, report.rejected) == ("SEK", {"NOK": 1}, 0)
    assert stored(home) == {"e1": (7.0, "SEK"), "e3": (4.0, "SEK"), "x": (3.0, "SEK"), "y": (4.0, "NOK")}


def test_a_stated_currency_refuses_as_before(tmp_path: Path, env: dict[str, str]) -> None:  # noqa: F811
    report = bring(tmp_path, Settings.from_env({**env, "OMNI_CURRENCY": "USD"}), *ROWS)
    assert (report.appended, report.rejected, report.uncounted) == (4, 2, {})
    assert sorted(reasons(report)) == ["e1", "e3"]


def test_a_broken_table_of_rates_settles_nothing(tmp_path: Path, home: Settings) -> None:  # noqa: F811
    write_rates(home, "nonsense")
    report = bring(tmp_path, home, *ROWS)
    assert (report.appended, report.rejected, report.currency) == (1, 5, None)
    assert "rates.csv, line 1" in reasons(report)["e1"]


def test_a_folder_is_one_load_however_it_is_read(
    tmp_path: Path,
    home: Settings,  # noqa: F811
) -> None:
    folder = tmp_path / "sales"
    folder.mkdir()
    for name, rows in (("1", ROWS[:1]), ("2", ROWS[1:])):
        events = [
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
        pq.write_table(pa.Table.from_pylist(events, schema=EVENT_SCHEMA), folder / f"{name}.parquet")
    seen = dry_run(str(folder), home)
    assert (seen.rejected, seen.events) == (0, 6)
    report = ingest(str(folder), home)
    assert (report.appended, report.currency, report.uncounted) == (6, "USD", {"CAD": 2})


def test_a_bulk_load_is_counted_from_its_segment(home: Settings) -> None:  # noqa: F811
    n = SEGMENT_MIN_ROWS
    table = pa.table(
        {
            "event_id": [f"e{i}" for i in range(n)],
            "occurred_at": pa.array([NOW] * n, pa.timestamp("us", "UTC")),
            "kind": ["purchase"] * n,
            "channel": ["web"] * n,
            "customer_id": [f"c{i % 50}" for i in range(n)],
            "value": [1.0] * n,
            "currency": ["CAD" if i % 4 == 0 else "USD" for i in range(n)],
        }
    )
    missing = [name for name in EVENT_SCHEMA.names if name not in table.column_names]
    for name in missing:
        table = table.append_column(name, pa.nulls(n, EVENT_SCHEMA.field(name).type))
    table = table.select(EVENT_SCHEMA.names).cast(EVENT_SCHEMA)
    with closing(open_log(home)) as log:
        screened = HomeCurrency(home, log).screen(table)
        assert screened.problems == {}
        log.append(screened.table)
        values = pa.chunked_array([chunk for batch in log.read() for chunk in batch["value"].chunks])
    assert (len(values), values.null_count) == (n, n // 4)


def http(event_id: str, value: float, currency: str) -> dict[str, Any]:
    return {
        "event_id": event_id,
        "occurred_at": "2024-05-12T10:00:00Z",
        "kind": "purchase",
        "channel": "web",
        "customer_id": "a",
        "value": value,
        "currency": currency,
    }


def test_a_first_batch_over_http_is_kept_whole_and_the_next_follows_the_rule(home: Settings) -> None:  # noqa: F811
    with closing(open_log(home)) as log:
        currency = HomeCurrency(home, log)
        first = [http("e1", 1.0, "CAD"), http("e2", 2.0, "USD"), http("e3", 3.0, "USD")]
        events, rejections = parse_few(first, NOW, currency)
        assert rejections == [] and currency.code == "USD"
        log.append(events)
        again = parse_few([*first, http("e4", 4.0, "CAD")], NOW, currency)[1]
        assert [(row.index, row.event_id) for row in again] == [(3, "e4")]
        values = {row["event_id"]: row["value"] for row in log.customer_events("a").to_pylist()}
    assert values == {"e1": None, "e2": 2.0, "e3": 3.0}
    assert stored(home) == {"e1": (1.0, "CAD"), "e2": (2.0, "USD"), "e3": (3.0, "USD")}


@given(
    st.lists(
        st.tuples(
            st.one_of(st.none(), st.integers(0, 10**6).map(lambda cents: cents / 100)),
            st.sampled_from([None, "USD", "CAD", "EUR"]),
            st.integers(0, 20),
        )
    )
)
def test_no_value_of_another_currency_is_ever_money_without_its_rate(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[float | None, str | None, int]]
) -> None:
    file = tmp_path_factory.getbasetemp() / "rates-of-cad.csv"
    file.write_text("date,currency,rate\n1970-01-11,CAD,0.5\n")
    table = pa.table(
        {
            "value": pa.array([row[0] for row in rows], pa.float64()),
            "currency": pa.array([row[1] for row in rows], pa.string()),
            "occurred_at": pa.array([row[2] * 86_400_000_000 for row in rows], pa.timestamp("us", "UTC")),
        }
    )
    for rates, worth in ((NO_RATES, 0.0), (RatesFile(file), 0.5)):
        counted = count_values(table, "USD", rates).to_pylist()
        for (value, currency, day), row in zip(rows, counted, strict=True):
            if value is None or currency in (None, "USD"):
                assert (row["value"], row["currency"]) == (value, currency)
            elif currency == "CAD" and day >= 10 and worth:
                assert (row["value"], row["currency"]) == (round(value * worth, 6), "USD")
            else:
                assert (row["value"], row["currency"]) == (None, currency)
