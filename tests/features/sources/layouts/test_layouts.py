"""Layouts of values as tools export them, each with the events that must come of it, or the refusal with what to mend."""

import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from features.errors import InputError
from features.ingest import ingest
from features.log.engines import open_log
from features.settings import Settings
from tests.features.sources.layouts.brought_files import SALE, WHO, bring, refusal, sale


@pytest.mark.parametrize(
    ("text", "pattern", "expected"),
    [
        ("2024-10-25", None, "2024-10-24T22:00:00Z"),
        ("14:30 25-10-2024", "%H:%M %d-%m-%Y", "2024-10-25T12:30:00Z"),
        ("2024-10-25 14:30 UTC", None, "2024-10-25T14:30:00Z"),
        ("2024-10-25 14:30 UTC", "%Y-%m-%d %H:%M %Z", "2024-10-25T14:30:00Z"),
        ("2024-10-25 14:30 EST", "%Y-%m-%d %H:%M %Z", "2024-10-25T19:30:00Z"),
        ("2024-10-25 14:30 CEST", "%Y-%m-%d %H:%M %Z", "2024-10-25T12:30:00Z"),
        ("14:30+0500 25-10-2024", "%H:%M%z %d-%m-%Y", "2024-10-25T09:30:00Z"),
    ],
)
def test_a_time_is_local_exactly_when_it_names_no_offset_and_no_zone(
    tmp_path: Path, text: str, pattern: str | None, expected: str
) -> None:
    mapping = (
        'time_zone = "Europe/Berlin"\n'
        + (f'time_format = "{pattern}"\n' if pattern else "")
        + 'event_id_from = ["no"]'
        + WHO
    )
    (tmp_path / "rows.csv").write_text(f"no,at,who\n1,{text},a\n")
    rows = [{"no": 2, "at": text, "who": "a"}]
    pq.write_table(
        pa.table({"no": [3], "at": pa.array([text]).dictionary_encode(), "who": ["a"]}), tmp_path / "rows.parquet"
    )
    pq.write_table(
        pa.table({"no": [4], "at": pa.array([text], pa.string_view()), "who": ["a"]}), tmp_path / "view.parquet"
    )
    bring(tmp_path, "rows.jsonl", rows, mapping)
    settings = Settings.from_env({"OMNI_HOME": str(tmp_path / "home")})
    for name in ("rows.csv", "rows.parquet", "view.parquet"):
        ingest(str(tmp_path / name), settings, mapping=tmp_path / "map.toml")
    log = open_log(settings)
    moments = [moment for batch in log.read() for moment in batch["occurred_at"].to_pylist()]
    log.close()
    assert moments == [datetime.fromisoformat(expected)] * 4


def test_a_quote_swallows_no_rows(tmp_path: Path) -> None:
    text = 'no\tat\twho\tq\n1\t2025-01-01\ta\tx\n2\t2025-01-02\ta\t"red mug\n3\t2025-01-03\tb\ty\n'
    mapping = 'event_id_from = ["no"]' + WHO + '[properties]\nterm = "q"\n'
    said = refusal(tmp_path, "log.tsv", text, mapping)
    assert "row 1" in said and "red mug" in said and 'quoting = "none"' in said
    report, events = bring(tmp_path, "log.tsv", text, 'quoting = "none"\n' + mapping)
    assert (report.appended, events["2"]["properties"]) == (3, '{"term":"\\"red mug"}')
    notes = text.replace('"red mug\n3', '"red\nmug"\n3')
    report, events = bring(tmp_path, "notes.tsv", notes, f'multiline = true\nevent_id_prefix = "n:"\n{mapping}')
    assert (report.appended, json.loads(events["n:2"]["properties"])) == (3, {"term": "red\nmug"})


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_a_missing_value_is_missing_whatever_its_type(tmp_path: Path, kind: str) -> None:
    mapping = 'missing = ["", "0"]\nevent_id_from = ["no"]' + WHO + '[identifiers]\nemail = "mail"\n'
    rows = [{"no": n, "at": "2025-01-01T00:00:00Z", "who": n % 2 * 7, "mail": f"g{n}@example.org"} for n in range(2, 6)]
    if kind == "parquet":
        (tmp_path / "map.toml").write_text(mapping)
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / "rows.parquet")
        settings = Settings.from_env({"OMNI_HOME": str(tmp_path / "home")})
        ingest(str(tmp_path / "rows.parquet"), settings, mapping=tmp_path / "map.toml")
        log = open_log(settings)
        found = [value for batch in log.read() for value in batch["customer_id"].to_pylist()]
        log.close()
    else:
        lines = ["no,at,who,mail", *(",".join(map(str, row.values())) for row in rows)]
        _, events = bring(tmp_path, f"rows.{kind}", "\n".join(lines) if kind == "csv" else rows, mapping)
        found = [row["customer_id"] for row in events.values()]
    assert found == [None, "7", None, "7"]


