"""Trees as flat arrays and rows in, sums of leaves and what the splits added out: the compiled walks of forest.py.

The rules of a split are LightGBM's (`NumericalDecision` in its tree.h): a missing value goes the split's default way where
the split knows missing values, and counts as 0 where it does not.
"""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from features.arrays import Float32Array, FloatArray, IntArray
from features.scoring.tree_text import MISSING
from features.state.jit import compiled, inlined

_NO_MISSING, _ZERO_IS_MISSING, _NAN_IS_MISSING = range(len(MISSING))
_ZERO: Final = float(np.float32(1e-35))
"""LightGBM's own word for 0."""
Nodes = NDArray[np.void]
"""Of forest.NODE."""


@inlined
def child_of(value: float, node: Any) -> int:
    """Where a value goes from a node, which is a record of forest.NODE."""
    kind = node.missing
    if np.isnan(value) and kind != _NAN_IS_MISSING:
        value = 0.0
    if (kind == _NAN_IS_MISSING and np.isnan(value)) or (kind == _ZERO_IS_MISSING and -_ZERO <= value <= _ZERO):
        goes_left = node.default_left
    else:
        goes_left = value <= node.threshold
    child: int = node.left if goes_left else node.right
    return child


@compiled
def sums_of_leaves(
    rows: Float32Array, n_trees: IntArray, root: IntArray, nodes: Nodes, leaf: FloatArray, sigmoid: FloatArray
) -> FloatArray:
    """Rows (n, F) to every booster's answer (n, B): its sum of leaves, through the link where `sigmoid` (B,) is not 0."""
    found = np.zeros((len(rows), len(n_trees)))
    for row in range(len(rows)):
        tree = 0
        for booster in range(len(n_trees)):
            total = 0.0
            for _ in range(n_trees[booster]):
                at = root[tree]
                tree += 1
                while at >= 0:
                    at = child_of(rows[row, nodes[at].feature], nodes[at])
                total += leaf[~at]
            found[row, booster] = 1.0 / (1.0 + np.exp(-sigmoid[booster] * total)) if sigmoid[booster] > 0 else total
    return found


@compiled
def shares_along_paths(rows: Float32Array, root: IntArray, nodes: Nodes, leaf: FloatArray) -> FloatArray:
    """Rows (n, F) to how far the splits on each column moved the sum of all trees from node to node (n, F)."""
    found = np.zeros(rows.shape)
    for row in range(len(rows)):
        for tree in range(len(root)):
            at = root[tree]
            while at >= 0:
                child = child_of(rows[row, nodes[at].feature], nodes[at])
                value = nodes[child].inner if child >= 0 else leaf[~child]
                found[row, nodes[at].feature] += value - nodes[at].inner
                at = child
    return found
