"""New purchases of the log in, the online rows of `product_sales` out: what keeps the products' numbers of now.

A purchase counts once, whatever is interrupted: each row says up to which log row its purchases are in it.
"""

import time
from collections.abc import Callable
from itertools import islice
from typing import Final, Protocol

import pyarrow as pa

from features.log.event_log import EventLog
from features.online.checkpoint import Checkpoint
from features.online.reach import Reach
from features.settings import Settings
from features.state.product_blocks import ProductBlocks
from features.state.products import purchases
from features.vocabulary import Columns

EVERY_S: Final = 5.0
"""Seconds between two looks at the log: popularity halves in days, and a look at ten blocks costs some milliseconds."""
_BATCH_EVENTS: Final = 20_000
_BATCHES: Final = 10
"""As many are gone over in one go, so that customers' states are not held up by a long log."""


class ProductStore(Protocol):
    """The one thing needed of the store."""

    def write_products(self, blocks: pa.Table) -> None:
        """Write rows of product blocks."""


class ProductReader(Protocol):
    """The one thing needed of the online store."""

    def read_products(self) -> ProductBlocks:
        """What the online store holds of products."""


class LiveProducts:
    """Folds the log's new purchases into the online store, in batches."""

    def __init__(
        self,
        log: EventLog,
        store: ProductStore,
        reader: ProductReader,
        settings: Settings,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._log = log
        self._store = store
        self._reader = reader
        self._clock = clock
        self._reach = Reach(settings)
        self._checkpoint = Checkpoint(settings, of="products")
        self._blocks = ProductBlocks.empty()
        self._done_seq = -1  # nothing was read yet
        self._next = 0.0

    def run_due(self) -> None:
        """Bring the rows up to the log if that was not done in the last seconds."""
        if self._clock() >= self._next:
            self.run_once()
            self._next = self._clock() + EVERY_S

    def run_once(self) -> int:
        """Bring the rows up to the log, or nearer to it where that is far; returns how many blocks were written."""
        self._reach.make_of(self._log)
        done_seq = self._checkpoint.read()
        if done_seq != self._done_seq:  # at the start, and after a build, which writes all rows anew
            self._blocks, self._done_seq = self._reader.read_products(), done_seq
        before, self._done_seq = self._done_seq, -1  # until all is written: what fails is begun again from the rows
        changed: set[int] = set()
        # rows that were emptied are written when they are whole: half of the past would be another popularity
        most = _BATCHES if before else None
        for events in islice(self._log.read(done_seq, _BATCH_EVENTS), most):
            done_seq = int(events[Columns.SEQ][-1].as_py())
            self._blocks, blocks = self._blocks.add(*purchases(events), upto_seq=done_seq)
            changed.update(blocks.tolist())
        if done_seq != before:
            if changed:
                self._reach.extend(self._log)
                self._store.write_products(self._blocks.rows(changed))
            self._checkpoint.write(done_seq)
        self._done_seq = done_seq
        return len(changed)