@pytest.mark.parametrize("word", ["NA", "(not set)", "\\N", "<NA>", "null"])
def test_words_for_nothing_are_no_customer(tmp_path: Path, word: str) -> None:
    report, _ = bring(tmp_path, "rows.csv", f"no,at,who\n1,2025-01-01,{word}\n", 'event_id_from = ["no"]' + WHO)
    assert report.rejected_by_field == {"customer_id": 1}


def test_whole_numbers_are_one_customer_in_every_file(tmp_path: Path) -> None:
    nan = float("nan")
    columns = {"no": [1, 2, 3], "at": ["2025-01-01"] * 3, "who": [12345678901.0, nan, 10000000000.0]}
    pq.write_table(pa.table(columns), tmp_path / "f.parquet")
    mapping = 'event_id_from = ["no"]' + WHO
    rows = [{"no": 4, "at": "2025-01-01", "who": "12345678901"}, {"no": 5, "at": "2025-01-01", "who": 12345678901.0}]
    bring(tmp_path, "a.jsonl", rows, mapping)
    settings = Settings.from_env({"OMNI_HOME": str(tmp_path / "home")})
    report = ingest(str(tmp_path / "f.parquet"), settings, mapping=tmp_path / "map.toml")
    _, events = bring(tmp_path, "a.csv", "no,at,who\n6,2025-01-01,12345678901.0\n", mapping)
    assert report.rejected_by_field == {"customer_id": 1}  # NaN is nobody
    assert {no: row["customer_id"] for no, row in events.items()} == {
        "1": "12345678901", "3": "10000000000", "4": "12345678901", "5": "12345678901", "6": "12345678901",
    }  # fmt: skip


def test_a_fraction_is_no_id(tmp_path: Path) -> None:
    rows = [{"no": 1, "at": "2025-01-01", "who": 12.5}, {"no": 2, "at": "2025-01-01", "who": 12}]
    report, events = bring(tmp_path, "a.jsonl", rows, 'event_id_from = ["no"]' + WHO)
    assert (report.rejected, events["2"]["customer_id"]) == (1, "12")


@pytest.mark.parametrize(
    ("row", "key", "words"),
    [
        ({"user": {"mail": "a@example.org"}}, "user.male", "user.mail"),
        ({"who": {"string": "a"}}, "who", "who.string"),
        ({"who": ["a", "b"]}, "who", "who[0]"),
    ],
)
def test_a_path_that_cannot_be_an_id_is_refused_with_the_way_on(
    tmp_path: Path, row: dict[str, Any], key: str, words: str
) -> None:
    mapping = WHO.replace('"who"', f'"{key}"')
    assert words in refusal(tmp_path, "a.jsonl", [{"at": "2025-01-01T00:00:00Z", **row}], mapping)


