"""Groups of signals and the numbers that they are meant to give in, the parts of the compiled kernel that give the same out."""

from collections.abc import Callable, Mapping
from typing import Final

import numpy as np

from features.arrays import Float32Array, FloatArray, IntArray
from features.state.batch import StateBatch
from features.state.drawn import drawn_states
from features.state.kernel_signals import Counted, Part, fill_signals

N_DRAWN: Final = 64
"""States that the parts have to agree on with what is written to be read."""


def agreeing_parts(
    columns: Mapping[Part, IntArray], counted: Counted, read: Callable[[StateBatch, FloatArray], Float32Array]
) -> IntArray:
    """Where the columns of each part begin (parts,), -1 for one that is not as wide as `columns` says or gives other numbers.

    `read` gives all signals (n, F) of n states at n moments. It is asked about states drawn at random, so that a line which is
    changed there and not in the kernel is found in every process before its first answer. What differs only by the order in
    which sums were made agrees.
    """
    first = np.full(len(Part), -1)
    for part, width in zip(Part, counted.widths(), strict=True):
        if len(columns.get(part, ())) == width:
            first[part] = columns[part][0]
    states, as_of = drawn_states(N_DRAWN, np.random.default_rng(0))
    expected = read(states, as_of)
    found = np.empty_like(expected)
    fill_signals(states, as_of, counted, first, found)
    for part in Part:
        if first[part] >= 0:
            mine, theirs = found[:, columns[part]], expected[:, columns[part]]
            if not np.allclose(mine, theirs, rtol=1e-6, atol=1e-9, equal_nan=True):
                first[part] = -1
    return first
