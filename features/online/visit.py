"""A customer's state and the products of a visit in, the state as if these had been viewed just now out; nothing is kept."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from features.arrays import FloatArray
from features.online.live import LiveState
from features.state import layout
from features.state.batch import StateBatch
from features.state.event_arrays import product_code
from features.state.fold import fold_arrays
from features.state.layout import EventArrays
from features.vocabulary import CHANNEL_CODES, KIND_CODES, Channel, EventKind

APART_S: Final = 1.0
"""Seconds between two views of a visit: only their order is known."""


def in_visit(live: LiveState, product_ids: Sequence[str], channel: str | None, as_of_s: float) -> LiveState:
    """The customer as if they had viewed these products just now; whoever refused profiling stays as they are."""
    if not product_ids or not live.may_profile:
        return live
    return replace(live, state=with_visit(live.state, product_ids, Channel(channel or Channel.WEB), as_of_s))


def with_visit(state: StateBatch, product_ids: Sequence[str], channel: Channel, as_of_s: float) -> StateBatch:
    """The state (n = 1) after views of the products, oldest first, of which the last one was just before `as_of_s`.

    Where the newest behaviour lies within the visit, the views follow it.
    """
    n = len(product_ids)
    if not n:
        return state
    newest_s = float(state.scalar("last_event")[0])
    ages_s: FloatArray = np.arange(n, 0, -1, dtype=np.float64) * APART_S
    if not np.isnan(newest_s) and as_of_s - n * APART_S <= newest_s:
        ages_s = np.linspace(max(as_of_s - newest_s, 0.0), 0.0, n + 1, dtype=np.float64)[1:]
    views = EventArrays(
        time=as_of_s - ages_s,
        kind=np.full(n, KIND_CODES[EventKind.VIEW], np.int8),
        channel=np.full(n, CHANNEL_CODES[channel], np.int8),
        product=product_code(product_ids),
        quantity=np.full(n, np.nan),
        value=np.full(n, np.nan),
        seq=np.zeros(n, np.int64),
        detail=np.full(n, np.nan),
        written=np.full(n, layout.WRITTEN, np.int8),
        order=np.zeros(n, np.int64),
        campaign=np.zeros(n, np.int64),
        decision=np.zeros(n, np.int64),
        identified=np.zeros(n, np.int64),
        brought_back=np.zeros(n),
    )
    return fold_arrays(state, views)
