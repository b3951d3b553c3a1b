"""Erasure in the log: it is as if the customer had never been, whatever is appended again."""

import json
from datetime import timedelta
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from made_ada import COOKIE, EMAIL, NOW, OTHERS, WORLD, customers, erased, everything, row, table

from features.erasure.erase import begin_erasure, finish_erasure
from features.errors import InputError
from features.ingest import ingest
from features.log.event_log import EventLog
from features.log.receipt import receipt_path
from features.log.sqlite import SqliteEventLog
from features.settings import Settings


def test_the_log_is_as_if_the_customer_had_never_been(any_engine: Settings, any_log: EventLog, tmp_path: Path) -> None:
    log = any_log
    receipt = erased(any_engine, log, "ada-1815")

    never = SqliteEventLog(tmp_path / "never.db")
    never.append(table(OTHERS))
    assert (log.count(), log.fingerprint()) == (never.count(), never.fingerprint()) == (11, never.fingerprint())
    never.close()
    assert customers(everything(log), "resolved_customer_id") == {"bob", "cleo"}
    assert log.customer_events("ada-1815").num_rows == 0
    assert log.resolve(None, {"email": EMAIL}) is None
    assert receipt.removed == {
        "log: events": 4,
        "log: decisions": 1,
        "log: segments rewritten": int(isinstance(log, SqliteEventLog)),
        "log: identifiers": 2,
        "online store: rows": 0,
    }
    assert receipt.complete


def test_segments_with_gaps_are_read_from_any_place(settings: Settings, log: SqliteEventLog) -> None:
    erased(settings, log, "ada-1815")
    rows = [(event["seq"], event["event_id"]) for event in everything(log).to_pylist()]
    stored = log._query("SELECT seq, event_id FROM events ORDER BY seq", ())

    assert rows == stored
    for after in range(16):
        found = [event["seq"] for batch in log.read(after, batch_rows=3) for event in batch.to_pylist()]
        assert found == [seq for seq, _ in stored if seq > after]
    result = log.append(table([row("d1", 9, "dora")]))
    assert (result.appended, result.last_seq) == (1, 16)  # 15, the seq of the erased newest event, is not given again


def test_no_byte_of_the_names_is_left(settings: Settings, log: SqliteEventLog) -> None:
    files = lambda: [path for path in settings.home.rglob("*") if path.is_file()]  # noqa: E731
    assert any(b"ada-1815" in path.read_bytes() for path in files())

    erased(settings, log, "ada-1815")
    log.close()

    for path in files():
        content = path.read_bytes()
        assert [name for name in (b"ada-1815", EMAIL.encode(), COOKIE.encode()) if name in content] == [], path


@pytest.mark.parametrize("name", ["ada-1815", EMAIL, f"email:{EMAIL}", COOKIE])
def test_a_customer_is_found_by_id_or_identifier_and_again_afterwards(
    any_engine: Settings, any_log: EventLog, name: str
) -> None:
    settings, log = any_engine, any_log
    receipt = erased(settings, log, name)

    assert log.count() == 11
    assert begin_erasure(settings, log, name) == receipt
    assert begin_erasure(settings, log, "nobody") is None
    on_disk = json.loads(receipt_path(settings, receipt.receipt_id).read_text())
    assert (on_disk["customer"], on_disk["pending"], on_disk["removed"]) == (receipt.customer, [], receipt.removed)
    assert "known_since" not in on_disk


def test_every_moment_of_a_receipt_is_by_the_clock_that_the_settings_name(
    any_engine: Settings, any_log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    receipt = erased(any_engine, any_log, "ada-1815")
    moments = [receipt.erased_at, *receipt.absent.values(), receipt.completed_at]
    assert all(moment is not None and NOW <= moment < NOW + timedelta(minutes=10) for moment in moments)
    assert receipt.receipt_id.startswith(f"{NOW:%Y%m%d}")

    monkeypatch.setattr("features.erasure.erase.Clock.now", lambda _: NOW - timedelta(days=1))  # another replay began
    begun = any_log.erasures().begin("bob", NOW)
    assert begun is not None
    later = finish_erasure(any_engine, any_log, begun.receipt, list, lambda _: None)
    assert {later.erased_at, later.completed_at, *later.absent.values()} == {NOW}


def test_what_was_shared_with_the_erased_customer_joins_again(any_engine: Settings, any_log: EventLog) -> None:
    """A device of two customers belongs to nobody; once one of them was never there, it is the other's."""
    both = [row("k1", 1, "ada-1815", identifiers=[("device", "k")]), row("k2", 2, "bob", identifiers=[("device", "k")])]
    any_log.append(table([*both, row("k3", 3, None, "view", identifiers=[("device", "k")])]))
    assert any_log.resolve(None, {"device": "k"}) == "anon:device:k"

    erased(any_engine, any_log, "ada-1815")

    assert any_log.resolve(None, {"device": "k"}) == "bob"
    assert any_log.customer_events("bob")["event_id"].to_pylist() == ["b0", "b1", "b2", "k2", "b3", "k3", "b4", "b5"]
    assert any_log.regrouped_seq("bob") > 0
    assert any_log.resolve(None, {"cookie": COOKIE}) is None


def test_an_identifier_of_two_customers_is_refused(settings: Settings, log: SqliteEventLog) -> None:
    log.append(
        table([row("x1", 8, "bob", identifiers=[("card", "77")]), row("x2", 8, "cleo", identifiers=[("app", "77")])])
    )

    with pytest.raises(InputError, match=r"belongs to 2 customers.*type:value"):
        begin_erasure(settings, log, "77")
    assert log.count() == 17


def test_replay_brings_nothing_back_and_says_so(any_engine: Settings, any_log: EventLog, tmp_path: Path) -> None:
    settings, log = any_engine, any_log
    erased(settings, log, "ada-1815")
    source = tmp_path / "source.parquet"
    unseen = [row("a9", 5, "ada-1815"), row("a8", 6, None, "view", identifiers=[("cookie", COOKIE)])]
    pq.write_table(table([*WORLD, *unseen]), source)

    report = ingest(str(source), settings)

    assert (report.appended, report.duplicates, report.erased, report.events) == (0, 11, 6, 17)
    assert log.count() == 11
    again = log.append(table([row("n1", 90, "ada-1815")]))  # after the erasure: a new beginning
    assert (again.appended, again.erased) == (1, 0)
    assert log.customer_events("ada-1815").column("event_id").to_pylist() == ["n1"]
