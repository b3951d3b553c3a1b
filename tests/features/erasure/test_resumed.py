"""Erasures by halves: a process that dies anywhere, many who ask at once, rows that come back; one receipt, at the end."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from made_ada import COOKIE, EMAIL, MODEL, NOW, WORLD, build, erased, row, table

from features import atomic
from features.checks.doctor import Status, check_erasures
from features.erasure import erase as erase_module
from features.erasure.erase import begin_erasure, finish_erasure, pending_erasures
from features.erasure.turns import WORK, turn
from features.errors import StoreError
from features.log.engines import open_log
from features.log.erasure import LogErasureBook
from features.log.event_log import EventLog
from features.log.receipt import Receipt, State, Step, receipt_path
from features.log.sqlite import SqliteEventLog
from features.online.sqlite import SqliteEntities
from features.settings import Settings


class Killed(BaseException):
    """As if the process died: nobody handles it."""


@pytest.fixture(scope="module")
def built_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with everything that an erasure goes through, to be copied."""
    home = tmp_path_factory.mktemp("built") / "home"
    settings = home_settings(home)
    log = open_log(settings)
    log.append(table(WORLD))
    log.close()
    build(settings)
    settings.rejected_dir.mkdir()
    columns = {"customer_id": ["ada-1815", "bob"], "source_row": ['["ada-1815", "\\udcff"]', None]}
    pq.write_table(pa.table(columns), settings.rejected_dir / "shop.parquet")
    return home


def home_settings(home: Path) -> Settings:
    return Settings.from_env({"OMNI_HOME": str(home), "OMNI_CLOCK_START": NOW.isoformat()})


@contextmanager
def copied(built_home: Path, home: Path) -> Iterator[tuple[Settings, EventLog]]:
    shutil.copytree(built_home, home)
    settings = home_settings(home)
    log = open_log(settings)
    try:
        yield settings, log
    finally:
        log.close()


def said(receipt: Receipt) -> dict[str, Any]:
    """What a receipt says, but for moments, keys and the number of copies that had to be written anew."""
    places = [(place.place, place.state, place.left) for place in receipt.places]
    return {**receipt.model_dump(include={"removed", "pending", "models", "notes"}), "places": places}


BOUNDARIES: tuple[tuple[Any, str], ...] = (
    (LogErasureBook, "change"),
    (SqliteEntities, "remove"),
    (atomic, "put_in_place"),
)
"""Everything by which an erasure changes something, but the one transaction of the log."""


def interrupting(monkeypatch: pytest.MonkeyPatch, die_after: int) -> list[str]:
    """Have the process die right after so many changes; the list tells which changes there were."""
    calls: list[str] = []

    def wrapped(real: Callable[..., Any], name: str) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            if len(calls) == die_after == 0:
                raise Killed
            calls.append(name)
            answer = real(*arguments)
            if len(calls) == die_after:
                raise Killed
            return answer

        return call

    for owner, name in BOUNDARIES:
        monkeypatch.setattr(owner, name, wrapped(getattr(owner, name), name))
    return calls


