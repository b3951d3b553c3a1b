"""What was sold in, what is popular or on the rise out; pure."""

from typing import Final

import numpy as np

from features.arrays import FloatArray

RISING: Final = 1.0
"""Standard deviations from which on more sales than expected are called a trend."""


def rise(week: FloatArray, month: FloatArray) -> FloatArray:
    """How much more of each product (V,) sells in these days than in the weeks before, in standard deviations.

    `week` and `month` are purchases that fade with half-lives of 7 and 28 days: at a steady rate the first is a quarter of the
    second. Purchases come like Poisson's, so what sold once last week and never before is no trend yet.
    """
    expected = month * (7.0 / 28.0)
    surplus: FloatArray = (week - expected) / np.sqrt(expected + 1.0)
    return surplus
