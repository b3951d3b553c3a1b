"""Names for the arrays that pass between modules: what their numbers are; a docstring says their shape."""

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
Float32Array = NDArray[np.float32]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]
ByteArray = NDArray[np.uint8]


def shown(value: np.floating | float) -> float:
    """A single-precision number as it is meant to be read: 6.56, and not the 6.559999942779541 that a double makes of it."""
    return float(str(np.float32(value)))
