"""Files as people keep them: what is read, what is left out and counted, and what is refused in a line."""

import gzip
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from features.errors import InputError
from training.benchmarks import report
from training.data import frames
from training.data.held_out import read_held_out

NOON = pd.Timestamp("2024-05-01T12:00:00Z")


@pytest.mark.parametrize(
    "column",
    [
        [1714564800],
        [1714564800000],
        [1714564800000000],
        [1714564800000000000],
        ["1714564800000"],
        [1714564800.0],
        ["2024-05-01T14:00:00+02:00"],
        [pd.Timestamp("2024-05-01T12:00:00")],
    ],
)
def test_a_moment_is_the_same_however_it_is_written(column: list[object]) -> None:
    assert frames.moments(pd.Series(column), "t").tolist() == [NOON]


def test_text_that_is_no_moment_is_shown() -> None:
    assert frames.moments(pd.Series(["2024-05-01T12:00:00Z", None]), "t").isna().tolist() == [False, True]
    with pytest.raises(InputError, match=r"t holds '01\.05\.2024'"):
        frames.moments(pd.Series(["2024-05-01", "01.05.2024"]), "t")


@pytest.mark.parametrize("number", [20240501, 45413.0, 1, -1714564800])
def test_a_number_that_is_no_moment_is_refused_and_not_one_of_1970(number: float) -> None:
    with pytest.raises(InputError, match=rf"t: row 2 is {number}, which is no number of seconds"):
        frames.moments(pd.Series([1714564800, number]), "t")


def test_each_number_has_its_own_unit() -> None:
    column = pd.Series([1714564800, 1714564800000, None], index=[7, 8, 9])
    assert frames.moments(column, "t").dropna().to_dict() == {7: NOON, 8: NOON}


def test_text_that_is_no_number_is_shown() -> None:
    assert frames.numbers(pd.Series(["12.50", " 3 "]), "v").tolist() == [12.5, 3.0]
    assert frames.numbers(pd.Series(["n/a", None, "1"]), "v").isna().tolist() == [True, True, False]
    with pytest.raises(InputError, match=r"v: row 2 holds '\$3'"):
        frames.numbers(pd.Series(["1", "$3"]), "v")


def test_decimal_commas_between_semicolons(tmp_path: Path) -> None:
    file = tmp_path / "log.csv"
    file.write_text("a;b;c\nx;12,50;1\ny;;2\nz;3,25;3\n", encoding="utf-8")
    table = frames.read_frame(file)
    assert table["b"].tolist()[::2] == [12.5, 3.25]
    assert table["c"].tolist() == [1, 2, 3]


def test_rows_of_nobody_are_left_out_and_the_same_event_counts_once() -> None:
    table = pd.DataFrame(
        {
            "user_id": [17850.0, np.nan, 17850.0, 17850.0, 12.0],
            "timestamp": [1714564800, 1714564800, 1714564800, None, 1714564801],
            "event_id": ["a", "b", "a", "c", "d"],
        }
    )
    assert report.timeline_of(table, Path("log.csv"))["customer_id"].to_pylist() == ["12", "17850"]


def test_events_without_an_id_are_told_apart_by_their_rows() -> None:
    table = pd.DataFrame({"customer_id": "a", "occurred_at": "2024-05-01", "event_id": ["x", None, None, "x"]})
    assert report.as_timeline(table)["event_id"].to_pylist() == ["row 1", "row 2", "x"]


def test_without_a_kind_what_is_negative_came_back() -> None:
    table = pd.DataFrame({"customer_id": ["a"] * 2, "occurred_at": ["2024-05-01", "2024-05-02"], "value": [5, -5]})
    rows = report.as_timeline(table).select(["kind", "value"]).to_pylist()
    assert rows == [{"kind": "purchase", "value": 5.0}, {"kind": "return", "value": 5.0}]
    with pytest.raises(InputError, match="kind holds 'order'"):
        report.as_timeline(table.assign(kind="order"))


def test_values_in_several_currencies_are_refused() -> None:
    table = pd.DataFrame(
        {"customer_id": "a", "occurred_at": "2024-05-01", "value": [5, 6, None], "currency": ["EUR", None, "USD"]}
    )
    assert report.as_timeline(table)["value"].to_pylist() == [5.0, 6.0, None]
    with pytest.raises(InputError, match=r"The values are in 2 currencies \(EUR, USD\)"):
        report.as_timeline(table.assign(value=1.0))


@pytest.mark.parametrize("name", ["rows.tsv", "rows.csv", "rows.csv.gz", "rows.jsonl"])
def test_interactions_are_read_from_any_text_file_and_by_either_name(tmp_path: Path, name: str) -> None:
    table = pd.DataFrame(
        {
            "customer_id": ["é", "b"] * 3,
            "product_id": [1, 2, 3, 4, 5, 6],
            "occurred_at": pd.date_range("2024-05-01", periods=6, tz="UTC")[::-1].strftime("%Y-%m-%dT%H:%M:%SZ"),
        }
    )
    if name.endswith(".jsonl"):
        table.to_json(tmp_path / name, orient="records", lines=True)
    else:
        text = table.to_csv(index=False, sep="\t" if name == "rows.tsv" else ",")
        content = text.encode("utf-8" if name.endswith("gz") else "latin-1")
        (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    held_out = read_held_out(tmp_path / name, "leave-one-out")
    users, _ = held_out.targets(0)
    assert len(users) == 2
    assert sorted(held_out.lines.item[held_out.left == 0].tolist()) == [1, 2]  # the file is newest first
