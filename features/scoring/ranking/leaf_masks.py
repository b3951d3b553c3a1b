"""Trees of few leaves and many rows in, sums of leaves out: all splits of a tree are asked at once, none waits for another.

QuickScorer (Lucchese et al. 2015, "QuickScorer: a Fast Algorithm to Rank Documents with Additive Ensembles of Regression
Trees", SIGIR): a split that a row does not pass strikes out the leaves to its left, and the first leaf that is left is the
row's. Walks from node to node stall at every split whose outcome the processor guessed wrong: every second, as candidates go.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from features.arrays import Float32Array, FloatArray, IntArray
from features.scoring.tree_text import MISSING
from features.state.jit import compiled

MOST_LEAVES: Final = 64
"""Of a tree: a bit for each."""
LEAST_ROWS: Final = 16
"""For fewer rows walks take less."""
BLOCK: Final = 64
"""Rows that are asked about together."""
_NO_MISSING, _ZERO_IS_MISSING, _NAN_IS_MISSING = range(len(MISSING))
_ALL: Final = np.uint64(2**64 - 1)
_ONE: Final = np.uint64(1)
_FACTOR: Final = np.uint64(0x03F79D71B4CB0A89)
"""A de Bruijn sequence: the top six bits of its product with a power of two are another number for each."""
_SHIFT: Final = np.uint64(58)
_PLACE: Final = np.argsort([(int(_FACTOR) << place) % 2**64 >> 58 for place in range(64)])
"""Which power that was (64,)."""


@dataclass(frozen=True, eq=False)
class LeafMasks:
    """The trees of a forest by their splits, in any order, and their leaves, left to right."""

    first_split: IntArray  # (trees + 1,)
    feature: IntArray  # (splits,)
    threshold: Float32Array  # (splits,) a value beyond it is not passed
    nan_passes: NDArray[np.bool_]  # (splits,)
    mask: NDArray[np.uint64]  # (splits,) the leaves that stay where it is not passed
    first_leaf: IntArray  # (trees,)
    leaf: FloatArray  # (leaves,)

    @classmethod
    def of(cls, root: IntArray, nodes: NDArray[np.void], leaf: FloatArray) -> "LeafMasks | None":
        """Of a forest's arrays; None where a tree has too many leaves, or takes 0 for a missing value."""
        if (nodes["missing"] == _ZERO_IS_MISSING).any():
            return None
        splits: list[int] = []
        masks: list[int] = []
        leaves: list[int] = []
        first_split, first_leaf = [0], []
        for at in root.tolist():
            first_leaf.append(len(leaves))
            _take(at, nodes, splits, masks, leaves, len(leaves))
            first_split.append(len(splits))
            if len(leaves) - first_leaf[-1] > MOST_LEAVES:
                return None
        found = nodes[splits]
        threshold = found["threshold"].astype(np.float32)
        above = threshold > found["threshold"]
        threshold[above] = np.nextafter(threshold[above], np.float32(-np.inf))  # a float32 passes both or none
        nan_passes = np.where(found["missing"] == _NAN_IS_MISSING, found["default_left"], found["threshold"] >= 0.0)
        return cls(
            np.array(first_split, np.int64),
            found["feature"].astype(np.int64),
            threshold,
            nan_passes.astype(np.bool_),
            np.array(masks, np.uint64),
            np.array(first_leaf, np.int64),
            leaf[leaves],
        )

    def sums(self, rows: Float32Array, n_trees: IntArray, sigmoid: FloatArray) -> FloatArray:
        """`tree_walk.sums_of_leaves` of rows (n, F), bit for bit."""
        found: FloatArray = _sums(
            rows,
            n_trees,
            self.first_split,
            self.feature,
            self.threshold,
            self.nan_passes,
            self.mask,
            self.first_leaf,
            self.leaf,
            sigmoid,
            _PLACE,
        )
        return found


def load_code() -> None:
    """Have the compiled code ready before anybody waits for it."""
    no_tree = LeafMasks(
        np.zeros(1, np.int64),
        np.empty(0, np.int64),
        np.empty(0, np.float32),
        np.empty(0, np.bool_),
        np.empty(0, np.uint64),
        np.empty(0, np.int64),
        np.empty(0),
    )
    no_tree.sums(np.zeros((1, 1), np.float32), np.zeros(1, np.int64), np.zeros(1))


def _take(at: int, nodes: Any, splits: list[int], masks: list[int], leaves: list[int], first: int) -> None:
    """Take in what lies below a node, or a leaf where it is below 0."""
    if at < 0:
        leaves.append(~at)
        return
    place, begin = len(splits), len(leaves) - first
    splits.append(at)
    masks.append(0)
    _take(int(nodes["left"][at]), nodes, splits, masks, leaves, first)
    end = len(leaves) - first
    masks[place] = (2**64 - 1) & ~((1 << end) - (1 << begin))
    _take(int(nodes["right"][at]), nodes, splits, masks, leaves, first)


@compiled
def _sums(
    rows: Float32Array,
    n_trees: IntArray,
    first_split: IntArray,
    feature: IntArray,
    threshold: Float32Array,
    nan_passes: Any,
    mask: Any,
    first_leaf: IntArray,
    leaf: FloatArray,
    sigmoid: FloatArray,
    places: IntArray,
) -> FloatArray:
    found = np.zeros((len(rows), len(n_trees)))
    columns = np.zeros((rows.shape[1], BLOCK), np.float32)
    left = np.empty(BLOCK, np.uint64)
    for first in range(0, len(rows), BLOCK):
        size = min(BLOCK, len(rows) - first)
        for column in range(rows.shape[1]):
            for row in range(size):
                columns[column, row] = rows[first + row, column]
        tree = 0
        for booster in range(len(n_trees)):
            for _ in range(n_trees[booster]):
                left[:] = _ALL
                for split in range(first_split[tree], first_split[tree + 1]):
                    values, beyond, stays = columns[feature[split]], threshold[split], mask[split]
                    if nan_passes[split]:
                        for row in range(BLOCK):
                            left[row] &= stays if values[row] > beyond else _ALL
                    else:
                        for row in range(BLOCK):
                            left[row] &= _ALL if values[row] <= beyond else stays
                for row in range(size):
                    lowest = left[row] & (~left[row] + _ONE)
                    found[first + row, booster] += leaf[first_leaf[tree] + places[(lowest * _FACTOR) >> _SHIFT]]
                tree += 1
            if sigmoid[booster] > 0:
                for row in range(first, first + size):
                    found[row, booster] = 1.0 / (1.0 + np.exp(-sigmoid[booster] * found[row, booster]))
    return found
