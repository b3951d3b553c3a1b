"""The stream: the log's new events in, their customers' and products' states out to Feast's online store, a moment later.

Run by `omni serve` as a child process: `python -m features.stream`. An event may be applied again after a crash, never
twice in its effect: a customer's state is their online row plus the log's rows after it, whatever was written before.
"""

import fcntl
import logging
import os
import signal
import sqlite3
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import IO, Final, Protocol

import numpy as np
import pyarrow as pa

from features.errors import OmniError, StoreError
from features.log.engines import open_log
from features.log.event_log import EventLog
from features.online.checkpoint import Checkpoint
from features.online.live import LiveStates
from features.online.products import LiveProducts
from features.online.reach import Reach
from features.online.reader import OnlineReader
from features.processes.lifeline import hang_on
from features.settings import PARENT, Settings
from features.state.batch import StateBatch
from features.state.encoding import encode
from features.store.feature_store import Store
from features.vocabulary import Columns

logger = logging.getLogger(__name__)

_BATCH_EVENTS: Final = 5_000
_CUSTOMERS_PER_WRITE: Final = 200
_PARENT_CHECK_S: Final = 1.0
_TURN_CHECK_S: Final = 0.5
_LOOK_BACK_EVENTS: Final = 100_000
"""More events than come in while an operating system keeps what is written from the disk: half a minute."""


class StateWriter(Protocol):
    """What is needed of the store."""

    def write_online(self, states: pa.Table, products: pa.Table) -> None:
        """Write customer rows of both views."""

    def write_products(self, blocks: pa.Table) -> None:
        """Write rows of product blocks."""


class Applier:
    """Folds the log's new events into the online store; `products` does so for the products."""

    def __init__(self, log: EventLog, store: StateWriter, reader: OnlineReader, settings: Settings) -> None:
        self._log = log
        self._store = store
        self._reader = reader
        self._states = LiveStates(reader, log)
        self._reach = Reach(settings)
        self._checkpoint = Checkpoint(settings)
        self.products = LiveProducts(log, store, reader, settings)

    def run_once(self, stop: threading.Event | None = None) -> int:
        """Bring the online store up to the log as it is now; returns the number of events that are done with.

        The checkpoint moves after the states are written, batch by batch. Once `stop` is set it returns after the write
        that is under way, and the rest of that batch is looked at again by the next run. A store that is not of this log
        is emptied first, and what is popular, which nobody can read from the log in time, is written before the customers.
        """
        if self._reach.make_of(self._log):
            self.products.run_once()
        n_events, done_seq = 0, self._checkpoint.read()
        for events in self._log.read(done_seq, _BATCH_EVENTS):
            if not self._apply(events, done_seq, stop or threading.Event()):
                break
            done_seq = int(events[Columns.SEQ][-1].as_py())
            self._checkpoint.write(done_seq)
            n_events += events.num_rows
            if stop is not None and stop.is_set():
                break
        return n_events

    def look_back(self) -> None:
        """Have the newest events looked at again by the next run: a power cut may have taken online rows.

        What is online still is not written again.
        """
        self._checkpoint.write(max(0, self._checkpoint.read() - _LOOK_BACK_EVENTS))

    def run_forever(self, stop: threading.Event, poll_s: float = 0.02) -> None:
        """Follow the log until `stop` is set; a failure is logged and tried again, slower."""
        while not stop.is_set():
            try:
                self.run_once(stop)
                self.products.run_due()
                wait_s = poll_s
            except (OmniError, sqlite3.Error) as error:
                logger.warning("The stream waits: %s", error)
                wait_s = max(1.0, poll_s)
            stop.wait(wait_s)

    def _apply(self, events: pa.Table, after_seq: int, stop: threading.Event) -> bool:
        """Write the states of everybody in `events`, which come after a log row, and of whom they joined or parted.

        False where `stop` came before the last of them.
        """
        newest = _newest_seqs(events)
        for customer_id, seq in self._log.regrouped_since(after_seq).items():
            if seq <= events[Columns.SEQ][-1].as_py():
                newest[customer_id] = max(seq, newest.get(customer_id, 0))
        online = self._reader.last_seqs(list(newest))
        waiting = [customer_id for customer_id, seq in newest.items() if online.get(customer_id, -1) < seq]
        for start in range(0, len(waiting), _CUSTOMERS_PER_WRITE):
            if stop.is_set():
                return False
            self._write(waiting[start : start + _CUSTOMERS_PER_WRITE], newest)
        return True

    def _write(self, customer_ids: list[str], newest: dict[str, int]) -> None:
        states = [(key, live.state) for key in customer_ids if (live := self._states.get(key)) is not None]
        if not states:
            return
        batch = StateBatch.concat([state for _, state in states])
        # Events about our own records change no state, but they are done with as well.
        seqs = np.maximum(batch.last_seq, [newest[key] for key, _ in states])
        self._reach.extend(self._log)
        self._store.write_online(*encode(replace(batch, last_seq=seqs), [key for key, _ in states]))


def _newest_seqs(events: pa.Table) -> dict[str, int]:
    """The newest log row of every customer in `events`, which are in the log's order."""
    customers = events[Columns.RESOLVED_CUSTOMER_ID].to_pylist()
    seqs = events[Columns.SEQ].to_pylist()
    return {customer: seq for customer, seq in zip(customers, seqs, strict=True) if customer is not None}


def main() -> int:
    """Follow the log that the environment names, until SIGTERM, SIGINT or the end of the parent process."""
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s")
    settings = Settings.from_env(os.environ)
    stop = threading.Event()

    def end(_signal: int, _frame: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    # A parent that says who it is may end before this line: then another process is our parent by now.
    parent = int(os.environ.get(PARENT, os.getppid()))
    threading.Thread(target=_stop_with_parent, args=(stop, parent), daemon=True).start()
    hang_on(os.environ)
    try:
        with _alone(settings, stop):
            return 0 if stop.is_set() else _follow(settings, stop)
    except StoreError as error:
        logger.error("%s", error)
        return 2


def _follow(settings: Settings, stop: threading.Event) -> int:
    try:
        store = Store(settings)
        store.apply()
        store.warm_up()
        log = open_log(settings)
    except OmniError as error:
        logger.error("%s", error)
        return 2
    logger.info("following the log from row %d", Checkpoint(settings).read())
    try:
        applier = Applier(log, store, OnlineReader(settings), settings)
        applier.look_back()
        applier.run_forever(stop)
    finally:
        log.close()
    return 0


@contextmanager
def _alone(settings: Settings, stop: threading.Event) -> Iterator[None]:
    """Wait until no other stream follows this home's log, or `stop` is set; nobody else does in the block.

    Two would write each customer twice and move one checkpoint: no harm, but double the work. The one that waits takes
    over when the other ends, however that ends.
    """
    with _open_lock(settings.home / "run" / "stream.lock") as lock:
        told = False
        while not stop.is_set():
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if not told:
                    logger.info("another stream follows the log of %s: this one waits until it ends", settings.home)
                told = True
                stop.wait(_TURN_CHECK_S)
        yield


def _open_lock(path: Path) -> IO[str]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.open("a")
    except OSError as error:
        raise StoreError(
            f"{path} cannot be written ({error.strerror}).", repair="Give the folder to the user who serves."
        ) from error


def _stop_with_parent(stop: threading.Event, parent: int) -> None:
    while not stop.is_set():
        if os.getppid() != parent:
            stop.set()
        time.sleep(_PARENT_CHECK_S)


if __name__ == "__main__":
    sys.exit(main())