def test_a_process_that_dies_at_any_change_loses_no_count(
    built_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with copied(built_home, tmp_path / "whole") as (settings, log), monkeypatch.context() as counting:
        calls = interrupting(counting, die_after=-1)
        undisturbed = said(erased(settings, log, EMAIL))
    assert set(calls) == {name for _, name in BOUNDARIES}
    assert undisturbed["removed"]["files: offline/timeline.parquet"] == 4
    assert undisturbed["removed"]["files: rejected/shop.parquet"] == 1
    assert undisturbed["removed"]["online store: rows"] == 2
    assert {state for _, state, left in undisturbed["places"] if left is not None} == {State.EMPTY, State.NAMELESS}

    for number in range(len(calls) + 1):
        home = tmp_path / str(number)
        with copied(built_home, home) as (settings, log):
            with monkeypatch.context() as dying, pytest.raises(Killed):
                interrupting(dying, number)
                erased(settings, log, EMAIL)
            assert len(pending_erasures(log)) == int(number < len(calls))

            receipt = erased(settings, log, EMAIL)

            assert said(receipt) == undisturbed, (number, calls[:number])
            assert Receipt.model_validate_json(receipt_path(settings, receipt.receipt_id).read_text()) == receipt
            assert list(home.rglob("*.part")) == []
        shutil.rmtree(home)


def test_there_is_no_receipt_before_the_end_and_it_is_never_written_again(
    settings: Settings, log: SqliteEventLog
) -> None:
    underway = begin_erasure(settings, log, "ada-1815")
    assert underway is not None and not underway.places
    path = receipt_path(settings, underway.receipt_id)
    finish_erasure(settings, log, underway, progress=lambda _: None)
    assert not path.exists()  # nobody has listed the models

    receipt = finish_erasure(settings, log, underway, lambda: [MODEL], lambda _: None)

    written = path.read_bytes(), path.stat().st_mtime_ns
    assert begin_erasure(settings, log, "ada-1815") == receipt
    assert finish_erasure(settings, log, underway, list, lambda _: None) == receipt  # by who still holds the old state
    build(settings)
    assert (path.read_bytes(), path.stat().st_mtime_ns) == written
    assert receipt.completed_at is not None and receipt.models == (MODEL,)


def test_many_who_ask_at_once_get_the_same_receipt_and_every_count(built_home: Path, tmp_path: Path) -> None:
    """Each in a thread of its own, the whole erasure of one customer and that of two others."""
    names = ["ada-1815", EMAIL, f"cookie:{COOKIE}", "bob", "cleo"] * 4
    alone = {}
    for name in ("ada-1815", "bob", "cleo"):
        with copied(built_home, tmp_path / name) as (settings, log):
            alone[name] = erased(settings, log, name).removed
    with copied(built_home, tmp_path / "together") as (settings, log):
        with ThreadPoolExecutor(8) as threads:
            receipts = list(threads.map(lambda name: erased(settings, log, name), names))
        final = {receipt.receipt_id: receipt for receipt in log.erasures().receipts()}

    assert len(final) == 3 and all(receipt.complete for receipt in final.values())
    assert receipts == [final[receipt.receipt_id] for receipt in receipts]
    by_customer = {receipt.customer: receipt.removed for receipt in receipts}
    assert sorted(map(in_order, by_customer.values())) == sorted(map(in_order, alone.values()))


def in_order(removed: dict[str, int]) -> list[tuple[str, int]]:
    return sorted(removed.items())


def test_what_comes_back_before_the_end_is_taken_out_again(
    settings: Settings, log: SqliteEventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = erase_module.look_at_all, []

    def come_back(*arguments: Any) -> Any:
        if not calls:
            settings.rejected_dir.mkdir()
            pq.write_table(pa.table({"customer_id": ["ada-1815", "bob"]}), settings.rejected_dir / "late.parquet")
        calls.append(arguments)
        return real(*arguments)

    monkeypatch.setattr(erase_module, "look_at_all", come_back)

    receipt = erased(settings, log, "ada-1815")

    assert (len(calls), receipt.removed["files: rejected/late.parquet"]) == (2, 1)
    assert pq.read_table(settings.rejected_dir / "late.parquet")["customer_id"].to_pylist() == ["bob"]


def test_what_always_comes_back_leaves_the_erasure_pending(
    settings: Settings, log: SqliteEventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = erase_module.look_at_all
    settings.rejected_dir.mkdir(parents=True)

    def come_back(*arguments: Any) -> Any:
        pq.write_table(pa.table({"customer_id": ["ada-1815"]}), settings.rejected_dir / "late.parquet")
        return real(*arguments)

    with monkeypatch.context() as broken:
        broken.setattr(erase_module, "look_at_all", come_back)
        with pytest.raises(StoreError, match=r"come back after they were removed \(files\)"):
            erased(settings, log, "ada-1815")
    (left,) = pending_erasures(log)
    assert left.pending == (Step.FILES, Step.MODELS)
    assert not receipt_path(settings, left.receipt_id).exists()

    assert erased(settings, log, "ada-1815").removed["files: rejected/late.parquet"] == 3


def test_the_log_is_looked_at_again_and_a_row_in_it_is_said(any_engine: Settings, any_log: EventLog) -> None:
    begun = begin_erasure(any_engine, any_log, "ada-1815")
    assert begun is not None
    again = any_log.erasures().look_again(begun.receipt_id)
    assert set(again.rows.values()) == {0} and again.returned == frozenset()
    with any_log._writing() as connection:  # type: ignore[attr-defined]
        connection.execute(
            "INSERT INTO customers (nodes, customer_id, first_us) VALUES (?, ?, ?)", ("[]", "ada-1815", 5)
        )
        connection.execute("INSERT INTO regrouped VALUES (?, ?)", ("ada-1815", 5))

    rows = any_log.erasures().look_again(begun.receipt_id).rows

    assert (rows["log: customers"], rows["log: regrouped"], rows["log: events"]) == (1, 1, 0)


def test_who_comes_back_is_not_what_is_left(settings: Settings, log: SqliteEventLog) -> None:
    underway = begin_erasure(settings, log, "ada-1815")
    assert underway is not None
    log.append(table([row("n1", 90, "ada-1815")]))

    receipt = finish_erasure(settings, log, underway, list, lambda _: None)

    assert receipt.complete and log.customer_events("ada-1815")["event_id"].to_pylist() == ["n1"]
    assert next(place for place in receipt.places if place.place == "log: events").detail.startswith("came back")


def test_the_check_says_what_is_pending_and_since_when(settings: Settings, log: SqliteEventLog) -> None:
    assert check_erasures(settings).status is Status.OK
    underway = begin_erasure(settings, log, "ada-1815")
    assert underway is not None
    check = check_erasures(settings)
    assert (check.status, check.found) == (Status.WARN, f"1 pending since {underway.erased_at.isoformat()}.")
    assert check.repair.endswith("omni erase --finish")
    erased(settings, log, "ada-1815")
    assert check_erasures(settings).status is Status.OK


def test_whose_turn_it_is_is_said_and_a_holder_that_dies_frees_it(settings: Settings) -> None:
    code = f"""
import os, time
from features.erasure.turns import turn
from features.settings import Settings
with turn(Settings.from_env(os.environ), "{WORK}"):
    print("mine", flush=True)
    time.sleep(600)
"""
    env = {**os.environ, "OMNI_HOME": str(settings.home)}
    holder = subprocess.Popen([sys.executable, "-c", code], env=env, stdout=subprocess.PIPE)
    try:
        assert holder.stdout is not None and holder.stdout.readline() == b"mine\n"
        words = rf"at work on erasures: process {holder.pid}, since .*omni erase --finish"
        with pytest.raises(StoreError, match=words), turn(settings, WORK, wait_s=0.1):
            pass
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        if holder.stdout is not None:
            holder.stdout.close()
    with turn(settings, WORK, wait_s=5.0):
        pass


def test_a_remote_tracking_server_and_backups_are_listed(settings: Settings, log: SqliteEventLog) -> None:
    underway = begin_erasure(settings, log, "ada-1815")
    assert underway is not None
    backup = settings.home.parent / "backup-1"

    receipt = finish_erasure(settings, log, underway, list, lambda _: None, lambda: [str(backup)])

    states = {place.place: place.state for place in receipt.places}
    assert states[f"backup: {backup}"] is State.YOURS
    assert states["caches: products bought, in each worker's memory"] is State.EXPIRES
    assert states["mlflow: artifacts"] is State.NAMELESS
