"""Erasure in the online store: the row is gone from the very store that is served, which is read again to prove it."""

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from made_ada import NOW, build

from features.erasure.erase import begin_erasure, finish_erasure, pending_erasures
from features.erasure.online import ONLINE_ROWS, erase_online
from features.errors import StoreError
from features.log.receipt import Receipt, Step
from features.log.sqlite import SqliteEventLog
from features.online.reader import OnlineReader
from features.online.redis import RedisEntities, connect
from features.online.sqlite import SqliteEntities
from features.settings import Settings

PASSWORD = "open-sesame"


@pytest.fixture
def redis_settings(settings: Settings, new_redis: Callable[[], str]) -> Settings:
    """With an empty database of the server, none of them its first."""
    new_redis()
    return replace(settings, online_store="redis", redis_url=new_redis())


@pytest.fixture(params=["sqlite", "redis"])
def any_store(settings: Settings, request: pytest.FixtureRequest) -> Settings:
    """The settings with each kind of online store."""
    return settings if request.param == "sqlite" else request.getfixturevalue("redis_settings")


@pytest.fixture
def locked_redis(redis_settings: Settings) -> Iterator[Settings]:
    """The settings with a user who has a password, on a server that lets nobody in without one."""
    with connect(redis_settings) as client:
        client.acl_setuser("omni", enabled=True, passwords=[f"+{PASSWORD}"], keys=["*"], commands=["+@all"])
        client.acl_setuser("default", enabled=True, nopass=False, reset_passwords=True, keys=["*"], commands=["+@all"])
        named = f"{redis_settings.redis_url},username=omni"
        yield replace(redis_settings, redis_url=f"{named},password={PASSWORD}")
        client.acl_setuser("default", enabled=True, nopass=True, keys=["*"], commands=["+@all"])
        client.acl_deluser("omni")


def begun(settings: Settings, log: SqliteEventLog) -> Receipt:
    receipt = begin_erasure(settings, log, "ada-1815")
    assert receipt is not None
    return receipt


def last_seqs(settings: Settings) -> dict[str, int]:
    with closing(OnlineReader(settings)) as reader:
        return {name: row.last_seq for name, row in reader.folded(["ada-1815", "bob", "cleo"]).items()}


def test_the_row_is_gone_and_the_receipt_says_when_that_was_read(any_store: Settings, log: SqliteEventLog) -> None:
    build(any_store)
    others = {name: seq for name, seq in last_seqs(any_store).items() if name != "ada-1815"}

    receipt = begun(any_store, log)

    assert last_seqs(any_store) == others and len(others) == 2
    assert receipt.removed[ONLINE_ROWS] == (1 if any_store.online_store == "redis" else 2)  # a hash, or a row a view
    assert list(receipt.absent) == [ONLINE_ROWS]
    assert receipt.erased_at <= receipt.absent[ONLINE_ROWS] < NOW + timedelta(minutes=10)
    assert Step.ONLINE not in receipt.pending


def test_without_the_names_every_key_is_looked_at(any_store: Settings, log: SqliteEventLog) -> None:
    """As an erasure that was cut short is finished: the log keeps no names, only their hashes."""
    build(any_store)
    matcher = log.erasures().matcher(begun(any_store, log).receipt_id)
    kept = last_seqs(any_store)
    write_again(any_store)
    assert "ada-1815" in last_seqs(any_store)

    removed = erase_online(any_store, matcher)

    assert removed[ONLINE_ROWS] > 0
    assert last_seqs(any_store) == kept
    assert erase_online(any_store, matcher) == {ONLINE_ROWS: 0}


def test_with_a_password_the_row_goes_and_without_it_the_step_stays(
    locked_redis: Settings, log: SqliteEventLog
) -> None:
    build(locked_redis)
    address, options = locked_redis.redis_url.partition(",")[::2]
    for wrong in (f"{address},db=1", f"{address},username=omni,password=wrong", f"{address},password=wrong"):
        with pytest.raises(StoreError, match=r"refuses the password.*password=secret.*omni erase --finish") as caught:
            begin_erasure(replace(locked_redis, redis_url=wrong), log, "ada-1815")
        assert "wrong" not in caught.value.message.partition("(")[0]
    assert options.endswith(PASSWORD)
    (receipt,) = pending_erasures(log)
    assert receipt.pending[0] is Step.ONLINE and receipt.absent == {}
    assert "ada-1815" in last_seqs(locked_redis)

    done = finish_erasure(locked_redis, log, receipt, progress=lambda _: None)

    assert Step.ONLINE not in done.pending and done.removed[ONLINE_ROWS] == 1
    assert sorted(last_seqs(locked_redis)) == ["bob", "cleo"]


