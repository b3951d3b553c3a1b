"""A store that is ahead of its log, or of another one, does not count, is emptied and written anew; SQLite and Redis alike."""

import shutil
import sqlite3
from contextlib import closing

import pytest
from made_visits import table

from features.backup.backup import back_up
from features.checks.doctor import Status, check_online
from features.errors import StoreError
from features.events.schema import events_to_table, parse_events
from features.ingest import ingest
from features.log.engines import open_log
from features.online.checkpoint import Checkpoint
from features.online.live import LiveStates
from features.online.reach import REDIS_KEY, Reach
from features.online.reader import OnlineReader
from features.online.trust import EVERY_S, StoreTrust, check_log_not_lost, open_known_log
from features.state.fold import fold_customer
from features.state.layout import CONSENT
from features.state.products import ProductStates, fold_purchases, purchases
from features.stream import Applier
from features.vocabulary import CHANNEL_CODES
from serving.runtime import open_runtime


@pytest.fixture(params=["sqlite", "redis"])
def shop(request, tmp_path, kit):
    """An empty store, its reader, and the log in a file."""
    engines = {}
    if request.param == "redis":
        engines = {"OMNI_ONLINE_STORE": "redis", "OMNI_REDIS": request.getfixturevalue("new_redis")()}
    store, settings = kit.make_store(tmp_path / "home", [], engines)
    log, reader = open_log(settings), OnlineReader(settings)
    yield log, store, reader, settings
    reader.close()
    log.close()


def keep_copy(settings) -> None:
    with closing(sqlite3.connect(settings.home / "events.db")) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    shutil.copy(settings.home / "events.db", settings.home / "old.db")


def restore_copy(settings) -> None:
    """As by hand, while the log is open elsewhere."""
    shutil.copy(settings.home / "old.db", settings.home / "again.db")
    for name in ("events.db-wal", "events.db-shm"):
        (settings.home / name).unlink(missing_ok=True)
    (settings.home / "again.db").replace(settings.home / "events.db")


def say(log, kit, number: int, kind: str, customer: str) -> None:
    event = {"event_id": f"s{number}", "kind": kind, "channel": "email", "customer_id": customer}
    log.append(events_to_table(parse_events([event | {"occurred_at": kit.at(90).isoformat()}], kit.at(100))[0]))


def consent(state) -> float:
    return float(state.channels[0, CHANNEL_CODES["email"], CONSENT])


def assert_of_log(log, reader, kit) -> None:
    customers = {row for batch in log.read() for row in batch["resolved_customer_id"].to_pylist()}
    for customer in customers:
        kit.assert_same_states(reader.read_state(customer).state, fold_customer(log.customer_events(customer)))
    expected = ProductStates.empty()
    for events in log.read():
        expected = fold_purchases(expected, *purchases(events)[:2])
    assert reader.read_products().states.code.tolist() == expected.code.tolist()


def test_an_unsubscribe_after_a_restored_log_counts_at_once_and_in_the_store(shop, kit):
    log, store, reader, settings = shop
    log.append(kit.to_events(kit.WORLD[:20]))
    say(log, kit, 1, "subscribe", "anna")
    keep_copy(settings)
    log.append(kit.to_events([kit.Happening("zoe", 80, "purchase", product="p9", value=1.0)], prefix="lost"))
    log.append(kit.to_events(kit.WORLD[20:], prefix="lost-"))
    applier = Applier(log, store.online, reader, settings)
    applier.run_once()
    applier.products.run_once()
    assert reader.read_state("zoe") is not None
    seconds = [0.0]
    trust = StoreTrust(settings, log, lambda: seconds[0])
    live = LiveStates(reader, log, trust.problem)
    assert trust.problem() == ""

    restore_copy(settings)
    say(log, kit, 2, "unsubscribe", "anna")
    seconds[0] += EVERY_S

    assert consent(live.get("anna").state) == 0
    assert live.get("zoe") is None
    kit.assert_same_states(live.get("anna").state, fold_customer(log.customer_events("anna")))
    assert "holds what the event log does not" in trust.problem()
    found = check_online(settings)
    assert found.status is Status.FAIL and "omni features build" in found.repair

    applier.run_once()
    applier.products.run_once()
    seconds[0] += EVERY_S

    assert trust.problem() == ""
    assert check_online(settings).status is Status.OK
    assert consent(reader.read_state("anna").state) == 0
    assert reader.read_state("zoe") is None, "whom the log does not know"
    assert_of_log(log, reader, kit)
    assert Checkpoint(settings).read() == Checkpoint(settings, of="products").read() == log.last_seq()


def test_a_restored_log_that_has_outgrown_the_store_is_known_too(shop, kit):
    log, store, reader, settings = shop
    log.append(kit.to_events(kit.WORLD[:20]))
    keep_copy(settings)
    log.append(kit.to_events(kit.WORLD[20:40], prefix="lost"))
    applier = Applier(log, store.online, reader, settings)
    applier.run_once()

    restore_copy(settings)
    log.append(kit.to_events(kit.random_happenings(seed=5, customers=6, events=60), prefix="other"))
    assert log.last_seq() > Checkpoint(settings).read()

    applier.run_once()
    applier.products.run_once()
    assert_of_log(log, reader, kit)


class SwappedInBetween:
    """A store whose log is replaced after states were read and before they are written."""

    def __init__(self, reader, settings) -> None:
        self.reader, self.settings = reader, settings

    def folded(self, names):
        return self.reader.folded(names)

    def read_batch(self, names):
        found = self.reader.read_batch(names)
        restore_copy(self.settings)
        return found


