"""States in, signals out, compiled: the numbers of signals.py's groups, a customer in microseconds.

What a signal means is said in features/signals.py, in a form that is read and changed; this is the same arithmetic in the order
of one customer's lists. `compute_signals` takes from here only what it has seen to agree.
"""

from enum import IntEnum
from typing import Any, Final, NamedTuple

import numpy as np

from features.arrays import BoolArray, Float32Array, FloatArray, IntArray
from features.state.batch import StateBatch
from features.state.jit import inlined, released
from features.state.layout import (
    CART_QUANTITY,
    CART_TIME,
    CONSENT,
    CONTRACT_ENDED,
    CONTRACT_ENDS,
    CONTRACT_SINCE,
    CONTRACT_VALUE,
    FIRST_PURCHASE,
    FIRST_SEEN,
    GAP_M2,
    GAP_MEAN,
    HOUR_HALF_LIFE_DAYS,
    HOURS_FROM,
    LAST_ACTION,
    LAST_CONTACT,
    LAST_GAP,
    LAST_OCCASION,
    LAST_RATING,
    LAST_RESPONSE,
    N_ACTION_OCCASIONS,
    N_CHANNELS,
    N_CONTRACTS_OPENED,
    N_GAPS,
    N_HALF_LIVES,
    N_HOURS,
    N_KINDS,
    N_OCCASIONS,
    N_RATINGS,
    OCCASION_VALUE,
    OCCASIONS,
    PAIR_COUNTS,
    PAIR_LAST,
    PAIR_TOTAL,
    PAIR_VALUES,
    PREFERRED_CHANNEL,
    PREVIOUS_OCCASION_VALUE,
    RATING_MEAN,
    UNANSWERED,
)
from features.vocabulary import DAY_S, HALF_LIVES_DAYS, KIND_CODES, EventKind

_PURCHASE: Final = KIND_CODES[EventKind.PURCHASE]
_RETURN: Final = KIND_CODES[EventKind.RETURN]
_SEND: Final = KIND_CODES[EventKind.SEND]
_IMPRESSION: Final = KIND_CODES[EventKind.IMPRESSION]
_HALF_LIVES: Final = np.array(HALF_LIVES_DAYS)


class Part(IntEnum):
    """The groups of signals that are compiled."""

    KINDS = 0
    CHANNELS = 1
    RHYTHM = 2
    MONEY = 3
    FEEDBACK = 4
    PRESSURE = 5
    CART = 6
    HOURS = 7
    CONTRACT = 8


class Counted(NamedTuple):
    """What is counted, as signals.py says it: codes of kinds, and places among HALF_LIVES_DAYS."""

    kinds: IntArray  # that have signals of their own
    actions: BoolArray  # (N_KINDS,)
    responses: BoolArray  # (N_KINDS,)
    half_lives: IntArray  # (4,) of a week, a month, a quarter and a year
    prior_contacts: float

    def widths(self) -> tuple[int, ...]:
        """How many columns each Part has."""
        n = len(self.half_lives)
        return len(self.kinds) * (n + 2), 11 * N_CHANNELS, 12 + N_HALF_LIVES, n + 6, 3, 2, 3, 4, 5


def fill_signals(states: StateBatch, as_of: FloatArray, counted: Counted, first: IntArray, out: Float32Array) -> None:
    """Write the signals of n states at n moments into `out` (n, F): each Part from its column `first[part]` on, if not -1."""
    _fill(
        states.scalars,
        states.channels,
        states.pair_codes.offsets,
        states.pair_codes.values,
        states.pair_stats.values,
        states.contacts.offsets,
        states.contacts.values,
        states.hour_bins.offsets,
        states.hour_bins.values,
        states.hour_weights.values,
        states.cart_stats.offsets,
        states.cart_stats.values,
        as_of,
        *counted,
        first,
        out,
    )


@inlined
def _ratio(above: float, below: float) -> float:
    return above / below if below > 0 else np.nan


@inlined
def _latest(time: float) -> float:
    return np.nan if time == -np.inf else time


