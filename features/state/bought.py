"""All events of one customer in, every product that they ever bought and kept out: what a state of fixed size cannot hold."""

from dataclasses import dataclass

import numpy as np

from features.arrays import FloatArray, IntArray
from features.state.batch import StateBatch
from features.state.fold import fold_arrays, takes_back
from features.state.layout import HABIT_GAP_S, EventArrays
from features.vocabulary import KIND_CODES, EventKind


@dataclass(frozen=True)
class BoughtProducts:
    """Products by ascending code, with the occasions of each: purchases that follow each other within a day are one."""

    code: IntArray  # (n,)
    occasions: IntArray  # (n,) on how many it was bought
    first_s: FloatArray  # (n,) when the first of them began, seconds since the epoch
    began_s: FloatArray  # (n,) when the last one began
    last_s: FloatArray  # (n,) its last purchase


def bought_products(events: EventArrays) -> BoughtProducts:
    """What is left of the purchases among all events of one customer, which are in order, after their returns."""
    if takes_back(events).any():
        fold_arrays(StateBatch.empty(1), events)  # writes what was brought back
    units = np.nan_to_num(events.quantity, nan=1.0)
    kept = (events.kind == KIND_CODES[EventKind.PURCHASE]) & (events.product != 0)
    kept &= (units <= 0) | (events.brought_back < units)
    product, time = events.product[kept], events.time[kept]
    order = np.lexsort((time, product))
    product, time = product[order], time[order]
    begins = np.ones(len(order), np.bool_)
    begins[1:] = (product[1:] != product[:-1]) | (time[1:] - time[:-1] >= HABIT_GAP_S)
    codes, first, lines = np.unique(product, return_index=True, return_counts=True)
    began = time[begins]
    ends = np.cumsum(begins)[first + lines - 1]  # of each product, the number of occasions up to its last one
    return BoughtProducts(codes, np.diff(ends, prepend=0), time[first], began[ends - 1], time[first + lines - 1])