def test_a_server_that_is_not_there_is_said_and_the_step_stays(settings: Settings, log: SqliteEventLog) -> None:
    nowhere = replace(settings, online_store="redis", redis_url=f"127.0.0.1:1,password={PASSWORD}")

    with pytest.raises(StoreError, match=r"127\.0\.0\.1:1 does not answer.*Start Redis.*omni erase --finish") as caught:
        begin_erasure(nowhere, log, "ada-1815")

    assert PASSWORD not in str(caught.value)
    assert [receipt.pending[0] for receipt in pending_erasures(log)] == [Step.ONLINE]
    assert log.customer_events("ada-1815").num_rows == 0


def test_a_database_that_the_server_does_not_have_is_said(redis_settings: Settings, log: SqliteEventLog) -> None:
    address = redis_settings.redis_url.partition(",")[0]

    with pytest.raises(StoreError, match=r"db=100000 .*options in OMNI_REDIS"):
        begin_erasure(replace(redis_settings, redis_url=f"{address},db=100000"), log, "ada-1815")


def test_a_file_that_is_no_store_is_said_and_the_step_stays(settings: Settings, log: SqliteEventLog) -> None:
    settings.online_db_path.parent.mkdir(parents=True)
    settings.online_db_path.write_bytes(b"no database at all" * 100)

    with pytest.raises(StoreError, match=r"online.*cannot be changed \(file is not a database\).*--finish"):
        begin_erasure(settings, log, "ada-1815")

    assert [receipt.pending[0] for receipt in pending_erasures(log)] == [Step.ONLINE]


def test_a_store_that_still_answers_is_an_error_and_the_step_stays(
    any_store: Settings, log: SqliteEventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody writes the row again after every deletion; once they stop, the erasure is finished."""
    build(any_store)
    engine: Any = RedisEntities if any_store.online_store == "redis" else SqliteEntities
    real, calls = engine.remove, []

    def in_vain(entities: Any, names: Sequence[str]) -> int:
        calls.append(names)
        return 0

    monkeypatch.setattr(engine, "remove", in_vain)
    with pytest.raises(StoreError, match=r"still has [12] rows of an erased customer.*omni erase --finish"):
        begin_erasure(any_store, log, "ada-1815")
    assert len(calls) == 3
    (receipt,) = pending_erasures(log)
    assert receipt.pending[0] is Step.ONLINE and receipt.absent == {}

    monkeypatch.setattr(engine, "remove", real)
    assert Step.ONLINE not in finish_erasure(any_store, log, receipt, progress=lambda _: None).pending
    assert sorted(last_seqs(any_store)) == ["bob", "cleo"]


def test_a_row_that_is_written_once_more_meanwhile_goes_too(
    any_store: Settings, log: SqliteEventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(any_store)
    engine: Any = RedisEntities if any_store.online_store == "redis" else SqliteEntities
    real, calls = engine.remove, []

    def and_back(entities: Any, names: Sequence[str]) -> int:
        n_removed: int = real(entities, names)
        if not calls:
            write_again(any_store)
        calls.append(n_removed)
        return n_removed

    monkeypatch.setattr(engine, "remove", and_back)
    receipt = begun(any_store, log)

    assert calls == ([1, 1] if any_store.online_store == "redis" else [2, 2])
    assert receipt.removed[ONLINE_ROWS] == sum(calls)
    assert sorted(last_seqs(any_store)) == ["bob", "cleo"]


def test_the_rows_of_one_view_alone_go_as_well(settings: Settings, log: SqliteEventLog) -> None:
    build(settings)
    with closing(sqlite3.connect(settings.online_db_path)) as connection, connection:
        connection.execute("DROP TABLE omni_customer_products")

    assert begun(settings, log).removed[ONLINE_ROWS] == 1


def write_again(settings: Settings) -> None:
    """As a stream that is behind would: from the files, which still hold the customer."""
    from features.store.feature_store import Store

    Store(settings).materialize(lambda _: None)