def test_values_are_picked_by_place_by_key_and_by_a_name_with_a_dot(tmp_path: Path) -> None:
    row = {
        "no": 1, "at": "2025-01-01T00:00:00Z", "ids": [{"type": "web", "id": "w"}, {"type": "crm", "id": "007"}],
        "items": [{"sku": "tea"}, {"sku": "pot"}], "m": {"a.b": "c1"},
    }  # fmt: skip
    mapping = """
event_id_from = ["no"]
[columns]
occurred_at = {first_of = ["sent", "at"]}
customer_id = "ids[type=crm].id"
product_id = "items[-1].sku"
campaign_id = 'm."a.b"'
session_id = {column = "visit.no", optional = true}
[constants]
kind = "view"
channel = "web"
"""
    _, events = bring(tmp_path, "a.jsonl", [{**row, "sent": None}], mapping)
    named = ("customer_id", "product_id", "campaign_id", "session_id")
    assert [events["1"][name] for name in named] == ["007", "pot", "c1", None]


def test_rows_that_share_an_id_and_differ_refuse_the_file(tmp_path: Path) -> None:
    rows = [sale("R-1"), sale("R-2"), sale("R-2", paid=4)]
    said = refusal(tmp_path, "a.jsonl", rows, SALE)
    assert "event_id_from" in said and "'R-2'" in said
    assert "event_id_from" in refusal(tmp_path, "a.jsonl", [sale("R-1"), sale("R-1", note="other")], SALE)
    report, events = bring(tmp_path, "a.jsonl", rows, f'duplicates = "first"\n{SALE}')
    assert (report.appended, report.duplicates, events["R-2"]["value"]) == (2, 1, 5.0)


def test_rows_that_are_equal_count_once(tmp_path: Path) -> None:
    report, _ = bring(tmp_path, "a.jsonl", [sale("R-1"), sale("R-1"), sale("R-2")], SALE)
    assert (report.appended, report.duplicates) == (2, 1)


def test_a_blank_part_of_an_id_is_named(tmp_path: Path) -> None:
    report, _ = bring(tmp_path, "a.csv", "no,at,who,sku,paid\n,2025-01-01,a,b,1\n", SALE)
    assert report.rejected_by_field == {"no": 1}


def test_what_happened_stands_in_two_columns_and_what_is_not_wanted_is_counted(tmp_path: Path) -> None:
    mapping = """
event_id_from = ["no"]
kind_from = ["type", "event"]
[columns]
occurred_at = "at"
customer_id = "who"
[constants]
channel = "web"
[kinds]
"page/*" = "visit"
"track/Asked" = "chat"
"*" = "call"
[skip]
kind = ["track/Wobbled", "ping/*"]
"""
    words = [("page", None), ("page", "Home"), ("track", "Asked"), ("track", "Wobbled"), ("ping", None), ("ring", None)]
    rows = [
        {"no": n, "at": "2025-01-01T00:00:00Z", "who": "a", "type": t, "event": e} for n, (t, e) in enumerate(words)
    ]
    report, events = bring(tmp_path, "a.jsonl", rows, mapping)
    assert [events[str(n)]["kind"] for n in (0, 1, 2, 5)] == ["visit", "visit", "chat", "call"]
    assert (report.skipped_by_word, report.rejected) == ({"track/Wobbled": 1, "ping": 1}, 0)


def test_consents_and_typed_properties(tmp_path: Path) -> None:
    mapping = (
        SALE
        + """
[properties]
stars = {column = "stars", type = "number"}
gift = {column = "gift", type = "boolean"}
tags = {column = "tags", type = "json"}
[consent]
email = {column = "mails", yes = ["ok"], no = ["stop"]}
profiling = "profile"
"""
    )
    rows = [
        sale("1", stars="4.5", gift="yes", tags=["a"], mails="ok", profile=False),
        sale("2", stars=None, gift=None, tags=None, mails=None, profile=None),
        sale("3", stars=1, gift=True, tags=None, mails="maybe", profile=None),
    ]
    report, events = bring(tmp_path, "a.jsonl", rows, mapping)
    assert json.loads(events["1"]["properties"]) == {"stars": 4.5, "gift": True, "tags": ["a"]}
    assert (events["1:profile"]["kind"], json.loads(events["1:profile"]["properties"])) == (
        "profile",
        {"consent": {"email": True}, "profiling": False},
    )
    assert (sorted(events), events["2"]["properties"]) == (["1", "1:profile", "2"], None)
    assert report.rejected_by_field == {"consent.email": 1}


