"""Scores of all products and which of them are allowed in, the best k of each customer out: one pass, nothing sorted."""

from typing import Any, Final

import numpy as np

from features.arrays import BoolArray, Float32Array, IntArray
from features.state.jit import in_place, inlined

STRIDE: Final = 128
"""Scores that are passed over together where none of them is among the best so far."""


def top_k(scores: Float32Array, k: int, allowed: BoolArray | None = None, first: int = 0) -> IntArray:
    """Columns (n, k) of each row's k highest finite scores, best first, ties by the smaller one; -1 where there are fewer.

    `scores` (n, first + V) are of the V products from `first` on, and columns count from there. `allowed` is (V,) for all
    rows, or (n, V).
    """
    n, width = scores.shape
    k = min(k, width - first)
    columns, values = np.full((n, k), -1, np.int64), np.full((n, k), -np.inf, np.float32)
    if k > 0 and allowed is None:
        _all(np.ascontiguousarray(scores), first, columns, values)
    elif k > 0 and allowed is not None:
        _allowed(np.ascontiguousarray(scores), first, np.ascontiguousarray(np.atleast_2d(allowed)), columns, values)
    return columns


def without(scores: Float32Array, allowed: BoolArray | None) -> Float32Array:
    """Scores (V,) as a row (V + 1,): column 0 is nothing, and scores minus infinity as what `allowed` (V,) leaves out does."""
    out = np.empty(len(scores) + 1, np.float32)
    out[0] = -np.inf
    if allowed is None:
        out[1:] = scores
    else:
        _without(np.ascontiguousarray(scores), np.ascontiguousarray(allowed), out[1:])
    return out


@inlined
def take(score: Any, column: int, columns: Any, values: Any) -> None:
    """Insert a column before all with lower scores; it is known to beat the last."""
    at = columns.shape[0] - 1
    while at > 0 and score > values[at - 1]:
        values[at], columns[at] = values[at - 1], columns[at - 1]
        at -= 1
    values[at], columns[at] = score, column


@inlined
def any_above(scores: Any, border: Any) -> bool:
    """Whether any of a few scores lies above a border: counted, which becomes vectors where looking for the first does not."""
    n_above = 0
    for at in range(scores.shape[0]):
        n_above += scores[at] > border
    return n_above > 0


@in_place
def _all(scores: Any, first: int, columns: Any, values: Any) -> None:
    last = columns.shape[1] - 1
    for row in range(scores.shape[0]):
        for start in range(first, scores.shape[1], STRIDE):
            end = min(start + STRIDE, scores.shape[1])
            if not any_above(scores[row, start:end], values[row, last]):
                continue
            for at in range(start, end):
                score = scores[row, at]
                if score > values[row, last] and score < np.inf:
                    take(score, at - first, columns[row], values[row])


@in_place
def _allowed(scores: Any, first: int, allowed: Any, columns: Any, values: Any) -> None:
    last = columns.shape[1] - 1
    for row in range(scores.shape[0]):
        mask = allowed[min(row, allowed.shape[0] - 1)]
        for start in range(first, scores.shape[1], STRIDE):
            end = min(start + STRIDE, scores.shape[1])
            if not any_above(scores[row, start:end], values[row, last]):
                continue
            for at in range(start, end):
                score = scores[row, at]
                if score > values[row, last] and score < np.inf and mask[at - first]:
                    take(score, at - first, columns[row], values[row])


@in_place
def _without(scores: Any, allowed: Any, out: Any) -> None:
    for at in range(scores.shape[0]):
        score = scores[at]
        out[at] = score if allowed[at] else np.float32(-np.inf)
