"""Batches of a source come in; out go its good events in a spool, and its bad rows in a file."""

from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime
from typing import Final

import numpy as np
import pyarrow as pa

from features.arrays import IntArray
from features.events.placeholders import Placeholders
from features.events.schema import EVENT_SCHEMA, validate_table
from features.money.counted import currency_counts
from features.rejects import RejectedFile
from features.sources.batch import ProductLines, SourceBatch, without_rows
from features.sources.spool import RepeatedIds, Spool, refuse_differing
from features.vocabulary import Columns

CHECK_ROWS: Final = 100_000
"""Events that are checked at a time."""


class Checker:
    """Batches as they come: good events into the spool, others into the file of rejects, and what only the whole shows.

    While the writer's thread puts some events into the spool, the next ones are read and checked.
    """

    def __init__(
        self, spool: Spool, rejects: RejectedFile, now: datetime, nobody: Placeholders, writer: ThreadPoolExecutor
    ) -> None:
        self._spool, self._rejects, self._now, self._nobody, self._writer = spool, rejects, now, nobody, writer
        self._repeated = RepeatedIds()
        self._writing: Future[None] | None = None
        self.rows = 0
        self.skipped: Counter[str] = Counter()
        self.clear: tuple[str, ...] = ()
        self.currencies: Counter[str] = Counter()
        """Good events with a value, by currency, "" for none; in the order in which they come."""

    def take(self, batch: SourceBatch) -> None:
        """Keep what is good of a batch, and note what is not."""
        self.rows += batch.rows_total
        self.skipped.update(batch.skipped)
        if batch.rejected is not None:
            self._rejects.add(batch.rejected)
        bad: set[int] = set()
        good: list[tuple[pa.Table, IntArray]] = []
        for start in range(0, batch.events.num_rows, CHECK_ROWS):
            events = batch.events.slice(start, CHECK_ROWS)
            places = np.arange(start, start + events.num_rows)
            numbers = places if batch.row_numbers is None else batch.row_numbers[places]
            kept, rejected = validate_table(events, self._now, self._nobody)
            if rejected.num_rows:
                wrong = rejected.column("index").to_numpy()
                self._rejects.add(rejected.set_column(0, "index", pa.array(numbers[wrong], pa.int64())))
                bad |= set(numbers[wrong].tolist())
                numbers, places = np.delete(numbers, wrong), np.delete(places, wrong)
            if batch.repeats == "refuse" and batch.contents is not None:
                self._repeated.add(kept, batch.contents[places])
            self.currencies.update(currency_counts(kept[Columns.VALUE], kept[Columns.CURRENCY]))
            good.append((kept, numbers))
        products, lines = batch.products, batch.product_lines
        if products is not None:
            self.clear = batch.clear
            products, lines = without_rows(products, lines, bad)
            if not good:
                good.append((EVENT_SCHEMA.empty_table(), np.empty(0, np.int64)))
        self._wait()
        self._writing = self._writer.submit(self._put, good, products, lines)

    def finish(self) -> None:
        """Raises InputError where the source as a whole is not what it should be."""
        self._wait()
        refuse_differing(self._repeated, self._spool)

    def _put(
        self, good: list[tuple[pa.Table, IntArray]], products: pa.Table | None, lines: ProductLines | None
    ) -> None:
        last = len(good) - 1  # products come after all of the rows that speak of them
        for place, (events, numbers) in enumerate(good):
            self._spool.add(events, numbers, products if place == last else None, lines if place == last else None)

    def _wait(self) -> None:
        if self._writing is not None:
            self._writing.result()
