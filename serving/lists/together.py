"""The products of a cart in, how well every other one goes with them out; pure."""

from collections.abc import Sequence
from typing import Final

import numpy as np

from features.arrays import FloatArray, IntArray
from serving.products.product_range import ProductRange

LATER: Final = 0.5
"""What is bought soon after counts this share of what is bought in the same basket."""


def companionship(products: ProductRange, cart: Sequence[int]) -> tuple[FloatArray, IntArray]:
    """How well every product goes with those of the cart (V,), and which of these points to it most strongly (V,)."""
    total, strongest, pointer = (np.zeros(len(products)) for _ in range(3))
    companions = products.companions
    if companions is not None:
        for row in cart:
            ties = products.ties(companions.pairs, row) + LATER * products.ties(companions.rules, row)
            total += ties
            pointer = np.where(ties > strongest, row, pointer)
            strongest = np.maximum(strongest, ties)
    total[list(cart)] = 0.0
    return total, pointer.astype(np.int64)
