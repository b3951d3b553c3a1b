"""All events of one customer in, every product that they ever bought and kept out: what a state of fixed size cannot hold."""

from dataclasses import dataclass

import numpy as np

from features.arrays import FloatArray, IntArray
from features.state.batch import StateBatch
from features.state.fold import fold_arrays
from features.state.layout import EventArrays
from features.vocabulary import KIND_CODES, EventKind


@dataclass(frozen=True)
class BoughtProducts:
    """Products by ascending code; moments at which the same product was bought twice count once."""

    code: IntArray  # (n,)
    count: IntArray  # (n,) moments at which it was bought
    first_s: FloatArray  # (n,) the first of them, seconds since the epoch
    last_s: FloatArray  # (n,) the last one


def bought_products(events: EventArrays) -> BoughtProducts:
    """What is left of the purchases among all events of one customer, which are in order, after their returns."""
    fold_arrays(StateBatch.empty(1), events)  # writes what was brought back
    units = np.nan_to_num(events.quantity, nan=1.0)
    kept = (events.kind == KIND_CODES[EventKind.PURCHASE]) & (events.product != 0)
    kept &= (units <= 0) | (events.brought_back < units)
    product, time = events.product[kept], events.time[kept]
    order = np.lexsort((time, product))
    product, time = product[order], time[order]
    is_moment = np.ones(len(order), np.bool_)
    is_moment[1:] = (product[1:] != product[:-1]) | (time[1:] != time[:-1])
    product, time = product[is_moment], time[is_moment]
    codes, first, count = np.unique(product, return_index=True, return_counts=True)
    return BoughtProducts(codes, count, time[first], time[first + count - 1])
