"""Builds the feature stores: the event log in; timeline, Feast's offline and online stores, and a note of the build out."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from features.console import Progress
from features.erasure.erase import erasure_ids, honour_erasures
from features.errors import MissingError, StoreError
from features.log.engines import open_log
from features.log.event_log import EventLog
from features.offline import files
from features.offline.build_note import BuildNote, events_since, layout, places, read_note, write_note
from features.offline.files import offline_files
from features.offline.state_files import (
    EPOCH_FOLD_COLUMNS,
    FOLD_COLUMNS,
    FoldCount,
    fold_to_files,
    whole_customers,
)
from features.offline.timeline import build_timeline, count_customers, count_events, extend_timeline
from features.online.sqlite import look_at_online
from features.settings import Settings
from features.vocabulary import Columns

FOLD_ROWS: Final = 500_000
"""The timeline is folded in pieces of about this many events, cut between customers, to bound memory."""


@dataclass(frozen=True)
class BuildReport:
    """What a build did, and how long each part took."""

    events: int
    customers: int
    state_rows: int
    rebuilt: bool
    seconds: dict[str, float]


def build_features(settings: Settings, progress: Progress, force: bool = False) -> BuildReport:
    """Bring timeline and stores up to the log; does nothing when they are (unless `force`).

    Where only decisions are new, which change no state, only the timeline is written: what is learned from decisions, and
    the report, read it there. Raises MissingError when the log is empty.
    """
    log = open_log(settings)
    try:
        with offline_files(settings):
            honour_erasures(settings, log)
            erased_before = erasure_ids(log)
            report = _build(settings, log, progress, force)
            honour_erasures(settings, log, since=erased_before)
        return report
    finally:
        log.close()


def _build(settings: Settings, log: EventLog, progress: Progress, force: bool) -> BuildReport:
    note = read_note(settings)
    if note and not force and events_since(note, log) == 0 and not log.regrouped_since(note.last_seq):
        look_at_online(settings)  # or a store that cannot be read would be said to be level
        return _level(settings, log, note, progress)
    return _build_all(settings, log, progress)


def _level(settings: Settings, log: EventLog, note: BuildNote, progress: Progress) -> BuildReport:
    """The timeline and its note level with the log, when nothing or nothing but decisions came after the build."""
    fingerprint, last_seq = log.fingerprint(), log.last_seq()
    seconds: dict[str, float] = {}
    if last_seq > note.last_seq:
        progress("putting new decisions into the timeline")
        started = time.perf_counter()
        newest = extend_timeline(log, settings, note.last_seq, last_seq)
        note = replace(
            note,
            log_fingerprint=fingerprint,
            last_seq=last_seq,
            anchor=str(log.anchor()),
            events=count_events(settings.timeline_path),
            customers=count_customers(settings.timeline_path),
            last_event_at=max(note.last_event_at, newest.isoformat() if newest else ""),
        )
        write_note(settings, note)
        _lap(seconds, "timeline", started)
    return BuildReport(note.events, note.customers, note.state_rows, rebuilt=False, seconds=seconds)


def _build_all(settings: Settings, log: EventLog, progress: Progress) -> BuildReport:
    from features.store.feature_store import (
        Store,  # Feast takes seconds to import; a build that is up to date does without
    )

    fingerprint, last_seq, began = log.fingerprint(), log.last_seq(), log.anchor()
    if last_seq == 0:
        raise MissingError(
            "The event log is empty.", repair="Run omni ingest FILE, or omni sample for an invented shop."
        )
    seconds: dict[str, float] = {}
    started = time.perf_counter()
    n_events = build_timeline(log, settings, progress)
    ended = log.anchor()
    if not log.holds(began):
        raise StoreError("The event log was replaced while it was read.", repair="Run it again: omni features build")
    started = _lap(seconds, "timeline", started)
    n_customers, n_rows, last_event_at = fold_to_parquet(settings, n_events, progress)
    started = _lap(seconds, "fold", started)
    _build_product_sales(settings, last_seq, progress)
    started = _lap(seconds, "products", started)
    progress("feast apply")
    store = Store(settings)
    store.apply()
    started = _lap(seconds, "feast apply", started)
    regrouped = {name: seq for name, seq in log.regrouped_since(0).items() if seq <= last_seq}
    store.materialize(progress, regrouped, log)
    _lap(seconds, "online store", started)
    note = BuildNote(
        fingerprint,
        layout(),
        last_seq,
        n_events,
        n_customers,
        n_rows,
        last_event_at,
        places(settings),
        str(ended),
    )
    write_note(settings, note)
    return BuildReport(n_events, n_customers, n_rows, rebuilt=True, seconds=seconds)


def fold_to_parquet(settings: Settings, n_events: int, progress: Progress) -> tuple[int, int, str]:
    """Fold the timeline into Feast's offline sources; returns (customers, state rows, time of the last event)."""
    if settings.offline_store == "spark":
        from features.offline.spark_fold import fold_with_spark

        done = fold_with_spark(settings, n_events, progress)
    else:
        done = _fold_here(settings, n_events, progress)
    last_event = pa.scalar(done.last_event_us, pa.timestamp("us", tz="UTC"))
    return done.customers, done.state_rows, str(last_event.as_py().isoformat())


