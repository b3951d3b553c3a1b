"""A product in, how far every other one serves the same need out; pure.

What a network learned of products lies close where they are bought in each other's place or next to each other; what is said
of them lies close where they are the same kind of thing. Together they tell the red mug from the tea that is drunk from it.
"""

from typing import Final

import numpy as np

from features.arrays import BoolArray, FloatArray
from serving.products.product_range import ProductRange

BEHAVIOUR: Final = 0.3
"""The share of what customers do in likeness; the rest is what the table says of the products."""


def likeness(products: ProductRange, row: int) -> tuple[FloatArray, BoolArray]:
    """How alike to product `row` every one is (V,), 0 to 1, and of which (V,) customers had a say in it."""
    said = np.clip(products.content.similarity(row), 0.0, 1.0)
    cosine, learned = products.learned_likeness(row)
    alike = said.copy()
    alike[learned] += BEHAVIOUR * (np.clip(cosine[learned], 0.0, 1.0) - said[learned])
    return alike, learned