def test_names_that_a_file_without_a_header_cannot_have_lead_to_the_key_that_names_them(tmp_path: Path) -> None:
    said = refusal(tmp_path, "a.tsv", "7\t2025-01-01T10:00:00Z\tk\n8\t2025-01-02T10:00:00Z\tl\n", WHO)
    assert "header = [" in said


def test_a_header_that_is_data_is_told_and_can_be_named(tmp_path: Path) -> None:
    rows = "17,2025-10-01T11:22:33Z,a\n18,2025-10-02T11:22:33Z,b\n"
    wrong = 'event_id_from = ["17"]' + WHO.replace('"at"', '"2025-10-01T11:22:33Z"').replace('"who"', '"a"')
    assert "header" in refusal(tmp_path, "a.csv", rows, wrong)
    report, _ = bring(tmp_path, "a.csv", rows, 'header = ["no", "at", "who"]\nevent_id_from = ["no"]' + WHO)
    assert report.appended == 2


def test_columns_without_a_name_do_no_harm(tmp_path: Path) -> None:
    report, _ = bring(tmp_path, "a.csv", ",no,at,,who,x,x\n0,1,2025-01-01,,a,1,2\n", 'event_id_from = ["no"]' + WHO)
    assert report.appended == 1
    said = refusal_of_a_second(tmp_path, ",no,at,,who,who\n0,1,2025-01-01,,a,b\n")
    assert "two columns named 'who'" in said


def refusal_of_a_second(folder: Path, text: str) -> str:
    with pytest.raises(InputError) as caught:
        bring(folder, "b.csv", text, 'event_id_from = ["no"]' + WHO)
    return str(caught.value)


def test_moments_of_other_ages_are_shown_as_they_are_written(tmp_path: Path) -> None:
    old = pa.array(["9999-12-31", "2025-01-01"]).cast(pa.timestamp("us"))
    table = pa.table({"no": [1, 2], "at": old, "who": ["a", "b"], "until": old})
    pq.write_table(table, tmp_path / "a.parquet", use_deprecated_int96_timestamps=True)
    (tmp_path / "map.toml").write_text(
        'time_zone = "UTC"\nevent_id_from = ["no"]' + WHO + '[properties]\nuntil = "until"\n'
    )
    settings = Settings.from_env({"OMNI_HOME": str(tmp_path / "home")})
    report = ingest(str(tmp_path / "a.parquet"), settings, mapping=tmp_path / "map.toml")
    [rejected] = pq.read_table(report.rejected_path).to_pylist()
    assert "9999-12-31" in rejected["reason"] and report.appended == 1


def test_a_status_that_changed_is_warned_of_where_the_row_names_itself(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    mapping = SALE.replace('event_id_from = ["no"]', "")
    rows = [sale(str(n), status="open") for n in range(5)]
    bring(tmp_path, "a.jsonl", rows, mapping)
    with caplog.at_level("WARNING"):
        bring(tmp_path, "b.jsonl", [{**row, "status": "sent"} for row in rows], mapping)
    assert "counts twice" in caplog.text


def test_a_decimal_of_money_in_cents_is_scaled(tmp_path: Path) -> None:
    pq.write_table(
        pa.table({key: [value] for key, value in sale("1", paid=Decimal("1999")).items()}), tmp_path / "a.parquet"
    )
    (tmp_path / "map.toml").write_text("scale = 0.01\n" + SALE)
    settings = Settings.from_env({"OMNI_HOME": str(tmp_path / "home")})
    ingest(str(tmp_path / "a.parquet"), settings, mapping=tmp_path / "map.toml")
    log = open_log(settings)
    [batch] = list(log.read())
    log.close()
    assert (batch["value"].to_pylist(), batch["occurred_at"].to_pylist()) == (
        [19.99],
        [datetime(2025, 2, 1, 10, tzinfo=UTC)],
    )
