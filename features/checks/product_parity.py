"""Proof that products' numbers of training and of serving agree: purchases are folded as they arrived, through stored rows.

Training folds the timeline up to a moment; the stream folds what comes in, in whatever order, and keeps rows in between. Every
number of every product that sold is compared at moments drawn at random.
"""

from datetime import UTC, datetime
from typing import Final

import numpy as np
import pandas as pd

from features.arrays import FloatArray, IntArray
from features.offline.product_sales import product_states_as_of, read_purchases
from features.settings import Settings
from features.state.product_blocks import BLOCK, ProductBlocks
from features.state.products import POPULARITY_DAYS, ProductStates
from features.vocabulary import DAY_S

PRODUCT_NAMES: Final = (*(f"purchases_{days:g}d" for days in POPULARITY_DAYS), "first_sold", "last_sold")
"""What is compared of a product."""
_N_MOMENTS: Final = 5
_N_PIECES: Final = 12


def product_numbers(settings: Settings, rng: np.random.Generator) -> list[tuple[FloatArray, FloatArray]]:
    """For each of some moments the numbers (n, len(PRODUCT_NAMES)) of all products that sold by then: training's, serving's.

    NaN where only one of the two knows a product.
    """
    code, time_s, seq = read_purchases(settings)
    if not len(code):
        return []
    moments = rng.uniform(time_s.min(), time_s.max() + 30 * DAY_S, _N_MOMENTS)
    batch = product_states_as_of(settings, [datetime.fromtimestamp(moment, UTC) for moment in moments])
    found = []
    for at_s, states in zip(moments.round(6), batch, strict=True):
        past = np.flatnonzero(time_s < at_s)
        live = _arrived(code[past], time_s[past], seq[past], rng)
        found.append(_side_by_side(states, live, float(at_s)))
    return found


def _arrived(code: IntArray, time_s: FloatArray, seq: IntArray, rng: np.random.Generator) -> ProductStates:
    """The live states after purchases that came in the log's order, in pieces, some of which were looked at twice."""
    order = np.argsort(seq)
    code, time_s, seq = code[order], time_s[order], seq[order]
    blocks = ProductBlocks.empty()
    borders = np.sort(rng.integers(0, len(code) + 1, _N_PIECES - 1)).tolist()
    for start, end in zip([0, *borders], [*borders, len(code)], strict=True):
        piece = slice(max(0, start - 100), end)
        blocks, _ = blocks.add(code[piece], time_s[piece], seq[piece], int(seq[end - 1]) if end else 0)
        blocks = ProductBlocks.of_rows((row[BLOCK], row) for row in blocks.rows().to_pylist())
    return blocks.states


def _side_by_side(batch: ProductStates, live: ProductStates, at_s: float) -> tuple[FloatArray, FloatArray]:
    codes = pd.Index(np.union1d(batch.code, live.code))
    return _numbers(batch, codes, at_s), _numbers(live, codes, at_s)


def _numbers(states: ProductStates, codes: pd.Index, at_s: float) -> FloatArray:
    days = (at_s - np.stack([states.first_s, states.last_s], axis=1)) / DAY_S
    table = np.full((len(codes), len(PRODUCT_NAMES)), np.nan)
    table[codes.get_indexer(pd.Index(states.code))] = np.concatenate([states.counts(at_s), days], axis=1)
    return table
