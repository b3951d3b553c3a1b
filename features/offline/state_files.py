"""The fold into files: pieces of the timeline in, one file of state rows and one of products rows out, with a count of both.

The embedded build calls this once; Spark calls it once per partition. It is the only way in which states reach a file.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from features.state.encoding import PRODUCTS_SCHEMA, STATE_SCHEMA
from features.state.fold import fold_timeline
from features.vocabulary import Columns

FOLD_COLUMNS: Final = (
    Columns.CUSTOMER_ID,
    Columns.OCCURRED_AT,
    Columns.KIND,
    Columns.CHANNEL,
    Columns.PRODUCT_CODE,
    Columns.QUANTITY,
    Columns.VALUE,
    Columns.DETAIL,
    Columns.ORDER_CODE,
    Columns.CAMPAIGN_ID,
    Columns.DECISION_ID,
    Columns.IDENTIFIED,
    Columns.SEQ,
    Columns.PROFILE,
)
"""What the fold reads of the timeline."""
EPOCH_FOLD_COLUMNS: Final = (*FOLD_COLUMNS, Columns.EPOCH, Columns.WRITTEN)
"""What it reads of the timelines of customers who were put together."""


@dataclass(frozen=True)
class FoldCount:
    """What was folded; `last_event_us` is in microseconds since the epoch."""

    events: int = 0
    customers: int = 0
    state_rows: int = 0
    last_event_us: int = 0

    def __add__(self, other: "FoldCount") -> "FoldCount":
        return FoldCount(
            self.events + other.events,
            self.customers + other.customers,
            self.state_rows + other.state_rows,
            max(self.last_event_us, other.last_event_us),
        )


def whole_customers(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.Table]:
    """A sorted timeline in batches of any size, in pieces that never cut a customer in two."""
    rest: pa.Table | None = None
    for batch in batches:
        piece = pa.Table.from_batches([batch])
        if rest is not None:
            piece = pa.concat_tables([rest, piece])
        if not piece.num_rows:
            continue
        last_customer = piece[Columns.CUSTOMER_ID][-1]
        n_whole = pc.sum(pc.not_equal(piece[Columns.CUSTOMER_ID], last_customer)).as_py()
        rest = piece.slice(n_whole)
        if n_whole:
            yield piece.slice(0, n_whole)
    if rest is not None:
        yield rest


def fold_to_files(pieces: Iterable[pa.Table], states: Path, products: Path) -> Iterator[FoldCount]:
    """Fold each piece and write its rows to the two files; yields what was done so far after every piece.

    The files are whole when the iterator is exhausted.
    """
    done = FoldCount()
    how: dict[str, Any] = {
        "compression": "zstd",
        "use_dictionary": [Columns.CUSTOMER_ID],
        "write_page_checksum": True,
    }
    with (
        pq.ParquetWriter(states, STATE_SCHEMA, **how) as to_states,
        pq.ParquetWriter(products, PRODUCTS_SCHEMA, **how) as to_products,
    ):
        for piece in pieces:
            moments = piece[Columns.OCCURRED_AT].cast(pa.timestamp("us", tz="UTC")).cast(pa.int64())
            done += FoldCount(
                events=piece.num_rows,
                customers=len(piece[Columns.CUSTOMER_ID].unique()),
                last_event_us=pc.max(moments).as_py(),
            )
            for state_rows, product_rows in fold_timeline(piece):
                to_states.write_table(state_rows)
                to_products.write_table(product_rows)
                done = replace(done, state_rows=done.state_rows + state_rows.num_rows)
            yield done
