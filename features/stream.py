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
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import IO, Final, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from features.errors import OmniError, StoreError
from features.log.event_log import Arrival, EventLog
from features.online.checkpoint import Checkpoint
from features.online.follower import stream_lock
from features.online.products import LiveProducts
from features.online.reach import Reach
from features.online.reader import Folded, OnlineReader
from features.online.trust import open_known_log
from features.online.writer import OnlineWriter
from features.processes.json_lines import log_json_lines
from features.processes.lean import leave_pandas_out
from features.processes.lifeline import hang_on
from features.settings import PARENT, Settings
from features.state.batch import StateBatch
from features.state.fold import fold_on
from features.store.apply import apply_elsewhere
from features.vocabulary import Columns, EventKind

logger = logging.getLogger(__name__)

_BATCH_EVENTS: Final = 5_000
_CUSTOMERS_PER_WRITE: Final = 200
_CUSTOMERS_ANEW: Final = 20
"""Customers who are folded from all of their events in one go: that many may have hundreds of thousands."""
_RECORDS: Final = frozenset({EventKind.DECISION, EventKind.ERASE})
"""Kinds of events that are our own records of a customer and change no state."""
_LEFT_RECORDS: Final = 64
_LEFT_CUSTOMERS: Final = 100_000
"""How many customers are remembered for whom a row was not written."""
_LOOK_EVERY_S: Final = 1.0
"""How often a log without news is looked at all the same."""
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
    """Folds the log's new events into the online store, in groups of customers; `products` does so for the products."""

    def __init__(self, log: EventLog, store: StateWriter, reader: OnlineReader, settings: Settings) -> None:
        self._log = log
        self._store = store
        self._reader = reader
        self._reach = Reach(settings)
        self._checkpoint = Checkpoint(settings)
        self._left: Counter[str] = Counter()
        """How many records every customer's row was not written for."""
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
        while arrivals := self._log.arrivals(done_seq, _BATCH_EVENTS):
            if not self._apply(arrivals, done_seq, stop or threading.Event()):
                break
            done_seq = arrivals[-1].seq
            self._checkpoint.write(done_seq)
            n_events += len(arrivals)
            if len(arrivals) < _BATCH_EVENTS or (stop is not None and stop.is_set()):
                break
        return n_events

    def look_back(self) -> None:
        """Have the newest events looked at again by the next run: a power cut may have taken online rows.

        What is online still is not written again.
        """
        self._checkpoint.write(max(0, self._checkpoint.read() - _LOOK_BACK_EVENTS))

    def run_forever(self, stop: threading.Event, poll_s: float = 0.1) -> None:
        """Follow the log until `stop` is set; a failure is logged and tried again, slower.

        What comes in within `poll_s` is folded together: answers take from the log what is not folded yet.
        """
        seen_seq, look_s = -1, 0.0
        while not stop.is_set():
            try:
                seq = self._log.last_seq()
                if (
                    seq != seen_seq or time.monotonic() >= look_s
                ):  # now and then it is another log, or a build set us back
                    self.run_once(stop)
                    seen_seq, look_s = seq, time.monotonic() + _LOOK_EVERY_S
                self.products.run_due()
                wait_s = poll_s
            except (OmniError, sqlite3.Error) as error:
                logger.warning("The stream waits: %s", error)
                seen_seq, wait_s = -1, max(1.0, poll_s)
            stop.wait(wait_s)

    def _apply(self, arrivals: Sequence[Arrival], after_seq: int, stop: threading.Event) -> bool:
        """Write the states of those of whom `arrivals`, which come after a log row, tell something, and who joined or parted.

        False where `stop` came before the last of them.
        """
        newest = {arrival.customer_id: arrival.seq for arrival in arrivals}
        changed = {arrival.customer_id for arrival in arrivals if arrival.kind not in _RECORDS}
        for customer_id, seq in self._log.regrouped_since(after_seq).items():
            if seq <= arrivals[-1].seq:
                newest[customer_id] = max(seq, newest.get(customer_id, 0))
                changed.add(customer_id)
        folded = self._reader.folded(list(newest))
        stale = {name for name, seq in newest.items() if name not in folded or folded[name].last_seq < seq}
        changed |= self._due((arrival for arrival in arrivals if arrival.customer_id in stale - changed), folded)
        waiting = sorted(name for name in newest if name in changed and name in stale)
        for start in range(0, len(waiting), _CUSTOMERS_PER_WRITE):
            if stop.is_set():
                return False
            self._write(waiting[start : start + _CUSTOMERS_PER_WRITE], newest)
        return True

    def _due(self, records: Iterable[Arrival], folded: Mapping[str, Folded]) -> set[str]:
        """Customers whose row is written for the sake of our own records of them, which change no state.

        Their row says how far the log is folded, so that whoever reads it need not look at many of them; and a decision of
        before the newest behaviour tells what a message was about.
        """
        due = set()
        if len(self._left) > _LEFT_CUSTOMERS:
            self._left.clear()
        for record in records:
            name = record.customer_id
            self._left[name] += 1
            is_late = name in folded and record.occurred_us < folded[name].event_at.timestamp() * 1e6
            if self._left[name] >= _LEFT_RECORDS or (is_late and record.kind == EventKind.DECISION):
                due.add(name)
        return due

    def _write(self, names: list[str], newest: Mapping[str, int]) -> None:
        """Write what the log says of customers by now, who are done with up to their newest seqs."""
        known, batch = self._reader.read_batch(names)
        after = dict(zip(known, batch.last_seq.tolist(), strict=True))
        events = self._log.events_of(after)
        # asked after the events: a regrouping in between must not leave those that it gave or took unseen
        regrouped = self._log.regrouped_seqs(known)
        kept = [place for place, name in enumerate(known) if after[name] >= regrouped.get(name, 0)]
        if len(kept) < len(known):
            known, batch = [known[place] for place in kept], batch.take(np.array(kept, dtype=np.int64))
            events = events.filter(pc.is_in(events[Columns.RESOLVED_CUSTOMER_ID], pa.array(known, pa.string())))
        rows = [fold_on(known, batch, events, newest)]
        anew = [name for name in names if name not in set(known)] + rows[0].anew
        for start in range(0, len(anew), _CUSTOMERS_ANEW):
            piece = anew[start : start + _CUSTOMERS_ANEW]
            whole = self._log.events_of(dict.fromkeys(piece, 0))
            rows.append(fold_on(piece, StateBatch.empty(len(piece)), whole, newest))
        states = pa.concat_tables([each.states for each in rows])
        for name in names:
            self._left.pop(name, None)
        if states.num_rows:
            self._reach.extend(self._log)
            self._store.write_online(states, pa.concat_tables([each.products for each in rows]))


def main() -> int:
    """Follow the log that the environment names, until SIGTERM, SIGINT or the end of the parent process."""
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s")
    settings = Settings.from_env(os.environ)
    if settings.log_format == "json":
        log_json_lines()
    stop = threading.Event()

    def end(_signal: int, _frame: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    # A parent that says who it is may end before this line: then another process is our parent by now.
    parent = int(os.environ.get(PARENT, os.getppid()))
    threading.Thread(target=_stop_with_parent, args=(stop, parent), daemon=True).start()
    hang_on(os.environ)
    leave_pandas_out()
    try:
        with _alone(settings, stop):
            return 0 if stop.is_set() else _follow(settings, stop)
    except StoreError as error:
        logger.error("%s", error)
        return 2


def _follow(settings: Settings, stop: threading.Event) -> int:
    try:
        apply_elsewhere(settings)
        log = open_known_log(settings)  # an empty one in place of another would have the store emptied
    except OmniError as error:
        logger.error("%s", error)
        return 2
    logger.info("following the log from row %d", Checkpoint(settings).read())
    try:
        applier = Applier(log, OnlineWriter(settings), OnlineReader(settings), settings)
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
    with _open_lock(stream_lock(settings)) as lock:
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
