"""What need not be done again."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from features.build import build_features
from features.checks.doctor import Status, check_features, check_online
from features.events.schema import events_to_table, parse_events
from features.ingest import is_ingested, note_ingested
from features.log.engines import open_log
from features.offline import build_note
from features.offline.build_note import events_since_build, places, read_note
from features.offline.timeline import read_timeline
from features.online.redis import connect


def append(settings, *kinds):
    log = open_log(settings)
    start = log.last_seq()
    items = [
        {
            "event_id": f"e{start + n}",
            "occurred_at": f"2018-01-01T00:00:{(start + n) % 60:02d}Z",
            "kind": kind,
            "channel": "store",
            "customer_id": "1",
            "product_id": "p",
            "quantity": 1,
            "value": 2.0,
            "currency": "USD",
        }
        if kind == "purchase"
        else {
            "event_id": f"e{start + n}",
            "occurred_at": "2018-01-01T01:00:00Z",
            "kind": kind,
            "channel": "web",
            "customer_id": "1",
            "decision_id": f"d{start + n}",
        }
        for n, kind in enumerate(kinds)
    ]
    events, rejected = parse_events(items, datetime(2018, 1, 2, tzinfo=UTC))
    assert rejected == []
    log.append(events_to_table(events))
    log.close()


def test_decisions_do_not_make_a_build_stale_and_behaviour_does(settings):
    append(settings, "purchase", "purchase")
    assert events_since_build(settings) is None

    build_features(settings, lambda _: None)
    assert events_since_build(settings) == 0

    append(settings, "decision")
    assert events_since_build(settings) == 0

    # The report and what is learned from decisions read them in the timeline, so a build brings it level, and nothing else.
    states = settings.customer_state_path.stat().st_mtime_ns
    for broken_off in (True, False):
        with pytest.MonkeyPatch.context() as patch:
            if broken_off:
                patch.setattr("features.build.write_note", lambda *_: None)
            report = build_features(settings, lambda _: None)
        assert (report.rebuilt, report.events, report.customers, report.state_rows) == (False, 3, 1, 2)
        timeline = read_timeline(settings)
        assert timeline["event_id"].to_pylist() == ["e0", "e1", "e2"]
        assert timeline["kind"].to_pylist() == ["purchase", "purchase", "decision"]
    assert settings.customer_state_path.stat().st_mtime_ns == states
    note = read_note(settings)
    assert note is not None
    assert (note.last_seq, note.events, note.last_event_at) == (3, 3, "2018-01-01T01:00:00+00:00")
    assert build_features(settings, lambda _: None).seconds == {}

    build_features(settings, lambda _: None, force=True)
    assert read_timeline(settings).to_pylist() == timeline.to_pylist()
    assert read_note(settings) == note

    append(settings, "purchase", "decision")
    assert events_since_build(settings) == 1


def test_a_source_is_ingested_once_it_is_noted(settings, tmp_path):
    append(settings, "purchase")
    assert not is_ingested(settings, "complete-journey", None, None)

    note_ingested(settings, "complete-journey", None, None)

    assert is_ingested(settings, "complete-journey", None, None)
    assert not is_ingested(settings, "complete-journey", 0.5, None)
    assert not is_ingested(settings, "starbucks-offers", None, tmp_path)


def test_a_note_about_another_log_does_not_count(settings):
    append(settings, "purchase")
    note_ingested(settings, "complete-journey", None, None)

    for file in settings.home.glob("events.db*"):
        file.unlink()

    assert not is_ingested(settings, "complete-journey", None, None)


def test_a_build_between_other_stores_is_no_build_of_these(settings, new_redis):
    append(settings, "purchase")
    build_features(settings, lambda _: None)
    elsewhere = replace(settings, online_store="redis", redis_url=f"{new_redis()},password=secret")

    assert events_since_build(settings) == 0
    assert events_since_build(elsewhere) is None
    assert "secret" not in places(elsewhere)
    assert "secret" not in places(replace(settings, event_log_url="postgresql://ana:secret@host/db?password=secret"))


def test_the_doctor_sees_redis_and_that_it_lost_what_was_built(settings, new_redis):
    append(settings, "purchase")
    settings = replace(settings, online_store="redis", redis_url=new_redis())
    assert check_online(settings).status is Status.OK

    build_features(settings, lambda _: None)
    healthy = check_online(settings)
    assert healthy.status is Status.OK
    assert "2 keys" in healthy.found  # one customer, one product

    with connect(settings) as client:
        client.flushdb()
    assert check_online(settings).status is Status.FAIL

    gone = check_features(replace(settings, redis_url="127.0.0.1:1"))
    assert gone.failed
    assert "does not answer" in next(check.found for check in gone.checks if check.name == "online store")


def test_another_channel_or_kind_means_another_build(monkeypatch):
    """A pair's code in a stored state counts channels and kinds."""
    before = build_note.layout()
    monkeypatch.setattr(build_note, "CHANNELS", (*build_note.CHANNELS, "kiosk"))
    assert build_note.layout() != before


@pytest.mark.parametrize("content", [b"", b"{", b'{"last_seq": 1}', b"[1]", b"\xff\xfe", b"\x00" * 300])
def test_a_damaged_note_counts_as_none_and_all_is_built(settings, content):
    append(settings, "purchase")
    build_features(settings, lambda _: None)
    note = read_note(settings)
    settings.timeline_path.with_name("build.json").write_bytes(content)
    assert read_note(settings) is None
    assert build_features(settings, lambda _: None).rebuilt
    assert read_note(settings) == note


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff\xfe"])
def test_a_damaged_note_of_what_was_ingested_counts_for_nothing(settings, content):
    append(settings, "purchase")
    note_ingested(settings, "a", None, None)
    assert is_ingested(settings, "a", None, None)
    (settings.home / "ingested.json").write_bytes(content)
    assert not is_ingested(settings, "a", None, None)
    note_ingested(settings, "a", None, None)
    assert is_ingested(settings, "a", None, None)


@pytest.mark.parametrize("name", ["registry.db", "applied.json", "feature_store.yaml"])
def test_a_damaged_file_of_feast_is_made_anew_by_a_build(settings, name):
    append(settings, "purchase")
    build_features(settings, lambda _: None)
    path = settings.feast_dir / name
    before = path.read_bytes()
    path.write_bytes(before[: len(before) // 2])
    (settings.feast_dir / "applied.json").write_bytes(b"\xff")  # else nothing of Feast's is looked at
    assert build_features(settings, lambda _: None, force=True).rebuilt
    assert build_features(settings, lambda _: None, force=True).state_rows == 1
