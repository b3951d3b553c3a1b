import gzip
import json
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from features.errors import InputError
from features.ingest import ingest
from features.log.engines import open_log
from features.settings import Settings
from features.sources.mapping import load_mapped, read_mapping

DATA = Path(__file__).parent / "data"
MINIMAL = """
[columns]
occurred_at = "when"
customer_id = "who"
product_id = "what"
quantity = "n"
value = "paid"
[constants]
kind = "purchase"
channel = "web"
"""


def settings_in(folder: Path) -> Settings:
    return Settings.from_env({"OMNI_HOME": str(folder / "home")})


def load_text(tmp_path: Path, text: str, mapping: str = MINIMAL) -> tuple[list[dict], list[dict]]:
    """Events and rejected rows of a little CSV file under a mapping."""
    file, toml = tmp_path / "rows.csv", tmp_path / "mapping.toml"
    file.write_text(text, encoding="utf-8")
    toml.write_text(mapping, encoding="utf-8")
    events, rejected = [], []
    for batch in load_mapped(file, toml):
        events += batch.events.to_pylist()
        rejected += [] if batch.rejected is None else batch.rejected.to_pylist()
    return events, rejected


def test_a_messy_shop_export_is_kept_or_refused_row_by_row(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    report = ingest(str(DATA / "shop.csv"), settings, mapping=DATA / "shop.toml")

    assert (report.rows, report.appended, report.duplicates, report.rejected) == (12, 4, 1, 7)
    log = open_log(settings)
    events = {row["event_id"]: row for batch in log.read() for row in batch.to_pylist()}
    log.close()
    # the clocks went back in the night of 27 October 2024: 02:30 happened twice, the first time at 00:30 UTC
    assert events["shop:1001:1"]["occurred_at"] == datetime(2024, 10, 27, 0, 30, tzinfo=UTC)
    assert events["shop:1001:1"]["value"] == 25.0
    assert events["shop:1001:2"]["value"] == 1249.0
    assert events["shop:1001:2"]["currency"] == "EUR"
    back = events["shop:1002:1"]
    assert (back["kind"], back["quantity"], back["value"]) == ("return", 1.0, 12.5)
    assert (back["channel"], back["resolved_customer_id"]) == ("store", "anon:loyalty_card:C-77")
    assert dict(events["shop:1004:1"]["identifiers"]) == {"email": "ana@example.org"}

    rejected = pq.read_table(report.rejected_path).sort_by("index").to_pylist()
    found = [(row["index"], row["field"]) for row in rejected]
    assert found == [
        (4, "occurred_at"),  # 02:30 on 31 March did not happen
        (6, "customer_id"),  # blank and NULL
        (7, "unit_price"),  # 12.50 where . marks thousands
        (8, "kind"),  # a word that the mapping does not explain
        (9, "occurred_at"),  # no time of day
        (10, "Bezeichnung"),  # cp1252 bytes in a utf-8 file
        (11, "row"),  # a field too many
    ]
    assert "the clocks went forward" in rejected[0]["reason"]
    assert 'thousands = "."' in rejected[2]["reason"]
    assert "[kinds]" in rejected[3]["reason"]
    assert 'encoding = "cp1252"' in rejected[5]["reason"]
    assert "1010" in rejected[6]["source_row"]

    products = {row["product_id"]: row for row in pq.read_table(settings.products_path).to_pylist()}
    assert products["A-2"]["name"] == "Mühle"


def test_ingesting_again_changes_nothing(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    first = ingest(str(DATA / "shop.csv"), settings, mapping=DATA / "shop.toml")
    log = open_log(settings)
    before = log.fingerprint()
    second = ingest(str(DATA / "shop.csv"), settings, mapping=DATA / "shop.toml")
    assert (second.appended, second.duplicates, second.rejected) == (0, 5, 7)
    assert (log.count(), log.fingerprint()) == (4, before)
    assert second.rejected_path == first.rejected_path
    log.close()


@pytest.mark.parametrize(
    ("ambiguous", "expected"),
    [("first", datetime(2024, 11, 3, 5, 30, tzinfo=UTC)), ("reject", None)],
)
def test_an_hour_that_happens_twice(tmp_path: Path, ambiguous: str, expected: datetime | None) -> None:
    mapping = f'time_zone = "America/New_York"\nambiguous = "{ambiguous}"\n{MINIMAL}'
    events, rejected = load_text(tmp_path, "when,who,what,n,paid\n2024-11-03T01:30:00,a,p,1,2\n", mapping)
    assert [event["occurred_at"] for event in events] == ([expected] if expected else [])
    assert [("happened twice" in row["reason"]) for row in rejected] == ([] if expected else [True])


def test_an_offset_in_the_text_wins_over_the_zone(tmp_path: Path) -> None:
    text = "when,who,what,n,paid\n2024-07-01T12:00:00Z,a,p,1,2\n2024-07-01 12:00,b,p,1,2\n2024-07-01T12:00:00-0500,c,p,1,2\n"
    events, _ = load_text(tmp_path, text, f'time_zone = "Europe/Berlin"\n{MINIMAL}')
    assert [event["occurred_at"].astimezone(UTC).hour for event in events] == [12, 10, 17]


def test_a_local_time_without_a_zone_is_refused_with_the_key_to_set(tmp_path: Path) -> None:
    events, rejected = load_text(tmp_path, "when,who,what,n,paid\n2024-07-01 12:00,b,p,1,2\n")
    assert events == []
    assert "set time_zone" in rejected[0]["reason"]


def test_epochs_are_read_in_the_stated_unit(tmp_path: Path) -> None:
    events, _ = load_text(
        tmp_path, "when,who,what,n,paid\n1719835200000,a,p,1,2\n", f'time_format = "epoch_ms"\n{MINIMAL}'
    )
    assert events[0]["occurred_at"] == datetime(2024, 7, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "decimal", "thousands", "value"),
    [
        ("1.234,50", ",", ".", 1234.5),
        ("1,234.50", ".", ",", 1234.5),
        ("1'234.50", ".", "'", 1234.5),
        ("€ 12.50", ".", "", 12.5),
        (" 7 ", ".", "", 7.0),
        ("1e3", ".", "", 1000.0),
        ("1,234.50", ".", "", None),
        ("12.50", ",", ".", None),
        ("1.23.456", ",", ".", None),
        ("twelve", ".", "", None),
    ],
)
def test_numbers_as_people_write_them(
    tmp_path: Path, text: str, decimal: str, thousands: str, value: float | None
) -> None:
    mapping = f'delimiter = ";"\ndecimal = "{decimal}"\nthousands = "{thousands}"\n{MINIMAL}'
    events, rejected = load_text(tmp_path, f"when;who;what;n;paid\n2024-07-01T12:00:00Z;a;p;1;{text}\n", mapping)
    assert [event["value"] for event in events] == ([] if value is None else [value])
    assert [row["field"] for row in rejected] == (["value"] if value is None else [])


def test_negative_quantities_can_be_refused(tmp_path: Path) -> None:
    text = "when,who,what,n,paid\n2024-07-01T12:00:00Z,a,p,-2,-9\n"
    events, _ = load_text(tmp_path, text)
    assert [(event["kind"], event["quantity"], event["value"]) for event in events] == [("return", 2.0, 9.0)]
    events, _ = load_text(tmp_path, text, f'negative_quantity = "reject"\n{MINIMAL}')
    assert [(event["kind"], event["quantity"]) for event in events] == [("purchase", -2.0)]  # the rules refuse it


@pytest.mark.parametrize(("duplicates", "distinct"), [("drop", 1), ("keep", 2)])
def test_rows_with_nothing_to_tell_them_apart(tmp_path: Path, duplicates: str, distinct: int) -> None:
    row = "2024-07-01T12:00:00Z,a,p,1,2\n"
    text = "when,who,what,n,paid\n" + row + row
    events, _ = load_text(tmp_path, text, f'duplicates = "{duplicates}"\n{MINIMAL}')
    again, _ = load_text(tmp_path, text, f'duplicates = "{duplicates}"\n{MINIMAL}')
    assert len({event["event_id"] for event in events}) == distinct
    assert [event["event_id"] for event in again] == [event["event_id"] for event in events]


def test_parquet_and_jsonl_give_the_same_events_as_csv(tmp_path: Path) -> None:
    (tmp_path / "mapping.toml").write_text(f'event_id_from = ["who", "what"]\n{MINIMAL}', encoding="utf-8")
    (tmp_path / "rows.csv").write_text("when,who,what,n,paid\n2024-07-01T12:00:00Z,17,p,1,2.5\n", encoding="utf-8")
    (tmp_path / "rows.jsonl").write_text(
        '{"when": "2024-07-01T12:00:00Z", "who": 17, "what": "p", "n": 1, "paid": 2.5}\n', encoding="utf-8"
    )
    table = {"when": [datetime(2024, 7, 1, 12, tzinfo=UTC)], "who": [17.0], "what": ["p"], "n": [1], "paid": [2.5]}
    pq.write_table(pa.table(table), tmp_path / "rows.parquet")
    csv, jsonl, parquet = (
        [batch.events.to_pylist() for batch in load_mapped(tmp_path / f"rows.{end}", tmp_path / "mapping.toml")]
        for end in ("csv", "jsonl", "parquet")
    )
    assert csv == jsonl == parquet
    assert (csv[0][0]["customer_id"], csv[0][0]["event_id"]) == ("17", "17:p")


@pytest.mark.parametrize(
    ("mapping", "words"),
    [
        ("[columns]\nocurred_at = 'x'", "columns.ocurred_at"),
        ("colour = 1\n" + MINIMAL, "colour"),
        ("time_zone = 'Europe/Berln'\n" + MINIMAL, "Europe/Berln"),
        (MINIMAL.replace('"purchase"', '"bought"'), "constants.kind is 'bought'"),
        ("decimal = ','\nthousands = ','\n" + MINIMAL, "must differ"),
        ("[columns", "not TOML"),
        ("[columns]\noccurred_at = 'x'\n[constants]\nkind = 'view'\nchannel = 'web'", "say who"),
    ],
)
def test_a_wrong_mapping_names_the_key(tmp_path: Path, mapping: str, words: str) -> None:
    (tmp_path / "mapping.toml").write_text(mapping, encoding="utf-8")
    with pytest.raises(InputError) as caught:
        read_mapping(tmp_path / "mapping.toml")
    assert words in str(caught.value)


def test_a_column_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no column 'who'"):
        load_text(tmp_path, "when,customer,what,n,paid\n2024-07-01T12:00:00Z,a,p,1,2\n")


NESTED = """
time_format = "epoch_ms"
[columns]
occurred_at = "ts"
kind = "ev"
customer_id = "user.id"
product_id = "product"
value = "paid"
[identifiers]
device = "user.device.id"
[constants]
channel = "app"
[kinds]
buy = "purchase"
"""


def load_lines(file: Path, mapping: str = NESTED) -> list[dict]:
    """Events of a file whose rows are all good."""
    toml = file.with_name("mapping.toml")
    toml.write_text(mapping, encoding="utf-8")
    batches = list(load_mapped(file, toml))
    assert not any(batch.rejected.num_rows for batch in batches if batch.rejected is not None)
    return [event for batch in batches for event in batch.events.to_pylist()]


def test_values_inside_objects_are_named_with_dots_in_jsonl_and_parquet_alike(tmp_path: Path) -> None:
    rows = [
        {"ts": 1714521600000, "ev": "view", "user": {"id": 7, "device": {"id": "d1"}}, "product": "a"},
        {"ts": 1714521601000, "ev": "buy", "user": {"id": 8, "device": None}, "product": "a", "paid": 5.5},
    ]
    lines = tmp_path / "rows.jsonl.gz"
    lines.write_bytes(gzip.compress("\n".join(map(json.dumps, rows)).encode()))
    pq.write_table(pa.Table.from_pylist([{**row, "paid": row.get("paid")} for row in rows]), tmp_path / "rows.parquet")

    for file in (lines, tmp_path / "rows.parquet"):
        view, buy = load_lines(file)
        assert (view["customer_id"], view["identifiers"], view["value"]) == ("7", [("device", "d1")], None)
        assert (buy["customer_id"], buy["identifiers"], buy["value"]) == ("8", None, 5.5)


def test_a_key_that_only_late_lines_have_is_no_wrong_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("features.sources.readers.json_text.BATCH_ROWS", 2)
    row = {"ts": 1714521600000, "ev": "view", "user": {"id": 1, "device": {"id": "d"}}, "product": "a"}
    file = tmp_path / "rows.jsonl"
    file.write_text("\n".join(json.dumps({**row, "ts": row["ts"] + i}) for i in range(4)), encoding="utf-8")
    with pytest.raises(InputError, match="no column 'paid'"):
        load_lines(file)

    with file.open("a", encoding="utf-8") as stream:
        stream.write("\n" + json.dumps({**row, "ev": "buy", "paid": 2.0}))
    assert [event["value"] for event in load_lines(file)] == [None, None, None, None, 2.0]


def test_columns_that_the_mapping_does_not_read_may_be_of_any_type(tmp_path: Path) -> None:
    table = pa.table(
        {
            "when": pa.array([datetime(2024, 5, 1, tzinfo=UTC)] * 2),
            "who": pa.array(["a", "b"]).dictionary_encode(),
            "what": pa.array([12.0, 13.0]),
            "n": pa.array([1, 2]),
            "paid": pa.array([1.5, 2.5]),
            "tags": pa.array([["x"], None]),
            "raw": pa.array([b"\xff", b"ok"]),
            "took": pa.array([1, 2], pa.duration("s")),
        }
    )
    pq.write_table(table, tmp_path / "rows.parquet")
    events = load_lines(tmp_path / "rows.parquet", MINIMAL)
    assert [(event["customer_id"], event["product_id"], event["value"]) for event in events] == [
        ("a", "12", 1.5),
        ("b", "13", 2.5),
    ]
    assert len({event["event_id"] for event in events}) == 2


def test_half_a_gzip_file_is_refused_in_a_line(tmp_path: Path) -> None:
    file = tmp_path / "rows.csv.gz"
    whole = gzip.compress(("when,who,what,n,paid\n" + "2024-05-01T00:00:00Z,a,b,1,1.0\n" * 500).encode())
    file.write_bytes(whole[:-20])
    with pytest.raises(InputError, match="no whole gzip file"):
        load_lines(file, MINIMAL)


def test_equal_rows_that_count_once_are_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file, toml = tmp_path / "rows.csv", tmp_path / "mapping.toml"
    row = "2024-05-01T00:00:00Z,a,b,1,1\n"
    file.write_text("when,who,what,n,paid\n" + row + row)
    toml.write_text(MINIMAL)
    with caplog.at_level("WARNING"):
        assert ingest(str(file), settings_in(tmp_path), mapping=toml).duplicates == 1
    assert "1 rows are in the log already or equal another row" in caplog.text
    caplog.clear()
    with caplog.at_level("WARNING"):
        assert ingest(str(file), settings_in(tmp_path), mapping=toml).appended == 0  # the same file again is no news
    assert not caplog.text
