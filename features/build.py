"""The event log comes in; the timeline, Feast's offline and online stores, and a note of what was built go out."""

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from features.console import Progress
from features.errors import MissingError
from features.freshness import BuildNote, events_since, layout, read_note, write_note
from features.log import open_log
from features.settings import Settings
from features.state import PRODUCTS_SCHEMA, STATE_SCHEMA, fold_timeline
from features.timeline import build_timeline

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
    """Bring both stores up to the log; does nothing when no event that changes a state is new (unless `force`).

    Raises MissingError when the log is empty.
    """
    from features.store import Store  # Feast takes seconds to import; a build that is up to date does without

    log = open_log(settings)
    try:
        note = read_note(settings)
        if note and not force and events_since(note, log) == 0:
            return BuildReport(note.events, note.customers, note.state_rows, rebuilt=False, seconds={})
        fingerprint, last_seq = log.fingerprint(), log.last_seq()
        if last_seq == 0:
            raise MissingError("The event log is empty.", repair="Bring events in first: omni ingest complete-journey")
        seconds: dict[str, float] = {}
        started = time.perf_counter()
        n_events = build_timeline(log, settings, progress)
        started = _lap(seconds, "timeline", started)
        n_customers, n_rows, last_event_at = fold_to_parquet(settings, n_events, progress)
        started = _lap(seconds, "fold", started)
        _build_product_state(settings, progress)
        started = _lap(seconds, "products", started)
        progress("feast apply")
        store = Store(settings)
        store.apply()
        started = _lap(seconds, "feast apply", started)
        store.materialize(progress)
        _lap(seconds, "online store", started)
        write_note(settings, BuildNote(fingerprint, layout(), last_seq, n_events, n_customers, n_rows, last_event_at))
        return BuildReport(n_events, n_customers, n_rows, rebuilt=True, seconds=seconds)
    finally:
        log.close()


def fold_to_parquet(settings: Settings, n_events: int, progress: Progress) -> tuple[int, int, str]:
    """Fold the timeline into Feast's offline sources; returns (customers, state rows, time of the last event)."""
    states, products = settings.customer_state_path, settings.customer_products_path
    n_customers = n_rows = n_folded = 0
    last = pa.scalar(0, pa.timestamp("us", tz="UTC"))
    columns = ["customer_id", "occurred_at", "kind", "channel", "product_code", "quantity", "value", "seq"]
    with (
        pq.ParquetWriter(_part(states), STATE_SCHEMA, compression="zstd", use_dictionary=["customer_id"]) as to_states,
        pq.ParquetWriter(
            _part(products), PRODUCTS_SCHEMA, compression="zstd", use_dictionary=["customer_id"]
        ) as to_prods,
    ):
        for piece in _pieces(settings.timeline_path, columns):
            n_customers += len(piece["customer_id"].unique())
            for state_rows, product_rows in fold_timeline(piece):
                to_states.write_table(state_rows)
                to_prods.write_table(product_rows)
                n_rows += state_rows.num_rows
            last = max(last, pc.max(piece["occurred_at"]), key=lambda moment: moment.value)
            n_folded += piece.num_rows
            progress(f"{n_folded:,} of {n_events:,} events folded, {n_rows:,} states")
    os.replace(_part(states), states)
    os.replace(_part(products), products)
    return n_customers, n_rows, str(last.as_py().isoformat())


def _pieces(path: Path, columns: list[str]) -> Iterator[pa.Table]:
    """The timeline in pieces that never cut a customer in two."""
    rest: pa.Table | None = None
    for batch in pq.ParquetFile(path).iter_batches(batch_size=FOLD_ROWS, columns=columns):
        piece = pa.Table.from_batches([batch])
        if rest is not None:
            piece = pa.concat_tables([rest, piece])
        last_customer = piece["customer_id"][-1]
        n_whole = pc.sum(pc.not_equal(piece["customer_id"], last_customer)).as_py()
        rest = piece.slice(n_whole)
        if n_whole:
            yield piece.slice(0, n_whole)
    if rest is not None:
        yield rest


def _build_product_state(settings: Settings, progress: Progress) -> None:
    from features.product_state import build_product_state

    build_product_state(settings, progress)


def _part(path: Path) -> Path:
    return path.with_suffix(".part")


def _lap(seconds: dict[str, float], name: str, started: float) -> float:
    now = time.perf_counter()
    seconds[name] = round(now - started, 2)
    return now