def _fold_here(settings: Settings, n_events: int, progress: Progress) -> FoldCount:
    states, products = settings.customer_state_path, settings.customer_products_path
    for left_over in (_part(states), _part(products)):
        files.discard(left_over)
    done, n_to_fold = FoldCount(), max(n_events, _n_to_fold(settings))
    for done in fold_to_files(_pieces(settings), _part(states), _part(products)):
        progress(f"{done.events:,} of {n_to_fold:,} events folded, {done.state_rows:,} states")
    files.replace(_part(states), states)
    files.replace(_part(products), products)
    return done


def _n_to_fold(settings: Settings) -> int:
    """Rows that `_pieces` hands over: those of customers who were put together are told once for each epoch."""
    n_rows = int(pq.read_metadata(settings.timeline_path).num_rows)
    if not settings.epochs_path.exists():
        return n_rows
    column = [Columns.CUSTOMER_ID]
    put_together = pq.read_table(settings.epochs_path, columns=column)[Columns.CUSTOMER_ID]
    current = pq.read_table(settings.timeline_path, columns=column)[Columns.CUSTOMER_ID]
    again = pc.sum(pc.is_in(current, value_set=put_together.unique())).as_py() or 0
    return int(n_rows - again + len(put_together))


def _pieces(settings: Settings) -> Iterator[pa.Table]:
    """Whole customers' timelines; of those who were put together from several, their epochs instead."""
    batches = pq.ParquetFile(settings.timeline_path).iter_batches(batch_size=FOLD_ROWS, columns=list(FOLD_COLUMNS))
    if not settings.epochs_path.exists():
        yield from whole_customers(batches)
        return
    epochs = pq.ParquetFile(settings.epochs_path)
    put_together = pq.read_table(settings.epochs_path, columns=[Columns.CUSTOMER_ID])[Columns.CUSTOMER_ID].unique()
    for piece in whole_customers(batches):
        piece = piece.filter(pc.invert(pc.is_in(piece[Columns.CUSTOMER_ID], value_set=put_together)))
        if piece.num_rows:
            yield piece
    yield from whole_customers(epochs.iter_batches(batch_size=FOLD_ROWS, columns=list(EPOCH_FOLD_COLUMNS)))


def _build_product_sales(settings: Settings, last_seq: int, progress: Progress) -> None:
    from features.offline.product_sales import build_product_sales

    build_product_sales(settings, last_seq, progress)


def _part(path: Path) -> Path:
    return path.with_suffix(".part")


def _lap(seconds: dict[str, float], name: str, started: float) -> float:
    now = time.perf_counter()
    seconds[name] = round(now - started, 2)
    return now
