"""The applier: what is in the log is in the online store, once, whatever is interrupted, late or repeated."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from features.errors import StoreError
from features.events.schema import events_to_table, parse_events
from features.log.engines import open_log
from features.online.checkpoint import Checkpoint
from features.online.live import LiveStates
from features.online.reader import OnlineReader
from features.online.writer import OnlineWriter
from features.settings import PARENT
from features.state.event_arrays import product_code
from features.state.fold import fold_customer
from features.state.layout import CONSENT
from features.stream import Applier
from features.vocabulary import CHANNEL_CODES


@pytest.fixture(params=["files", "servers"])
def engines(request):
    """Settings of empty stores: SQLite for both, or PostgreSQL for the log and Redis for the states."""
    if request.param == "files":
        return {}
    redis, postgres = request.getfixturevalue("new_redis")(), request.getfixturevalue("new_postgres")()
    return {"OMNI_ONLINE_STORE": "redis", "OMNI_REDIS": redis, "OMNI_EVENT_LOG": postgres}


@pytest.fixture
def stream(tmp_path, kit, engines):
    """An empty store with its reader, a log, and an applier between them."""
    store, settings = kit.make_store(tmp_path / "home", [], engines)
    log, reader = open_log(settings), OnlineReader(settings)
    yield log, store.online, reader, settings
    reader.close()
    log.close()


def assert_up_to_date(log, reader, kit) -> None:
    customers = {row for batch in log.read() for row in batch["resolved_customer_id"].to_pylist()}
    assert customers
    for customer in customers:
        events = log.customer_events(customer)
        found = reader.read_state(customer)
        kit.assert_same_states(found.state, fold_customer(events))
        assert found.last_seq == max(events["seq"].to_pylist())


def test_events_reach_the_online_store(stream, kit):
    log, store, reader, settings = stream
    applier = Applier(log, store, reader, settings)

    log.append(kit.to_events(kit.WORLD))

    assert applier.run_once() == len(kit.WORLD)
    assert_up_to_date(log, reader, kit)
    assert Checkpoint(settings).read() == log.last_seq()
    assert applier.run_once() == 0


def test_any_order_of_arrival_ends_in_the_same_state(stream, kit):
    log, store, reader, settings = stream
    applier = Applier(log, store, reader, settings)
    happenings = kit.random_happenings(seed=11, customers=3, events=90)

    for start in range(0, 90, 9):
        log.append(kit.to_events(happenings[start : start + 9], prefix=f"batch{start}-"))
        applier.run_once()
        assert_up_to_date(log, reader, kit)


def test_a_late_event_takes_its_place(stream, kit):
    log, store, reader, settings = stream
    applier = Applier(log, store, reader, settings)
    log.append(kit.to_events([kit.Happening("anna", 5, "purchase", product="p1", value=1.0)], prefix="a"))
    applier.run_once()

    log.append(kit.to_events([kit.Happening("anna", 1, "purchase", product="p2", value=1.0)], prefix="b"))
    applier.run_once()

    state = reader.read_state("anna").state
    assert state.scalar("n_occasions").tolist() == [2]
    assert state.scalar("last_purchase").tolist() == [kit.at(5).timestamp()]
    assert_up_to_date(log, reader, kit)


class Interrupted:
    """A store that fails at one of its writes, before or after it is done."""

    def __init__(self, store, *, after: bool) -> None:
        self.store, self.after, self.writes = store, after, 0

    def write_online(self, states: pa.Table, products: pa.Table) -> None:
        if self.after:
            self.store.write_online(states, products)
        self.writes += 1
        raise StoreError("power cut")

    def write_products(self, blocks: pa.Table) -> None:
        self.store.write_products(blocks)


@pytest.mark.parametrize("after", [False, True])
def test_a_crash_before_the_checkpoint_repeats_nothing(stream, kit, after):
    log, store, reader, settings = stream
    log.append(kit.to_events(kit.WORLD))
    with pytest.raises(StoreError, match="power cut"):
        Applier(log, Interrupted(store, after=after), reader, settings).run_once()
    assert Checkpoint(settings).read() == 0

    Applier(log, store, reader, settings).run_once()

    assert_up_to_date(log, reader, kit)


def test_what_is_online_already_is_not_written_again(stream, kit):
    log, store, reader, settings = stream
    log.append(kit.to_events(kit.WORLD))
    Applier(log, store, reader, settings).run_once()
    Checkpoint(settings).write(0)
    interrupted = Interrupted(store, after=True)

    assert Applier(log, interrupted, reader, settings).run_once() == len(kit.WORLD)

    assert interrupted.writes == 0


def test_looking_back_writes_what_a_power_cut_took_and_nothing_else(stream, kit, monkeypatch):
    log, store, reader, settings = stream
    monkeypatch.setattr("features.stream._LOOK_BACK_EVENTS", 30)
    log.append(kit.to_events(kit.WORLD))
    applier = Applier(log, store, reader, settings)
    applier.run_once()
    writes = []
    monkeypatch.setattr(store, "write_online", lambda *tables: writes.append(tables))

    applier.look_back()

    assert Checkpoint(settings).read() == len(kit.WORLD) - 30
    assert applier.run_once() == 30
    assert writes == []
    Checkpoint(settings).write(10)
    applier.look_back()
    assert Checkpoint(settings).read() == 0


def test_a_folder_made_anew_begins_at_zero(settings):
    checkpoint = Checkpoint(settings)
    checkpoint.write(7)
    assert Checkpoint(settings).read() == checkpoint.read() == 7

    shutil.rmtree(settings.feast_dir)

    assert checkpoint.read() == 0
    checkpoint.write(3)
    assert Checkpoint(settings).read() == checkpoint.read() == 3


def test_decisions_are_done_with_though_they_change_nothing(stream, kit):
    log, store, reader, settings = stream
    happenings = [kit.Happening("anna", 1, "visit"), kit.Happening("anna", 2, "decision", channel="web")]
    log.append(kit.to_events([*happenings, kit.Happening("bert", 2, "decision", channel="web")]))

    Applier(log, store, reader, settings).run_once()

    assert reader.read_state("anna").last_seq == 2
    assert reader.read_state("anna").state.scalar("last_event").tolist() == [kit.at(1).timestamp()]
    assert reader.read_state("bert") is None


def test_a_row_is_not_written_for_the_sake_of_a_few_decisions(stream, kit, monkeypatch):
    log, store, reader, settings = stream
    monkeypatch.setattr("features.stream._LEFT_RECORDS", 3)
    applier, live = Applier(log, store, reader, settings), LiveStates(reader, log)
    log.append(kit.to_events([kit.Happening("anna", 1, "purchase", product="p1")]))
    applier.run_once()

    seqs, versions = [], set()
    for number in range(7):
        log.append(kit.to_events([kit.Happening("anna", 2 + number, "decision", channel="web")], prefix=f"d{number}-"))
        assert applier.run_once() == 1
        assert Checkpoint(settings).read() == log.last_seq()
        seqs.append(reader.read_state("anna").last_seq)
        found = live.get("anna")
        versions.add(found.version)
        kit.assert_same_states(found.state, fold_customer(log.customer_events("anna")))

    assert seqs == [1, 1, 4, 4, 4, 7, 7]
    assert len(versions) == 1
    log.append(kit.to_events([kit.Happening("anna", 20, "view", product="p1")], prefix="v"))
    applier.run_once()
    assert_up_to_date(log, reader, kit)


def test_a_decision_of_before_what_was_done_is_folded_at_once(stream, kit):
    """It may tell what a message was about that came in before it."""
    log, store, reader, settings = stream
    applier = Applier(log, store, reader, settings)

    def tell(number: int, day: float, kind: str, product: str | None = None) -> None:
        event = {"event_id": f"e{number}", "kind": kind, "channel": "email", "customer_id": "anna", "decision_id": "d1"}
        event |= {"occurred_at": kit.at(day).isoformat(), "product_id": product}
        log.append(events_to_table(parse_events([event], kit.at(100))[0]))
        applier.run_once()

    tell(1, 5, "send")
    assert len(reader.read_state("anna").state.exposure_code.values) == 0
    tell(2, 4, "decision", "p1")

    assert reader.read_state("anna").state.exposure_code.values.tolist() == product_code(["p1"]).tolist()
    assert_up_to_date(log, reader, kit)


def test_following_survives_a_failure_and_stops_when_told(stream, kit):
    log, store, reader, settings = stream
    failing = Interrupted(store, after=False)
    applier = Applier(log, failing, reader, settings)
    stop = threading.Event()
    thread = threading.Thread(target=applier.run_forever, args=(stop, 0.01))
    log.append(kit.to_events(kit.WORLD[:1]))

    thread.start()
    _wait_until(lambda: failing.writes > 0)
    failing.write_online = store.write_online
    _wait_until(lambda: reader.read_state("anna") is not None)
    _wait_until(lambda: len(reader.read_products().states) == 1)
    stop.set()
    thread.join(timeout=10)

    assert not thread.is_alive()


class StoppedAt:
    """A store during whose n-th write somebody asks to stop."""

    def __init__(self, store, stop: threading.Event, n: int) -> None:
        self.store, self.stop, self.n, self.writes = store, stop, n, 0

    def write_online(self, states: pa.Table, products: pa.Table) -> None:
        self.store.write_online(states, products)
        self.writes += 1
        if self.writes == self.n:
            self.stop.set()

    def write_products(self, blocks: pa.Table) -> None:
        self.store.write_products(blocks)


@pytest.mark.parametrize(("writes", "done"), [(2, 0), (3, 20)])
def test_a_long_way_behind_it_still_stops_when_told(stream, kit, monkeypatch, writes, done):
    log, store, reader, settings = stream
    monkeypatch.setattr("features.stream._BATCH_EVENTS", 20)
    monkeypatch.setattr("features.stream._CUSTOMERS_PER_WRITE", 2)
    log.append(kit.to_events(kit.random_happenings(seed=3, customers=6, events=100)))
    stop = threading.Event()
    stopping = StoppedAt(store, stop, writes)

    n_events = Applier(log, stopping, reader, settings).run_once(stop)

    assert stopping.writes == writes
    assert n_events == Checkpoint(settings).read() == done
    assert Applier(log, store, reader, settings).run_once() == 100 - done
    assert_up_to_date(log, reader, kit)


def test_the_process_follows_the_log_and_ends_when_told(stream, kit, engines):
    log, _, _, settings = stream
    applied = settings.feast_dir / "applied.json"
    applied.unlink()  # as after an update
    process = subprocess.Popen(
        [sys.executable, "-m", "features.stream"],
        env={**os.environ, "OMNI_HOME": str(settings.home), **engines},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        log.append(kit.to_events(kit.WORLD))
        _wait_until(lambda: Checkpoint(settings).read() == log.last_seq(), timeout_s=90)
        assert_up_to_date(log, OnlineReader(settings), kit)
        _wait_until(lambda: Checkpoint(settings, of="products").read() == log.last_seq())
        assert len(OnlineReader(settings).read_products().states) == 5
        assert applied.exists()
    finally:
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=30)

    assert process.returncode == 0, errors


def test_the_process_ends_with_its_parent():
    follow = (
        "import os, sys, threading; from features.stream import _stop_with_parent; parent = os.getppid();"
        "print(1, file=sys.stderr); _stop_with_parent(threading.Event(), parent)"
    )
    start = (
        "import subprocess, sys\n"
        f"child = subprocess.Popen([sys.executable, '-c', {follow!r}], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)\n"
        "child.stderr.readline()\n"
        "print(child.pid)\n"
    )
    parent = subprocess.run([sys.executable, "-c", start], stdout=subprocess.PIPE, text=True, check=True, timeout=60)

    _wait_until(lambda: not _is_running(int(parent.stdout)))


def test_the_process_ends_when_its_parent_is_gone_before_it_looks(stream):
    settings = stream[3]
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()

    process = subprocess.run(
        [sys.executable, "-m", "features.stream"],
        env={**os.environ, "OMNI_HOME": str(settings.home), PARENT: str(ended.pid)},
        timeout=90,
        check=False,
    )

    assert process.returncode == 0


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # An orphan that nobody waits for stays as a zombie.
    return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"


def _wait_until(condition, timeout_s: float = 20) -> None:
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def test_a_clock_that_is_set_back_loses_no_event_and_no_row(stream, kit):
    """What orders the log and the store is the seq; moments of events and of writing may go any way."""
    log, store, reader, settings = stream
    Applier(log, store, reader, settings).run_once()
    for number, clock_day in enumerate((100, 100 - 1 / 24, 99, 100 - 1 / 24)):
        earlier = replace(settings, clock_start=kit.at(clock_day))
        log.append(kit.to_events(kit.random_happenings(seed=number, customers=4, events=20), prefix=f"p{number}-"))
        reader_then = OnlineReader(earlier)
        applier = Applier(log, OnlineWriter(earlier), reader_then, earlier)
        assert applier.run_once() == 20
        applier.products.run_once()
        assert_up_to_date(log, reader_then, kit)
        assert_up_to_date(log, reader, kit)
        assert Checkpoint(settings).read() == log.last_seq()
        reader_then.close()


def test_everybody_whom_an_address_governs_is_renewed(stream, kit):
    """The refusal, and later the address, are somebody else's event; a customer who has the address gets a new row."""
    log, store, reader, settings = stream
    applier = Applier(log, store, reader, settings)

    def tell(number: int, kind: str, customer: str | None = None, email: str | None = None) -> None:
        event = {"event_id": f"e{number}", "kind": kind, "channel": "email", "customer_id": customer}
        event |= {"occurred_at": kit.at(number).isoformat(), "identifiers": email and {"email": email}}
        log.append(events_to_table(parse_events([event], kit.at(100))[0]))
        applier.run_once()

    def consents() -> list[float]:
        states = [reader.read_state(name).state for name in ("ana", "bob", "cyd")]
        return [float(state.channels[0, CHANNEL_CODES["email"], CONSENT]) for state in states]

    for number, name in enumerate(("ana", "bob", "cyd")):
        tell(number, "subscribe", name, None if name == "cyd" else "f@x")
    assert consents() == [1, 1, 1]
    tell(3, "unsubscribe", email="f@x")
    assert consents() == [0, 0, 1]
    tell(4, "visit", "cyd", "f@x")
    assert consents() == [0, 0, 0]
    tell(5, "subscribe", "bob", "f@x")
    tell(6, "visit", "cyd")
    assert consents() == [0, 1, 0]
    for name in ("ana", "bob", "cyd"):
        kit.assert_same_states(reader.read_state(name).state, fold_customer(log.customer_events(name)))
