"""LightGBM boosters in, flat arrays and one compiled walk over all their trees out: single rows without a call per booster.

`Booster.predict` of one row spends a tenth of a millisecond per booster on crossing into C++ and back, many times what its
trees take. Here all boosters that answer together are walked in one call, and read their columns from the signals in place.
Many rows go through masks of leaves instead (`ranking/leaf_masks.py`), to the same sums.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from features.arrays import Float32Array, FloatArray, IntArray
from features.errors import StoreError
from features.scoring.ranking.leaf_masks import LEAST_ROWS, LeafMasks
from features.scoring.tree_shap import shapley_values
from features.scoring.tree_text import TextModel, TextTree
from features.scoring.tree_walk import Nodes, shares_along_paths, sums_of_leaves

NODE: Final = np.dtype(
    [
        ("threshold", np.float64),
        ("inner", np.float64),  # the mean of what lies below
        ("feature", np.int32),  # column of the rows
        ("left", np.int32),  # a child below 0 is the leaf `~child`
        ("right", np.int32),
        ("missing", np.int8),  # what counts as missing, an index into tree_text.MISSING
        ("default_left", np.bool_),
    ],
    align=True,
)
"""One split. All of it lies together, and one fetch from memory brings all: two to four times as fast as an array a field."""


_LEAST: Final = 0.5
"""What a node counts as that no row came by, of which LightGBM's estimates tell: shares of rows divide by it."""
_STEEPNESS: Final = re.compile(r"\d+(\.\d*)?(e[-+]?\d+)?")
"""Of a sigmoid, as LightGBM writes it."""


@dataclass(frozen=True)
class Forest:
    """The trees of B boosters, one after the other."""

    n_trees: IntArray  # (B,)
    root: IntArray  # (trees,) a node, or below 0 a leaf
    nodes: Nodes  # (nodes,) of NODE
    leaf: FloatArray  # (leaves,)
    sigmoid: FloatArray  # (B,) s of 1 / (1 + exp(-s * sum)); 0 where the sum is the answer
    node_count: FloatArray  # (nodes,) rows of the training that came by
    leaf_count: FloatArray  # (leaves,)

    @classmethod
    def of(cls, model: TextModel, columns: IntArray, where: str) -> "Forest":
        """One booster; feature i of it is column `columns[i]` of the rows. Raises StoreError for an unknown link."""
        trees = [_nodes(tree, columns) for tree in model.trees]
        nodes_before = np.cumsum([0, *map(len, trees)])
        leaves_before = np.cumsum([0, *(len(tree.leaf) for tree in model.trees)])
        roots = []
        for nodes, n_nodes, n_leaves in zip(trees, nodes_before[:-1], leaves_before[:-1], strict=True):
            for side in ("left", "right"):
                nodes[side] = _moved(nodes[side], n_nodes, n_leaves)
            roots.append(n_nodes if len(nodes) else ~n_leaves)
        return cls(
            n_trees=np.array([len(roots)]),
            root=np.array(roots, dtype=np.int64),
            nodes=np.concatenate([np.empty(0, NODE), *trees]),
            leaf=_joined([tree.leaf for tree in model.trees]),
            sigmoid=np.array([_sigmoid(model.objective, where)]),
            node_count=np.maximum(_joined([tree.count for tree in model.trees]), _LEAST),
            leaf_count=np.maximum(_joined([tree.leaf_count for tree in model.trees]), _LEAST),
        )

    @classmethod
    def joined(cls, forests: Sequence["Forest"]) -> "Forest":
        """Several as one, in their order."""
        roots, nodes, n_nodes, n_leaves = [], [], 0, 0
        for one in forests:
            moved = one.nodes.copy()
            for side in ("left", "right"):
                moved[side] = _moved(one.nodes[side], n_nodes, n_leaves)
            nodes.append(moved)
            roots.append(_moved(one.root, n_nodes, n_leaves))
            n_nodes, n_leaves = n_nodes + len(one.nodes), n_leaves + len(one.leaf)
        return cls(
            n_trees=np.concatenate([one.n_trees for one in forests]),
            root=np.concatenate(roots),
            nodes=np.concatenate(nodes),
            leaf=_joined([one.leaf for one in forests]),
            sigmoid=_joined([one.sigmoid for one in forests]),
            node_count=_joined([one.node_count for one in forests]),
            leaf_count=_joined([one.leaf_count for one in forests]),
        )

    def raw(self, rows: Float32Array) -> FloatArray:
        """Rows (n, F) to every booster's sum of leaves (n, B): what LightGBM answers with `raw_score=True`."""
        return self._sums(rows, self._without_link)

    def predict(self, rows: Float32Array) -> FloatArray:
        """Rows (n, F) to every booster's answer (n, B): what `Booster.predict` answers."""
        return self._sums(rows, self.sigmoid)

    def contributions(self, rows: Float32Array) -> FloatArray:
        """Rows (n, F) to how far the splits on each column moved the raw answer, all boosters together (n, F).

        Along a row's path, from the mean of a node to the mean of its child (Saabas 2014, "Interpreting random forests"):
        a hundredth of the time of Shapley values, and with them the sum is the answer less a constant.
        """
        return shares_along_paths(np.ascontiguousarray(rows), self.root, self.nodes, self.leaf)

    def shapley(self, rows: Float32Array) -> FloatArray:
        """Rows (n, F) to the Shapley values of each column, all boosters together (n, F).

        What LightGBM answers with `pred_contrib=True`, without the mean that it adds as one column more.
        """
        return shapley_values(
            np.ascontiguousarray(rows), self.root, self.nodes, self.leaf, self.node_count, self.leaf_count
        )

    def _sums(self, rows: Float32Array, sigmoid: FloatArray) -> FloatArray:
        rows = np.ascontiguousarray(rows)
        if len(rows) >= LEAST_ROWS and self._masks is not None:
            return self._masks.sums(rows, self.n_trees, sigmoid)
        return sums_of_leaves(rows, self.n_trees, self.root, self.nodes, self.leaf, sigmoid)

    @cached_property
    def _masks(self) -> LeafMasks | None:
        return LeafMasks.of(self.root, self.nodes, self.leaf)

    @cached_property
    def _without_link(self) -> FloatArray:
        return np.zeros_like(self.sigmoid)


def _joined(parts: Sequence[NDArray[np.generic]]) -> FloatArray:
    return np.concatenate([np.empty(0), *parts])


def _nodes(tree: TextTree, columns: IntArray) -> Nodes:
    """The splits of one tree, whose features are `columns` of the rows."""
    nodes = np.empty(len(tree.feature), dtype=NODE)
    nodes["feature"] = columns[tree.feature]
    for name in ("threshold", "inner", "left", "right", "missing", "default_left"):
        nodes[name] = getattr(tree, name)
    return nodes


def _moved(numbers: NDArray[np.integer], nodes: int, leaves: int) -> IntArray:
    """Numbers of nodes and leaves, when that many of each stand before them."""
    return np.where(numbers >= 0, numbers + nodes, numbers - leaves)


def _sigmoid(objective: str, where: str) -> float:
    name, *settings = objective.split() or [""]
    if name == "binary" and len(settings) == 1:
        key, _, steepness = settings[0].partition(":")
        if key == "sigmoid" and _STEEPNESS.fullmatch(steepness):
            return float(steepness)
    if name in ("regression", "lambdarank") and not settings:
        return 0.0
    raise StoreError(f"{where} was grown for {objective!r}, which is not served.", repair="Train it again.")
