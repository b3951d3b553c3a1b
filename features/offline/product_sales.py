"""The timeline in, product states out: of now, as Feast's offline source of `product_sales`, or as of moments of the past.

The source holds the newest rows only. As of an earlier moment the purchases before it are folded, all moments in one pass:
that takes less time than reading rows of every moment would, and it is exact at every one.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

import numpy as np
import pyarrow.parquet as pq

from features import atomic
from features.arrays import FloatArray, IntArray
from features.console import Progress
from features.errors import MissingError
from features.offline import files
from features.settings import Settings
from features.sql import connect, scan
from features.state.product_blocks import N_BLOCKS, ProductBlocks
from features.state.products import ProductStates, fold_purchases
from features.vocabulary import EventKind

_PURCHASES: Final = """
    SELECT product_code AS code, epoch_us(occurred_at) AS time_us, seq
    FROM {timeline} WHERE kind = '{kind}' AND product_code <> 0
"""
_OLD: Final = "product_state.parquet"
"""Where versions up to 2026 kept a row per product and week."""


def build_product_sales(settings: Settings, last_seq: int, progress: Progress) -> int:
    """Write `settings.product_sales_path` anew from a timeline of the log up to `last_seq`; returns how many products sold.

    Purchases that came while the timeline was written may be in it as well. Raises MissingError where there is none.
    """
    code, time_s, seq = read_purchases(settings)
    states, last_seq = fold_purchases(ProductStates.empty(), code, time_s), max(last_seq, int(seq.max(initial=0)))
    with atomic.replacing(settings.product_sales_path) as part:
        rows = ProductBlocks(states, np.full(N_BLOCKS, last_seq)).rows()
        pq.write_table(rows, part, compression="zstd", write_page_checksum=True)
    files.discard(settings.product_sales_path.with_name(_OLD))
    progress(f"{len(states):,} products sold")
    return len(states)


def product_states_as_of(settings: Settings, moments: Sequence[datetime]) -> list[ProductStates]:
    """What purchases strictly before each of `moments` (aware, in any order) say. Raises MissingError as above."""
    code, time_s, _ = read_purchases(settings)
    in_time = np.argsort(time_s, kind="stable")
    code, time_s = code[in_time], time_s[in_time]
    found: list[ProductStates] = [ProductStates.empty()] * len(moments)
    states, start = ProductStates.empty(), 0
    for place in sorted(range(len(moments)), key=lambda place: moments[place]):
        end = int(np.searchsorted(time_s, moments[place].timestamp(), side="left"))
        states = fold_purchases(states, code[start:end], time_s[start:end])
        found[place], start = states, end
    return found


def read_purchases(settings: Settings) -> tuple[IntArray, FloatArray, IntArray]:
    """Codes, moments (seconds) and seqs (m,) of all purchases in the timeline. Raises MissingError where there is none."""
    if not settings.timeline_path.exists():
        raise MissingError(f"There is no timeline in {settings.timeline_path}.", repair="Run `omni features build`.")
    with connect() as connection:
        query = _PURCHASES.format(timeline=scan(settings.timeline_path), kind=EventKind.PURCHASE)
        columns = connection.sql(query).fetchnumpy()
    return columns["code"], columns["time_us"] / 1e6, columns["seq"]