def test_a_log_that_is_replaced_within_a_round_is_not_mixed_with_the_store(shop, kit):
    log, store, reader, settings = shop
    log.append(kit.to_events(kit.WORLD[:20]))
    keep_copy(settings)
    log.append(kit.to_events(kit.WORLD[20:40], prefix="lost"))
    Applier(log, store.online, reader, settings).run_once()
    log.append(kit.to_events(kit.WORLD[40:50], prefix="more"))

    with pytest.raises(StoreError, match="was replaced"):
        Applier(log, store.online, SwappedInBetween(reader, settings), settings).run_once()

    log.append(kit.to_events(kit.WORLD[50:], prefix="after"))
    applier = Applier(log, store.online, reader, settings)
    applier.run_once()
    applier.products.run_once()
    assert_of_log(log, reader, kit)


def test_rows_of_a_store_that_says_nothing_of_its_log_do_not_count(shop, kit):
    """As after an upgrade from a version without anchors."""
    log, store, reader, settings = shop
    log.append(kit.to_events(kit.WORLD))
    applier = Applier(log, store.online, reader, settings)
    applier.run_once()
    if settings.online_store == "redis":
        from features.online.redis import connect

        with connect(settings) as client:
            client.delete(REDIS_KEY)
    else:
        with closing(sqlite3.connect(settings.feast_dir / "stream.db")) as connection, connection:
            connection.execute("DROP TABLE reach")
            connection.execute("CREATE TABLE reach (id INTEGER PRIMARY KEY, anchor TEXT NOT NULL)")

    assert "does not say which log" in StoreTrust(settings, log).problem()
    assert check_online(settings).status is Status.WARN
    assert applier.run_once() == len(kit.WORLD)
    assert StoreTrust(settings, log).problem() == ""
    assert_of_log(log, reader, kit)


def test_a_build_after_a_restored_log_leaves_nobody_behind(shop, kit):
    from features.build import build_features
    from features.checks.doctor import check_built
    from features.offline.build_note import events_since_build

    log, _, reader, settings = shop
    log.append(kit.to_events(kit.WORLD[:20]))
    keep_copy(settings)
    log.append(kit.to_events([kit.Happening("zoe", 80, "purchase", product="p9", value=1.0)], prefix="lost"))
    build_features(settings, lambda _: None)
    assert events_since_build(settings) == 0 and reader.read_state("zoe") is not None

    restore_copy(settings)
    log.append(kit.to_events([kit.Happening("yan", 81, "purchase", product="p8", value=1.0)], prefix="new"))

    assert log.last_seq() == 21 and events_since_build(settings) is None
    found = check_built(settings)
    assert found.status is Status.FAIL and "does not hold" in found.found
    assert build_features(settings, lambda _: None).rebuilt
    assert reader.read_state("zoe") is None and reader.read_state("yan") is not None
    assert check_built(settings).status is Status.OK
    assert_of_log(log, reader, kit)
    assert Reach(settings).is_of(log)


def test_a_machine_whose_checkpoints_are_of_another_log_looks_at_everything_again(tmp_path, kit, new_redis):
    """Two machines on one Redis: the other one has made the store anew already."""
    engines = {"OMNI_ONLINE_STORE": "redis", "OMNI_REDIS": new_redis()}
    store, settings = kit.make_store(tmp_path / "home", [], engines)
    with closing(open_log(settings)) as log, closing(OnlineReader(settings)) as reader:
        log.append(kit.to_events(kit.WORLD[:30]))
        applier = Applier(log, store.online, reader, settings)
        applier.run_once()
        keep_copy(settings)
        log.append(kit.to_events(kit.WORLD[30:], prefix="lost"))
        applier.run_once()
        restore_copy(settings)
        own_note = Reach(settings)._here.read()
        Reach(settings).make_of(log)  # as the other machine does
        Reach(settings)._here.write(own_note)
        Checkpoint(settings).write(len(kit.WORLD))
        assert Reach(settings).is_of(log)

        log.append(kit.to_events([kit.Happening("yan", 81, "purchase", product="p8", value=1.0)], prefix="new"))
        assert applier.run_once() == 31
        assert_of_log(log, reader, kit)


@pytest.mark.parametrize("emptied", [True, False])
def test_a_log_that_was_lost_is_not_taken_for_a_new_one(settings, tmp_path, emptied):
    """Nor is the store of an empty log, which holds nobody, a reason to refuse."""
    rows = tmp_path / "rows.csv"
    rows.write_text("event_id,occurred_at,kind,channel,customer_id\na,2024-01-01T00:00:00Z,visit,web,ada\n")
    with closing(open_log(settings)) as log:
        Reach(settings).make_of(log)
        check_log_not_lost(settings, log)
        log.append(table({"event_id": "a", "customer_id": "ada"}))
        Reach(settings).extend(log)
        check_log_not_lost(settings, log)
    path = settings.home / "events.db"
    for ending in ("", "-wal", "-shm"):
        path.with_name(path.name + ending).unlink(missing_ok=True)
    if emptied:
        path.touch()
    with pytest.raises(StoreError, match=r"events\.db is empty, .* omni restore BACKUP.* move .*feast away"):
        open_known_log(settings)
    for refused in (
        lambda: ingest(str(rows), settings),
        lambda: back_up(settings, tmp_path / "backup", lambda _: None),
        lambda: open_runtime(settings),
    ):
        with pytest.raises(StoreError, match=r"events\.db is empty"):
            refused()
    shutil.rmtree(settings.feast_dir)
    assert ingest(str(rows), settings).appended == 1
    open_known_log(settings).close()
