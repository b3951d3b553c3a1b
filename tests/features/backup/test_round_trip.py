"""What was backed up is back after a restore, on both engines, and whoever was erased since is not."""

from contextlib import closing
from datetime import UTC, datetime

import pytest

from features.backup.catalogue import known_backups
from features.backup.manifest import read_manifest
from features.erasure.erase import begin_erasure, finish_erasure, pending_erasures
from features.errors import InputError, StoreError
from features.log.carried import erasures_dir, kept_erasures
from features.log.engines import open_log, sqlite_path
from features.online.reach import Reach
from features.processes.running import RunFolder


def erase(home, name: str) -> str:
    with closing(open_log(home.settings)) as log:
        receipt = begin_erasure(home.settings, log, name)
        return finish_erasure(home.settings, log, receipt, models=list).receipt_id


def lose_the_log(settings) -> None:
    path = sqlite_path(settings)
    for end in ("", "-wal", "-shm"):
        path.with_name(f"{path.name}{end}").unlink(missing_ok=True)


def events(home) -> list:
    with closing(open_log(home.settings)) as log:
        return [row for batch in log.read() for row in batch.to_pylist()]


def test_a_restored_log_is_what_it_was_and_another_one(home):
    before, rows = home.ids(), events(home)
    report = home.back_up()
    assert (report.events, report.last_seq) == (3, 3)
    with closing(open_log(home.settings)) as log:
        anchor, fingerprint = log.anchor(), log.fingerprint()
    home.append({"event_id": "c1", "customer_id": "cyd"})

    restored = home.restore()

    assert home.ids() == before and events(home) == rows
    assert (restored.events, restored.last_seq) == (3, 3)
    assert restored.replaced and restored.log_id != report.log_id
    with closing(open_log(home.settings)) as log:
        assert log.fingerprint() == fingerprint
        assert not log.holds(anchor), "what was computed before does not count"
        assert log.identity().find(None, {"email": "ada@x"}) == "ada"
        assert log.append_many([]) == []
    assert (
        home.append({"event_id": "a1", "customer_id": "ada", "at": 1}, {"event_id": "d1", "customer_id": "dan"})[0] == 1
    )
    assert home.ids() == [*before, "d1"]


def test_a_seq_is_not_given_out_again_after_the_newest_event_was_erased(home):
    home.append({"event_id": "z1", "customer_id": "zoe"})
    erase(home, "zoe")
    home.back_up()
    home.restore()
    home.append({"event_id": "y1", "customer_id": "yan"})
    assert events(home)[-1]["seq"] > 4


def test_who_was_erased_since_the_backup_does_not_come_back(home):
    home.back_up()
    receipt_id = erase(home, "ada")
    assert home.ids() == ["b1"]

    restored = home.restore()

    assert home.ids() == ["b1"]
    assert (restored.erasures_since, restored.erased_again) == (1, 1)
    with closing(open_log(home.settings)) as log:
        receipts = {receipt.receipt_id: receipt for receipt in log.erasures().receipts()}
        assert receipt_id in receipts and len(receipts) == 2
        for receipt in pending_erasures(log):
            finish_erasure(home.settings, log, receipt, models=list)
        assert pending_erasures(log) == []
        assert log.customer_events("ada").num_rows == 0 and log.resolve(None, {"email": "ada@x"}) is None
    assert home.append({"event_id": "a1", "customer_id": "ada", "at": 1}) == (0, 1)
    assert home.append({"event_id": "a9", "at": 5, "identifiers": {"email": "ada@x"}}) == (0, 1)
    assert home.restore().erased_again == 1, "and once more"
    assert home.ids() == ["b1"]


@pytest.mark.parametrize("earlier", [False, True])
def test_an_erasure_outlives_the_log_that_knew_of_it(home, earlier):
    """With and without an erasure that the backup knows: then its log has the key already."""
    if home.settings.event_log_url.startswith("postgres"):
        return  # a server's log is not lost by deleting a file; the next test covers the files
    if earlier:
        home.append({"event_id": "z1", "customer_id": "zoe", "at": 0})
        erase(home, "zoe")
    home.back_up()
    erase(home, "email:ada@x")
    lose_the_log(home.settings)

    assert home.restore().erased_again == 1
    assert home.ids() == ["b1"]
    assert home.append({"event_id": "a1", "customer_id": "ada", "at": 1}) == (0, 1)
    if earlier:
        assert home.append({"event_id": "z1", "customer_id": "zoe", "at": 0}) == (0, 1)


