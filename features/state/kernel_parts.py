"""One part of a state and what happened in, that part afterwards out: pairs, hours, ratings, contracts.

Compiled into the kernel (kernel.py), which decides which parts an event is for. Sums are kept to single precision, as they
are stored: a state that was stored and read back goes on exactly as one that was not.
"""

import math
from typing import Any, Final

import numpy as np

from features.state.jit import inlined
from features.state.layout import (
    CONTRACT_ENDED,
    CONTRACT_ENDS,
    CONTRACT_SINCE,
    CONTRACT_VALUE,
    HOUR_HALF_LIFE_DAYS,
    HOURS_FROM,
    LAST_ACTION,
    LAST_RATING,
    N_ACTION_OCCASIONS,
    N_CONTRACTS_OPENED,
    N_HALF_LIVES,
    N_HOURS,
    N_HOURS_USED,
    N_KINDS,
    N_PAIRS,
    N_RATINGS,
    OCCASION_GAP_S,
    PAIR_COUNTS,
    PAIR_LAST,
    PAIR_TOTAL,
    PAIR_VALUES,
    PAIR_WIDTH,
    RATING_MEAN,
)
from features.vocabulary import DAY_S, HALF_LIVES_DAYS

_PER_HALF_LIFE: Final = 1.0 / (np.array(HALF_LIVES_DAYS) * DAY_S)
_PER_HOUR_HALF_LIFE: Final = 1.0 / (HOUR_HALF_LIFE_DAYS * DAY_S)
_FINE: Final = 256
_FINE_POWERS: Final = np.exp2(-np.arange(_FINE) / _FINE)
_WHOLE_POWERS: Final = np.exp2(-np.arange(1_100.0))
_LN_STEP: Final = math.log(2.0) / _FINE
_MAX_HOUR_SCALE: Final = 64.0
"""Half-lives after which the weights of the hours are brought to a new moment, long before they overflow."""


@inlined
def single(x: float) -> float:
    """`x` to single precision."""
    rounded: float = np.float64(np.float32(x))
    return rounded


@inlined
def decay(half_lives: float) -> float:
    """2 to the minus `half_lives`, which is not negative: what is left of 1.

    Two looked-up powers times a short series, within 1e-15 of the exact value: a third of the time of `exp2`.
    """
    steps = half_lives * _FINE
    if steps >= 1_080.0 * _FINE:
        return 0.0
    whole = np.int64(steps + 0.5)
    z = (steps - whole) * _LN_STEP
    series = 1.0 - z * (1.0 - z * (0.5 - z * (1.0 / 6.0 - z / 24.0)))
    left: float = _WHOLE_POWERS[whole >> 8] * _FINE_POWERS[whole & 255] * series
    return left


@inlined
def count_pair(s: Any, pair: int, t: float, value: float) -> None:
    """One more event of a (channel, kind) pair, with its value, in all half-lives."""
    slot = s.pair_slots[pair]
    if slot < 0:
        slot = s.cursors[N_PAIRS]
        s.cursors[N_PAIRS] = slot + 1
        s.pair_slots[pair] = slot
        s.pair_codes[slot] = pair
        s.pairs[slot, :] = 0.0
        s.pairs[slot, PAIR_LAST] = t
    row = s.pairs[slot]
    elapsed = t - row[PAIR_LAST]
    row[PAIR_LAST] = t
    row[PAIR_TOTAL] += 1.0
    if elapsed > 0.0:
        for h in range(N_HALF_LIVES):
            left = decay(elapsed * _PER_HALF_LIFE[h])
            row[PAIR_COUNTS + h] *= left
            row[PAIR_VALUES + h] *= left
    added = 0.0 if math.isnan(value) else value
    for h in range(N_HALF_LIVES):
        row[PAIR_COUNTS + h] = single(row[PAIR_COUNTS + h] + 1.0)
        row[PAIR_VALUES + h] = single(row[PAIR_VALUES + h] + added)


@inlined
def drop_pairs(s: Any, kind: int) -> None:
    """Forget the pairs of a kind on all channels; the others keep their order."""
    kept = 0
    for slot in range(s.cursors[N_PAIRS]):
        pair = s.pair_codes[slot]
        if pair % N_KINDS == kind:
            s.pair_slots[pair] = -1
            continue
        s.pair_codes[kept] = pair
        for k in range(PAIR_WIDTH):
            s.pairs[kept, k] = s.pairs[slot, k]
        s.pair_slots[pair] = kept
        kept += 1
    s.cursors[N_PAIRS] = kept


@inlined
def note_action(s: Any, t: float) -> None:
    """The customer did something: the moment, and the hour of the week."""
    last = s.scalars[LAST_ACTION]
    s.scalars[LAST_ACTION] = t
    if not math.isnan(last) and t - last <= OCCASION_GAP_S:
        return
    s.scalars[N_ACTION_OCCASIONS] += 1.0
    # The epoch was a Thursday: hour 0 of the week is Monday 00:00 UTC.
    note_hour(s, t, (int(t // 3600.0) + 72) % N_HOURS)


@inlined
def note_hour(s: Any, t: float, hour: int) -> None:
    """Add 1 to the hour of the week as of `t`. Nothing is decayed: later weights are larger, all as of HOURS_FROM."""
    if math.isnan(s.scalars[HOURS_FROM]):
        s.scalars[HOURS_FROM] = t
    later = (t - s.scalars[HOURS_FROM]) * _PER_HOUR_HALF_LIFE
    if later > _MAX_HOUR_SCALE:
        for i in range(s.cursors[N_HOURS_USED]):
            s.hour_weights[i] = single(s.hour_weights[i] * decay(later))
        s.scalars[HOURS_FROM] = t
        later = 0.0
    slot = s.hour_slots[hour]
    if slot < 0:
        slot = s.cursors[N_HOURS_USED]
        s.cursors[N_HOURS_USED] = slot + 1
        s.hour_slots[hour] = slot
        s.hour_bins[slot] = hour
        s.hour_weights[slot] = 0.0
    s.hour_weights[slot] = single(s.hour_weights[slot] + 1.0 / decay(later))


@inlined
def note_rating(s: Any, rating: float) -> None:
    """A survey answer: the mean of all, and the latest."""
    x = s.scalars
    x[N_RATINGS] += 1.0
    mean = 0.0 if math.isnan(x[RATING_MEAN]) else x[RATING_MEAN]
    x[RATING_MEAN] = mean + (rating - mean) / x[N_RATINGS]
    x[LAST_RATING] = rating


@inlined
def note_contract(s: Any, t: float, value: float, ends: float) -> None:
    """A contract begins, or the running one is renewed or changed: then its beginning stays. `ends` is NaN for an open end."""
    x = s.scalars
    if x[CONTRACT_ENDS] <= t:  # never true of an open end
        end_contract(s, t)
    if math.isnan(x[CONTRACT_SINCE]):
        x[CONTRACT_SINCE] = t
    x[CONTRACT_VALUE] = value
    x[CONTRACT_ENDS] = ends
    x[N_CONTRACTS_OPENED] += 1.0


@inlined
def end_contract(s: Any, t: float) -> None:
    """The running contract ends now, or has ended at its term."""
    x = s.scalars
    x[CONTRACT_ENDED] = x[CONTRACT_ENDS] if x[CONTRACT_ENDS] <= t else t
    x[CONTRACT_SINCE] = np.nan
    x[CONTRACT_VALUE] = np.nan
    x[CONTRACT_ENDS] = np.nan
