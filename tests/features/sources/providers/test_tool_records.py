"""Files of other tools' records: as lines, as a list, as Avro that says in its folder what happened."""

import json
from pathlib import Path
from typing import Any

import fastavro
import pytest

from features.errors import InputError
from features.sources.batch import SourceBatch
from features.sources.providers import tool_records

AT = "2025-02-03T10:00:00Z"
PAGE = {"type": "page", "messageId": "m1", "timestamp": AT, "anonymousId": "a1"}


def load(name: str, path: Path, sample: float | None = None) -> list[SourceBatch]:
    return list(tool_records.load(name, str(path), sample))


def write_avro(file: Path, schema_name: str, **record: Any) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    fields = [
        {"name": "id", "type": "string"},
        {"name": "time", "type": "int"},
        {"name": "external_user_id", "type": "string"},
    ]
    schema = {"type": "record", "name": schema_name, "fields": fields}
    with file.open("wb") as stream:
        fastavro.writer(stream, schema, [{"id": "b1", "time": 1_738_576_800, "external_user_id": "u1", **record}])


def test_rows_are_events_skipped_or_rejected(tmp_path: Path) -> None:
    file = tmp_path / "calls.jsonl"
    unknown = {**PAGE, "type": "track", "event": "Lamp Rubbed"}
    file.write_text("\n".join(json.dumps(call) for call in (PAGE, unknown, {**PAGE, "timestamp": "noon"})))
    (batch,) = load("segment", file)
    assert [event["kind"] for event in batch.events.to_pylist()] == ["visit"]
    assert dict(batch.skipped) == {"Lamp Rubbed": 1}
    assert batch.rejected is not None
    assert batch.rejected["field"].to_pylist() == ["timestamp"]
    assert json.loads(batch.rejected["source_row"][0].as_py())["messageId"] == "m1"
    assert (batch.rows_total, batch.row_numbers.tolist()) == (3, [0])  # type: ignore[union-attr]


def test_a_list_of_envelopes_is_read_as_well(tmp_path: Path) -> None:
    file = tmp_path / "hooks.json"
    data = {"event": "opened", "recipient": "a@example.org", "timestamp": 1_738_576_800.25, "id": "g1"}
    file.write_text(json.dumps([{"signature": {}, "event-data": data}], indent=1))
    (batch,) = load("messages", file)
    (event,) = batch.events.to_pylist()
    assert (event["event_id"], event["kind"], event["occurred_at"].microsecond) == ("g1", "open", 250_000)


@pytest.mark.parametrize(
    "place", ["event_type=users.messages.email.Open/part.avro", "users.messages.email.Open/part.avro"]
)
def test_the_folder_of_an_avro_file_says_what_happened(tmp_path: Path, place: str) -> None:
    write_avro(tmp_path / place, "row")
    assert load("messages", tmp_path)[0].events["kind"].to_pylist() == ["open"]


def test_or_its_schema_does(tmp_path: Path) -> None:
    write_avro(tmp_path / "part.avro", "users.messages.sms.Delivery")
    assert load("messages", tmp_path / "part.avro")[0].events["channel"].to_pylist() == ["sms"]


def test_a_sample_keeps_whole_customers(tmp_path: Path) -> None:
    file = tmp_path / "calls.jsonl"
    calls = [{**PAGE, "messageId": f"m{n}", "userId": f"u{n % 50}"} for n in range(200)]
    file.write_text("\n".join(json.dumps(call) for call in calls))
    kept = load("segment", file, 0.3)[0].events["customer_id"].to_pylist()
    assert 0 < len(kept) < 200
    assert all(kept.count(name) == 4 for name in set(kept))


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text('{"order": 1}\n')
    with pytest.raises(InputError, match="webhooks of SendGrid"):
        load("messages", file)