def test_the_record_of_an_erasure_names_nobody_and_is_private(home):
    erase(home, "ada")
    (path,) = erasures_dir(home.settings).iterdir()
    assert path.stat().st_mode & 0o777 == 0o600
    assert erasures_dir(home.settings).stat().st_mode & 0o777 == 0o700
    text = path.read_text()
    assert "ada@x" not in text and '"ada"' not in text
    path.write_text(text[:-20])
    with pytest.raises(StoreError, match="cannot be read"):
        kept_erasures(home.settings)


def test_an_erasure_from_another_log_with_a_key_of_its_own_is_done_all_the_same(home):
    """The backup's log had a first erasure of its own after they parted: their keys differ."""
    home.back_up("old")
    erase(home, "ada")
    kept = kept_erasures(home.settings)
    assert len(kept) == 1
    for path in erasures_dir(home.settings).iterdir():
        path.rename(home.folder / path.name)
    if home.settings.event_log_url.startswith("postgres"):
        with closing(open_log(home.settings)) as log, log._writing() as connection:
            for statement in (
                "DELETE FROM meta WHERE name = 'erasure_key'",
                "DELETE FROM tombstones",
                "DELETE FROM erasures",
            ):
                connection.execute(statement)
    else:
        lose_the_log(home.settings)
    home.restore("old")
    assert home.ids() == ["a1", "a2", "b1"]
    erase(home, "bob")  # another key
    home.back_up("other")
    (home.folder / f"{kept[0].receipt.receipt_id}.json").rename(
        erasures_dir(home.settings) / f"{kept[0].receipt.receipt_id}.json"
    )

    assert home.restore("other").erased_again == 1
    assert home.ids() == []
    assert home.append({"event_id": "a1", "customer_id": "ada", "at": 1}) == (0, 1)


def test_a_store_ahead_of_a_restored_log_does_not_count(home):
    home.back_up()
    reach = Reach(home.settings)
    with closing(open_log(home.settings)) as log:
        reach.make_of(log)
        assert reach.is_of(log)
    home.restore()
    with closing(open_log(home.settings)) as log:
        assert not reach.is_of(log)


def test_backups_are_remembered_with_what_a_restore_put_aside(home):
    assert known_backups(home.settings) == []
    began = datetime.now(UTC).replace(microsecond=0)
    home.back_up("one")
    home.append({"event_id": "c1", "customer_id": "cyd"})
    home.back_up("two")
    one, two = known_backups(home.settings)
    assert (one.place, two.place) == (str(home.folder / "one"), str(home.folder / "two"))
    assert (one.last_seq, two.last_seq) == (3, 4)
    assert began <= one.created_at <= two.created_at <= datetime.now(UTC)
    assert one.log_id == two.log_id == read_manifest(home.folder / "one").log_id
    assert one.is_there

    restored = home.restore("one")
    kinds = {backup.place: backup.kind for backup in known_backups(home.settings)}
    assert kinds == {str(home.folder / "one"): "backup", str(home.folder / "two"): "backup"} | dict.fromkeys(
        restored.replaced, "replaced"
    )
    assert all(backup.is_there for backup in known_backups(home.settings))
    (home.folder / "one" / "manifest.json").unlink()
    there = {backup.place: backup.is_there for backup in known_backups(home.settings)}
    assert (there[str(home.folder / "one")], there[str(home.folder / "two")]) == (False, True)
    assert home.restore("two", discard=True).replaced == ()
    (home.settings.home / "backups.json").write_text("[{}]")
    with pytest.raises(StoreError, match=r"backups\.json cannot be read"):
        known_backups(home.settings)


def test_nothing_is_restored_while_a_service_of_the_home_runs_or_starts(home):
    home.back_up()
    service = RunFolder(home.settings.home / "run" / "4321")
    service.take()
    try:
        with pytest.raises(InputError, match="runs on port 4321"):
            home.restore()
    finally:
        service.leave()
    assert home.restore().events == 3
