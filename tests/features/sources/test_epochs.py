"""Numbers since 1970 in files with and without a mapping: seconds, milli-, micro- and nanoseconds, and what is none of them."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from features.errors import InputError
from features.events.rules import Problem
from features.events.schema import validate_table
from features.sources.mapping import load_mapped
from features.sources.parsing import parse_moments
from features.sources.plain import load_plain

MOMENT = datetime(2024, 5, 1, 12, 30, 15, tzinfo=UTC)
SECONDS = 1_714_566_615
UNITS = {"epoch_s": 1, "epoch_ms": 10**3, "epoch_us": 10**6, "epoch_ns": 10**9}
MAPPING = '[columns]\noccurred_at = "occurred_at"\ncustomer_id = "customer_id"\n[constants]\nkind = "visit"\nchannel = "web"\n'


def write(folder: Path, ending: str, moments: pa.Array | list) -> Path:
    """A file of visits at these moments."""
    moments = pa.array(moments)
    table = pa.table(
        {
            "event_id": [f"e{row}" for row in range(len(moments))],
            "occurred_at": moments,
            "kind": ["visit"] * len(moments),
            "channel": ["web"] * len(moments),
            "customer_id": ["a"] * len(moments),
        }
    )
    file = folder / f"rows.{ending}"
    if ending == "parquet":
        pq.write_table(table, file)
        return file
    rows = table.to_pylist()
    if ending == "jsonl":
        file.write_text("\n".join(json.dumps(row) for row in rows))
    else:
        file.write_text("\n".join([",".join(table.column_names), *(",".join(map(str, row.values())) for row in rows)]))
    return file


def read(file: Path, mapping: str | None) -> tuple[list[datetime], list[str]]:
    """Moments of the good rows, and what is said of the others."""
    if mapping is None:
        batches = list(load_plain(file))
    else:
        (file.parent / "map.toml").write_text(mapping)
        batches = list(load_mapped(file, file.parent / "map.toml"))
    events = [row["occurred_at"] for batch in batches for row in batch.events.to_pylist()]
    rejected = [row for batch in batches if batch.rejected is not None for row in batch.rejected.to_pylist()]
    return events, [f"{row['field']} {row['reason']}" for row in rejected]


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
@pytest.mark.parametrize("scale", UNITS.values())
def test_the_unit_is_known_by_the_size(tmp_path: Path, scale: int, ending: str) -> None:
    file = write(tmp_path, ending, [SECONDS * scale, (SECONDS + 86_400) * scale])
    assert read(file, None) == ([MOMENT, MOMENT.replace(day=2)], [])


@pytest.mark.parametrize("mapping", [MAPPING, f'time_zone = "Europe/Berlin"\n{MAPPING}'])
@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
@pytest.mark.parametrize("unit", UNITS)
def test_under_a_mapping_a_number_needs_its_unit_said(tmp_path: Path, unit: str, ending: str, mapping: str) -> None:
    file = write(tmp_path, ending, [SECONDS * UNITS[unit], (SECONDS + 86_400) * UNITS[unit]])
    with pytest.raises(InputError, match=f'time_format.*"{unit}" fits them'):
        read(file, mapping)


@pytest.mark.parametrize(
    "moments",
    [
        pa.array([SECONDS], pa.int32()),
        pa.array([SECONDS * 10**9], pa.uint64()),
        pa.array([float(SECONDS)]),
        pa.array([SECONDS * 1e3]),
        pa.array([str(SECONDS)]).dictionary_encode(),
        pa.array([SECONDS * 1000]).cast(pa.decimal128(20, 0)),
    ],
    ids=lambda moments: str(moments.type),
)
def test_any_type_of_number_is_read(tmp_path: Path, moments: pa.Array) -> None:
    assert read(write(tmp_path, "parquet", moments), None) == ([MOMENT], [])


def test_fractions_of_a_second_are_kept(tmp_path: Path) -> None:
    moments, _ = read(write(tmp_path, "csv", [f"{SECONDS}.25", f"{SECONDS}123456", f"{SECONDS}123456789"]), None)
    assert [moment.microsecond for moment in moments] == [250_000, 123_456, 123_456]
    [exact], _ = read(write(tmp_path, "parquet", [SECONDS * 10**9 + 123_457_999]), None)
    assert exact.microsecond == 123_457  # as a float it would be off


@pytest.mark.parametrize(
    "number",
    [0, 12, 45_413, 20_240_501, 202_405_011_230, 20_240_501_123_015, 9_999_999_999, -SECONDS],
    ids=["zero", "counter", "days of a table program", "date", "minute", "second", "beyond 2200", "negative"],
)
def test_numbers_that_are_no_epoch_are_refused_and_never_1970(tmp_path: Path, number: int) -> None:
    events, [reason] = read(write(tmp_path, "parquet", [number]), None)
    assert events == []
    assert f"occurred_at is {number}, which is no number of seconds, milli-, micro- or nanoseconds since 1970" in reason
    assert "ISO 8601" in reason and "time_format" in reason


def test_missing_numbers_are_missing(tmp_path: Path) -> None:
    file = write(tmp_path, "parquet", [SECONDS, None])
    [batch] = load_plain(file)
    good, rejected = validate_table(batch.events)
    assert good["occurred_at"].to_pylist() == [MOMENT]
    assert rejected["reason"].to_pylist() == ["is missing: say when it happened."]


@pytest.mark.parametrize("ending", ["csv", "parquet"])
@pytest.mark.parametrize("unit", UNITS)
def test_a_stated_unit_is_taken_and_checked(tmp_path: Path, unit: str, ending: str) -> None:
    mapping = f'time_format = "{unit}"\n{MAPPING}'
    assert read(write(tmp_path, ending, [SECONDS * UNITS[unit]]), mapping) == ([MOMENT], [])
    for other in set(UNITS) - {unit}:
        with pytest.raises(InputError, match=f'as {unit} every time.*"{other}" fits them'):
            read(write(tmp_path, ending, [SECONDS * UNITS[other]]), mapping)


def test_dates_that_are_numbers_are_read_by_a_pattern(tmp_path: Path) -> None:
    mapping = f'time_format = "%Y%m%d"\ntime_zone = "UTC"\n{MAPPING}'
    assert read(write(tmp_path, "parquet", [20_240_501]), mapping) == ([datetime(2024, 5, 1, tzinfo=UTC)], [])


def test_a_table_in_hand_with_numbers_for_moments_is_refused_in_words() -> None:
    table = pa.table({"event_id": ["e"], "occurred_at": [SECONDS], "kind": ["visit"], "channel": ["web"]})
    with pytest.raises(InputError, match="'occurred_at' is of type int64"):
        validate_table(table)


@pytest.mark.parametrize(
    ("text", "time_format", "in_new_york", "without_zone"),
    [
        ("2024-01-22", None, "2024-01-22T05:00:00Z", "2024-01-22T00:00:00Z"),
        ("2024-01-22", "%Y-%m-%d", "2024-01-22T05:00:00Z", "2024-01-22T00:00:00Z"),
        ("2024-07", None, "2024-07-01T04:00:00Z", "2024-07-01T00:00:00Z"),
        ("22-01-2024", "%d-%m-%Y", "2024-01-22T05:00:00Z", None),
        ("01/22/2024 10-05", "%m/%d/%Y %H-%M", "2024-01-22T15:05:00Z", None),
        ("2024-01-22T10:00-05", None, "2024-01-22T15:00:00Z", "2024-01-22T15:00:00Z"),
        ("22.01.2024 10:00 +0100", "%d.%m.%Y %H:%M %z", "2024-01-22T09:00:00Z", "2024-01-22T09:00:00Z"),
        ("2024-01-22 10:00Z", "%Y-%m-%d %H:%MZ", "2024-01-22T10:00:00Z", "2024-01-22T10:00:00Z"),
    ],
)
def test_the_end_of_a_date_is_no_offset(
    text: str, time_format: str | None, in_new_york: str, without_zone: str | None
) -> None:
    for zone, expected in (("America/New_York", in_new_york), (None, without_zone)):
        problems: dict[int, Problem] = {}
        read = parse_moments("t", pa.chunked_array([[text]]), problems, zone, time_format)
        assert read.to_pylist() == [None if expected is None else datetime.fromisoformat(expected)]
        assert bool(problems) == (expected is None)
