"""Scores of products and what each earns in, the same order by what the shop earns out; pure.

Scores are log-odds up to a constant, so a score plus the logarithm of what a sale earns orders by chance times earning.
"""

from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from features.arrays import BoolArray, Float32Array, FloatArray
from serving.products.eligibility import ProductTable

Objective = Literal["conversion", "revenue", "margin"]
LEAST: Final = 1e-3
"""What a sale that earns nothing counts as, in money."""


def by_objective(
    scores: Float32Array, table: ProductTable, objective: Objective, allowed: BoolArray | None
) -> Float32Array:
    """The scores (V,) to rank by; earnings that nobody knows count as the median of what is `allowed` (V,)."""
    if objective == "conversion":
        return scores
    money: FloatArray = table.price if objective == "revenue" else table.price * table.margin
    known = np.isfinite(money) & (True if allowed is None else allowed)
    if not known.any():
        return scores
    money = np.where(np.isfinite(money), money, np.median(money[known]))
    ranked: NDArray[np.float32] = (scores + np.log(np.maximum(money, LEAST))).astype(np.float32)
    return ranked