@released
def _fill(
    scalars: FloatArray,
    channels: FloatArray,
    pair_at: IntArray,
    pair_codes: Any,
    pair_stats: FloatArray,
    contact_at: IntArray,
    contacts: FloatArray,
    hour_at: IntArray,
    hour_bins: Any,
    hour_weights: FloatArray,
    cart_at: IntArray,
    cart: FloatArray,
    as_of: FloatArray,
    kinds: IntArray,
    actions: BoolArray,
    responses: BoolArray,
    half_lives: IntArray,
    prior_contacts: float,
    first: IntArray,
    out: Float32Array,
) -> None:
    """See `fill_signals`; the lists are those of a StateBatch, with their offsets."""
    month, quarter, year = half_lives[1], half_lives[2], half_lives[3]
    row_of = np.empty(N_CHANNELS * N_KINDS, np.int64)
    left = np.empty(N_HALF_LIVES)
    count = np.empty((N_KINDS, N_HALF_LIVES))  # over all channels, as the next three
    total, latest = np.empty(N_KINDS), np.empty(N_KINDS)
    spent, returned = np.empty(N_HALF_LIVES), np.empty(N_HALF_LIVES)
    of_channel = np.empty((N_CHANNELS, 6))  # purchases, actions, sends, impressions, responses, contacts
    acted = np.empty(N_CHANNELS)
    occasions = np.empty(N_HALF_LIVES)
    share = np.empty(N_HOURS)
    for row in range(len(as_of)):
        s, now, line = scalars[row], as_of[row], out[row]
        row_of[:] = -1
        for pair in range(pair_at[row], pair_at[row + 1]):
            row_of[pair_codes[pair]] = pair
        count[:], total[:], latest[:] = 0.0, 0.0, -np.inf
        spent[:], returned[:], of_channel[:], acted[:] = 0.0, 0.0, 0.0, -np.inf
        for code in range(len(row_of)):  # channel by channel, so that sums are made in the order of the dense form
            if row_of[code] < 0:
                continue
            stats, channel, kind = pair_stats[row_of[code]], code // N_KINDS, code % N_KINDS
            elapsed = (now - stats[PAIR_LAST]) / DAY_S
            for h in range(N_HALF_LIVES):
                left[h] = np.exp2(-elapsed / _HALF_LIVES[h])
                count[kind, h] += stats[PAIR_COUNTS + h] * left[h]
            total[kind] += stats[PAIR_TOTAL]
            latest[kind] = max(latest[kind], stats[PAIR_LAST])
            sums = of_channel[channel]
            if actions[kind]:
                sums[1] += stats[PAIR_COUNTS + month] * left[month]
                acted[channel] = max(acted[channel], stats[PAIR_LAST])
            if responses[kind]:
                sums[4] += stats[PAIR_COUNTS + year] * left[year]
            if kind == _PURCHASE:
                sums[0] = stats[PAIR_COUNTS + quarter] * left[quarter]
                for h in range(N_HALF_LIVES):
                    spent[h] += stats[PAIR_VALUES + h] * left[h]
            elif kind == _RETURN:
                for h in range(N_HALF_LIVES):
                    returned[h] += stats[PAIR_VALUES + h] * left[h]
            elif kind == _SEND:
                sums[2] = stats[PAIR_COUNTS + month] * left[month]
                sums[5] = stats[PAIR_COUNTS + year] * left[year]
            elif kind == _IMPRESSION:
                sums[3] = stats[PAIR_COUNTS + month] * left[month]
        since = (now - s[LAST_OCCASION]) / DAY_S
        for h in range(N_HALF_LIVES):
            occasions[h] = s[OCCASIONS + h] * np.exp2(-(0.0 if np.isnan(since) else since) / _HALF_LIVES[h])

        at = first[Part.KINDS]
        if at >= 0:
            n = len(half_lives)
            for i in range(len(kinds)):
                for k in range(n):
                    line[at + i * n + k] = count[kinds[i], half_lives[k]]
            at += len(kinds) * n
            for i in range(len(kinds)):
                line[at + i] = total[kinds[i]]
                line[at + len(kinds) + i] = (now - _latest(latest[kinds[i]])) / DAY_S
        at = first[Part.CHANNELS]
        if at >= 0:
            for c in range(N_CHANNELS):
                told, sums = channels[row, c], of_channel[c]
                line[at + c] = sums[0]
                line[at + N_CHANNELS + c] = sums[1]
                line[at + 2 * N_CHANNELS + c] = (now - _latest(acted[c])) / DAY_S
                line[at + 3 * N_CHANNELS + c] = sums[2]
                line[at + 4 * N_CHANNELS + c] = sums[3]
                line[at + 5 * N_CHANNELS + c] = sums[4] / (sums[5] + prior_contacts)
                line[at + 6 * N_CHANNELS + c] = told[UNANSWERED]
                line[at + 7 * N_CHANNELS + c] = (now - told[LAST_CONTACT]) / DAY_S
                line[at + 8 * N_CHANNELS + c] = (now - told[LAST_RESPONSE]) / DAY_S
                line[at + 9 * N_CHANNELS + c] = told[CONSENT]
                if np.isnan(s[PREFERRED_CHANNEL]):
                    line[at + 10 * N_CHANNELS + c] = np.nan
                else:
                    line[at + 10 * N_CHANNELS + c] = 1.0 if s[PREFERRED_CHANNEL] == c else 0.0
        at = first[Part.RHYTHM]
        if at >= 0:
            spread = np.sqrt(_ratio(s[GAP_M2], s[N_GAPS]))
            line[at] = s[N_OCCASIONS]
            for h in range(N_HALF_LIVES):
                line[at + 1 + h] = occasions[h]
            at += 1 + N_HALF_LIVES
            line[at] = since
            line[at + 1] = s[GAP_MEAN]
            line[at + 2] = spread
            line[at + 3] = s[LAST_GAP]
            line[at + 4] = _ratio(since, s[GAP_MEAN])
            line[at + 5] = (since - s[GAP_MEAN]) / (spread + 1.0)
            line[at + 6] = _ratio(occasions[month] * _HALF_LIVES[year], occasions[year] * _HALF_LIVES[month])
            line[at + 7] = (now - s[FIRST_SEEN]) / DAY_S
            line[at + 8] = (now - s[FIRST_PURCHASE]) / DAY_S
            line[at + 9] = (now - s[LAST_ACTION]) / DAY_S
            line[at + 10] = s[N_ACTION_OCCASIONS]
        at = first[Part.MONEY]
        if at >= 0:
            for k in range(len(half_lives)):
                line[at + k] = spent[half_lives[k]]
            at += len(half_lives)
            line[at] = returned[quarter]
            line[at + 1] = _ratio(spent[quarter], occasions[quarter])
            line[at + 2] = _ratio(count[_PURCHASE, quarter], occasions[quarter])
            line[at + 3] = s[OCCASION_VALUE]
            line[at + 4] = s[PREVIOUS_OCCASION_VALUE]
            line[at + 5] = _ratio(returned[year], spent[year] + returned[year])
        at = first[Part.FEEDBACK]
        if at >= 0:
            line[at], line[at + 1], line[at + 2] = s[N_RATINGS], s[RATING_MEAN], s[LAST_RATING]
        at = first[Part.PRESSURE]
        if at >= 0:
            of_week = of_month = 0
            for i in range(contact_at[row], contact_at[row + 1]):
                elapsed = (now - contacts[i, 1]) / DAY_S
                of_week += elapsed <= 7.0
                of_month += elapsed <= 30.0
            line[at], line[at + 1] = of_week, of_month
        at = first[Part.CART]
        if at >= 0:
            units, newest = 0.0, -np.inf
            for i in range(cart_at[row], cart_at[row + 1]):
                units += cart[i, CART_QUANTITY]
                newest = max(newest, cart[i, CART_TIME])
            line[at], line[at + 1] = cart_at[row + 1] - cart_at[row], units
            line[at + 2] = (now - _latest(newest)) / DAY_S
        if first[Part.HOURS] >= 0:
            _hours(s, hour_bins, hour_weights, hour_at[row], hour_at[row + 1], share, first[Part.HOURS], line)
        at = first[Part.CONTRACT]
        if at >= 0:
            over = s[CONTRACT_ENDS] <= now  # never of an open end
            runs = np.isfinite(s[CONTRACT_SINCE]) and not over
            line[at] = (now - s[CONTRACT_SINCE]) / DAY_S if runs else np.nan
            line[at + 1] = s[CONTRACT_VALUE] if runs else np.nan
            line[at + 2] = -((now - s[CONTRACT_ENDS]) / DAY_S) if runs else np.nan
            line[at + 3] = s[N_CONTRACTS_OPENED]
            line[at + 4] = (now - (s[CONTRACT_ENDS] if over else s[CONTRACT_ENDED])) / DAY_S


@inlined
def _hours(s: Any, bins: Any, weights: Any, begin: int, end: int, share: Any, at: int, line: Any) -> None:
    later_days = (s[LAST_ACTION] - s[HOURS_FROM]) / DAY_S
    left = np.exp2(-(0.0 if np.isnan(later_days) else later_days) / HOUR_HALF_LIFE_DAYS)
    share[:] = 0.0
    total = 0.0
    for i in range(begin, end):
        share[bins[i]] = weights[i] * left
    for hour in range(N_HOURS):
        total += share[hour]
    concentration = weekend = sine = cosine = 0.0
    for hour in range(24):
        of_hour = 0.0
        for day in range(7):
            part = share[day * 24 + hour] / max(total, 1e-12)
            concentration += part * part
            of_hour += part
            if day >= 5:
                weekend += part
        angle = 2 * np.pi * hour / 24
        sine += of_hour * np.sin(angle)
        cosine += of_hour * np.cos(angle)
    known = total > 0
    line[at] = concentration if known else np.nan
    line[at + 1] = weekend if known else np.nan
    line[at + 2] = sine if known else np.nan
    line[at + 3] = cosine if known else np.nan
