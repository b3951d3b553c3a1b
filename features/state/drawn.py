"""States drawn at random in, no events behind them: what the compiled signals are held against the readable ones by."""

from typing import Any

import numpy as np

from features.arrays import FloatArray, IntArray
from features.state import layout
from features.state.batch import Ragged, StateBatch
from features.vocabulary import DAY_S


def drawn_states(n: int, rng: np.random.Generator) -> tuple[StateBatch, FloatArray]:
    """`n` states and the moments (n,) after them, in seconds since the epoch; the first is of nobody.

    Whatever a signal reads is there, in usual sizes, and is missing from some. They need not be what a fold would make of any
    events, and hold no sequence, no habits and no exposures.
    """
    as_of = rng.uniform(1.6e9, 1.8e9, n)
    blank = vars(StateBatch.empty(n))
    lists = {name: _rows(n, most, rng) for name, most in _MOST.items()}
    lists["hour_bins"] = lists["hour_weights"]
    n_channels = len(blank["channels"][0])
    parts: dict[str, Any] = {
        "scalars": _scalars(as_of, rng),
        "channels": np.stack(
            [
                rng.integers(-1, 2, (n, n_channels)).astype(np.float64),
                rng.integers(0, 9, (n, n_channels)).astype(np.float64),
                _past(as_of[:, None], (n, n_channels), rng),
                _past(as_of[:, None], (n, n_channels), rng),
            ],
            axis=2,
        ),
    }
    for name, of in lists.items():
        parts[name] = Ragged(np.searchsorted(of, np.arange(n + 1)), _values(name, of, as_of, rng))
    parts["pair_codes"] = Ragged(parts["pair_stats"].offsets, _distinct(lists["pair_stats"], _N_PAIRS, rng))
    parts["hour_bins"] = Ragged(parts["hour_weights"].offsets, _distinct(lists["hour_weights"], layout.N_HOURS, rng))
    drawn = StateBatch(**{**blank, **parts})
    return StateBatch.concat([StateBatch.empty(1), drawn.take(np.arange(1, n))]), as_of


_N_PAIRS = layout.N_CHANNELS * layout.N_KINDS
_MOST = {"pair_stats": _N_PAIRS, "contacts": 40, "hour_weights": 60, "cart_stats": 12}


def _rows(n: int, most: int, rng: np.random.Generator) -> IntArray:
    """Which row each value of a list is of, ascending."""
    return np.repeat(np.arange(n), rng.integers(0, most, n))


def _distinct(rows: IntArray, n_codes: int, rng: np.random.Generator) -> Any:
    """A code below `n_codes` for every value, none of them twice in a row."""
    starts = np.searchsorted(rows, rows)
    shuffled = np.argsort(rng.random((rows.max(initial=0) + 1, n_codes)), axis=1)
    return shuffled[rows, np.arange(len(rows)) - starts].astype(np.int32)


def _past(now: FloatArray, shape: tuple[int, ...], rng: np.random.Generator) -> FloatArray:
    """Moments within three years before `now`, some of them never."""
    return np.where(rng.random(shape) < 0.2, np.nan, now - rng.exponential(60 * DAY_S, shape))


def _scalars(as_of: FloatArray, rng: np.random.Generator) -> FloatArray:
    n = len(as_of)
    out = rng.exponential(10.0, (n, len(layout.SCALARS)))
    times = (*("first_seen", "last_event", "last_action", "first_purchase", "last_purchase", "last_occasion"),)
    for name in (*times, "hours_from", "contract_since", "contract_ended"):
        out[:, layout.SCALARS.index(name)] = _past(as_of, (n,), rng)
    ends = as_of + rng.normal(0, 90 * DAY_S, n)
    out[:, layout.CONTRACT_ENDS] = np.where(rng.random(n) < 0.3, np.nan, ends)
    out[:, layout.PREFERRED_CHANNEL] = np.where(rng.random(n) < 0.3, np.nan, rng.integers(0, layout.N_CHANNELS, n))
    for name in ("n_occasions", "n_gaps", "n_ratings", "n_contracts", "n_action_occasions"):
        out[:, layout.SCALARS.index(name)] = rng.integers(0, 20, n)
    for column in (layout.GAP_MEAN, layout.LAST_GAP, layout.RATING_MEAN, layout.LAST_RATING):
        out[rng.random(n) < 0.2, column] = np.nan
    return out


def _values(name: str, rows: IntArray, as_of: FloatArray, rng: np.random.Generator) -> FloatArray:
    n = len(rows)
    past = as_of[rows] - rng.exponential(20 * DAY_S, n)
    if name == "pair_stats":
        out = rng.exponential(5.0, (n, layout.PAIR_WIDTH))
        out[:, layout.PAIR_LAST], out[:, layout.PAIR_TOTAL] = past, rng.integers(1, 50, n)
        return out
    if name == "contacts":
        return np.column_stack([rng.integers(0, layout.N_CHANNELS, n), past])
    if name == "cart_stats":
        return np.column_stack([rng.integers(0, layout.N_CHANNELS, n), rng.integers(1, 5, n), past])
    return rng.exponential(1.0, n)
