"""Touches in time order in, the number of the journey that each belongs to out; pure.

What a journey is, is said in journeys.py; here it is arrays over touches (n,), one customer after the other.
"""

from typing import Final

import numpy as np

from features.arrays import BoolArray, IntArray

_GOES_ON: Final = -1
"""The piece of what goes on with the journey before."""
_LEADS: Final = np.iinfo(np.int64).max
"""The piece of contacts that lead to the customer's next action, and of that action."""


def cut_journeys(starts: BoolArray, moment: IntArray, acted: BoolArray, bought: BoolArray, silence: int) -> IntArray:
    """Numbers (n,) of journeys, from 0 and rising.

    `starts` is true at a customer's first touch, `acted` where the customer did it, `bought` at a purchase, which is an
    action; `moment` and `silence` share a unit.
    """
    n = len(moment)
    if n == 0:
        return np.zeros(0, np.int64)
    before, after = _neighbours(starts, acted)
    never, ends = before < 0, after < 0
    last, following = moment[before], moment[after]
    was_bought = ~never & bought[before]
    silent = never | was_bought | ends | (following - last >= silence)
    goes_on = ~never & ~was_bought & (moment - last < silence)
    leads = ~ends & (following - moment < silence)
    turn_starts = starts | np.append(True, acted[:-1])
    turn = np.cumsum(turn_starts) - 1
    alone = np.flatnonzero(~goes_on & ~leads)
    since = np.zeros(n, np.int64)
    since[turn[alone][::-1]] = moment[alone][::-1]  # backwards, so that the first of a turn is what stays
    piece = np.where(leads, _LEADS, (moment - since[turn]) // silence)
    piece[~silent | (goes_on & ~leads)] = _GOES_ON
    changed = np.append(True, piece[1:] != piece[:-1])
    return np.asarray(np.cumsum((piece != _GOES_ON) & (turn_starts | changed)) - 1, dtype=np.int64)


def _neighbours(starts: BoolArray, acted: BoolArray) -> tuple[IntArray, IntArray]:
    """Rows (n,) of the same customer's action before each touch, and of the one at or after it; -1 where there is none."""
    rows = np.arange(len(starts))
    seen = np.maximum.accumulate(np.where(acted, rows, -1))
    before = np.append(-1, seen[:-1])
    first = np.maximum.accumulate(np.where(starts, rows, 0))
    coming = np.minimum.accumulate(np.where(acted, rows, len(rows))[::-1])[::-1]
    beyond = np.minimum.accumulate(np.append(np.where(starts, rows, len(rows))[1:], len(rows))[::-1])[::-1]
    return np.where(before < first, -1, before), np.where(coming < beyond, coming, -1)
