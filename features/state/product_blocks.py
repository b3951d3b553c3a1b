"""Product states in, the rows that are stored out, and back: each row is a block of products, as plain arrays.

A block holds the products whose code leaves its number as the remainder. So a whole catalogue is a few dozen rows, which are
written and read in milliseconds, and a purchase changes one of them.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Self

import numpy as np
import pyarrow as pa

from features.arrays import FloatArray, IntArray
from features.state.products import POPULARITY_DAYS, ProductStates, fold_purchases
from features.vocabulary import Columns

N_BLOCKS: Final = 64
BLOCK: Final = "product_block"
"""The key of a row: the block's number, as text."""
BLOCK_FIELDS: Final[tuple[tuple[str, str], ...]] = (
    ("last_seq", "int64"),
    ("code", "int64[]"),
    ("count", "float64[]"),
    ("first_s", "float64[]"),
    ("last_s", "float64[]"),
)
"""Fields of the view `product_sales`: the log row up to which purchases are in, and `ProductStates` of the block."""
BLOCK_SCHEMA: Final = pa.schema(
    [
        (BLOCK, pa.string()),
        (Columns.EVENT_TIMESTAMP, pa.timestamp("us", tz="UTC")),
        ("last_seq", pa.int64()),
        ("code", pa.list_(pa.int64())),
        *((name, pa.list_(pa.float64())) for name in ("count", "first_s", "last_s")),
    ]
)


@dataclass(frozen=True)
class ProductBlocks:
    """The states of all products, and up to which log row (N_BLOCKS,) the purchases of each block are in them."""

    states: ProductStates
    last_seq: IntArray

    @classmethod
    def empty(cls) -> Self:
        """Nothing was bought yet."""
        return cls(ProductStates.empty(), np.zeros(N_BLOCKS, np.int64))

    def add(self, code: IntArray, time_s: FloatArray, seq: IntArray, upto_seq: int) -> tuple["ProductBlocks", IntArray]:
        """With those purchases (m,) in them that are not yet, of the log up to `upto_seq`; and which blocks that changed."""
        block = code % N_BLOCKS
        new = seq > self.last_seq[block]
        states = fold_purchases(self.states, code[new], time_s[new])
        return replace(self, states=states, last_seq=np.maximum(self.last_seq, upto_seq)), np.unique(block[new])

    def rows(self, blocks: Collection[int] = range(N_BLOCKS)) -> pa.Table:
        """BLOCK_SCHEMA, one row for each of `blocks` in which anything was bought."""
        of_block = self.states.code % N_BLOCKS
        rows = [self._row(block, self.states.take(np.flatnonzero(of_block == block))) for block in sorted(blocks)]
        return pa.Table.from_pylist([row for row in rows if row is not None], schema=BLOCK_SCHEMA)

    @classmethod
    def of_rows(cls, rows: Iterable[tuple[str, Mapping[str, Any]]]) -> Self:
        """What block keys with their fields, in any order, hold together."""
        last_seq, parts = np.zeros(N_BLOCKS, np.int64), [ProductStates.empty()]
        for key, fields in rows:
            last_seq[int(key)] = fields["last_seq"]
            code, count, first_s, last_s = (np.asarray(fields[name]) for name, _ in BLOCK_FIELDS[1:])
            parts.append(ProductStates(code, count.reshape(-1, len(POPULARITY_DAYS)), first_s, last_s))
        columns = (np.concatenate([getattr(part, name) for part in parts]) for name, _ in BLOCK_FIELDS[1:])
        states = ProductStates(*columns)
        return cls(states.take(np.argsort(states.code, kind="stable")), last_seq)

    def _row(self, block: int, states: ProductStates) -> dict[str, Any] | None:
        if not len(states):
            return None
        return {
            BLOCK: str(block),
            Columns.EVENT_TIMESTAMP: int(states.last_s.max() * 1e6),
            "last_seq": int(self.last_seq[block]),
            "code": states.code,
            "count": states.count.reshape(-1),
            "first_s": states.first_s,
            "last_s": states.last_s,
        }
