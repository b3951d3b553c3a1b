"""Checked events come in; they are in the log in the home's currency, and what was said of products is in the product table."""

import logging
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa

from features.events.rules import Problem
from features.events.schema import rejected_table
from features.log.event_log import AppendResult, EventLog
from features.money.counted import currency_counts
from features.money.home import HomeCurrency
from features.rejects import RejectedFile
from features.sources.batch import ProductLines, without_rows
from features.sources.product_table import merge_products, newest_values
from features.sources.spool import Spooled
from features.vocabulary import Columns

logger = logging.getLogger(__name__)

APPEND_ROWS: Final = 250_000
"""Events per transaction of the log, about: each writes a great part of the log's indexes anew, and others wait for it."""
CONFLICTS_TOLD: Final = 20
"""How many of the events whose id another one has the report names."""


class Intake:
    """Checked events as they come out of the spool: into the log, in the home's currency; products in hand until the end.

    While the writer's thread brings some events into the log, the next ones are prepared.
    """

    def __init__(
        self,
        log: EventLog,
        home: HomeCurrency,
        rejects: RejectedFile,
        writer: ThreadPoolExecutor,
        clear: tuple[str, ...],
    ) -> None:
        """`writer` has one thread: events go into the log in their order. `clear` is the source's (SourceBatch)."""
        self._log, self._home, self._rejects = log, home, rejects
        self._products: list[pa.Table] = []
        self._clear = clear
        self.appended = self.duplicates = self.erased = self.conflicts = 0
        self.conflicting: list[str] = []
        self.currencies: Counter[str] = Counter()
        self.uncounted: Counter[str] = Counter()
        self.currency: str | None = home.code
        self._writer = writer
        self._writing: Future[AppendResult] | None = None
        self._gathered: list[pa.Table] = []

    def begin(self, counts: Counter[str]) -> None:
        """What comes is one load, with so many values by currency ("" for none)."""
        self._home.begin_load(counts)

    def keep(self, spooled: Spooled) -> None:
        """Append the events whose money can be counted; the others are rejected."""
        events, numbers = spooled.events, spooled.numbers
        came_in = events[Columns.CURRENCY]
        screened = self._home.screen(events)
        problems = {**self._price_problems(spooled), **screened.problems}
        table = screened.table
        if problems:
            places = sorted(problems)
            rows, reasons = events.take(pa.array(places)), [problems[place] for place in places]
            self._rejects.add(rejected_table(rows, numbers[places].tolist(), reasons))
            kept = np.delete(np.arange(events.num_rows), places)
            converted = np.delete(np.arange(events.num_rows), list(screened.problems))  # the screened rows' places
            table = table.filter(pa.array(np.isin(converted, kept)))
            came_in = came_in.take(pa.array(kept))
        counts, own = currency_counts(table[Columns.VALUE], table[Columns.CURRENCY]), ("", self._home.code)
        self.uncounted.update({name: count for name, count in counts.items() if name not in own})
        self.currencies.update(currency_counts(table[Columns.VALUE], came_in))
        self._gathered.append(table)
        if sum(part.num_rows for part in self._gathered) >= APPEND_ROWS:
            self._append()
        if spooled.products is not None:
            self._take_products(spooled.products, spooled.product_lines, set(numbers[list(problems)].tolist()))

    def finish(self) -> None:
        """Wait until the log has what was given to it, and count it. Raises what the log raised."""
        self._append()
        self._wait()

    def _append(self) -> None:
        """Have the log take what was gathered."""
        self._wait()
        if self._gathered:
            events, self._gathered = pa.concat_tables(self._gathered).combine_chunks(), []
            self._writing = self._writer.submit(self._log.append, events)

    def _wait(self) -> None:
        if self._writing is None:
            return
        result, self._writing = self._writing.result(), None
        self.appended, self.duplicates = self.appended + result.appended, self.duplicates + result.duplicates
        self.erased += result.erased
        self.conflicts += len(result.conflicts)
        for conflict in result.conflicts[: CONFLICTS_TOLD - len(self.conflicting)]:
            self.conflicting.append(f"{conflict.event_id}: {', '.join(conflict.fields)}")

    def _price_problems(self, spooled: Spooled) -> dict[int, Problem]:
        """By place among the events: prices in a currency without a rate."""
        if spooled.products is None or spooled.product_lines is None:
            return {}
        lines = spooled.product_lines
        of_these = np.isin(lines.numbers, spooled.numbers)
        screened = self._home.screen_prices(
            spooled.products.filter(pa.array(of_these)), lines.moments.filter(pa.array(of_these))
        )
        places = np.searchsorted(spooled.numbers, lines.numbers[of_these])
        return {int(places[row]): problem for row, problem in screened.problems.items()}

    def _take_products(self, products: pa.Table, lines: ProductLines | None, bad: set[int]) -> None:
        """Keep what rows without a fault say of products, and all that no row says; prices in the home's currency."""
        products, lines = without_rows(products, lines, bad)
        screened = self._home.screen_prices(products, None if lines is None else lines.moments)
        if screened.problems:  # of a source's own table of products
            problem = next(iter(screened.problems.values()))
            logger.warning("%d products are left out: the %s %s", len(screened.problems), problem.field, problem.reason)
        self._products.append(newest_values(screened.table))

    def write_products(self, path: Path) -> int:
        """Merge what was said of products into the table; returns of how many."""
        if not any(part.num_rows for part in self._products):
            return 0
        products = newest_values(pa.concat_tables(self._products))
        merge_products(path, products, self._clear)
        return int(products.num_rows)

    def warn(self) -> None:
        """Say of values that name no currency what they count as, and of events that were not kept for another's id."""
        if self.conflicts:
            logger.warning(
                "%d events have the id of another event and are not kept: give each event an id of its own and bring them"
                " again (the report names the first).",
                self.conflicts,
            )
        self.currency = self._home.code
        if self.appended and self.currencies[""]:
            logger.warning(
                "%d values name no currency and count as %s.",
                self.currencies[""],
                self.currency or "what this home counts in, which no value has named yet: name it in OMNI_CURRENCY",
            )
