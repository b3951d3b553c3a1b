"""LightGBM boosters in, flat arrays and one compiled walk over all their trees out: single rows without a call per booster.

`Booster.predict` of one row spends a tenth of a millisecond per booster on crossing into C++ and back, many times what its
trees take. Here all boosters that answer together are walked in one call, and read their columns from the signals in place.
The rules of a split are LightGBM's (`NumericalDecision` in its tree.h): a missing value goes the split's default way where
the split knows missing values, and counts as 0 where it does not.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import lightgbm
import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from features.arrays import Float32Array, FloatArray, IntArray
from features.errors import StoreError
from features.state.jit import compiled, inlined

_MISSING: Final = {"None": 0, "Zero": 1, "NaN": 2}
_NO_MISSING, _ZERO_IS_MISSING, _NAN_IS_MISSING = _MISSING.values()
_ZERO: Final = float(np.float32(1e-35))
"""LightGBM's own word for 0."""


_NODE: Final = np.dtype(
    [
        ("threshold", np.float64),
        ("inner", np.float64),  # the mean of what lies below
        ("feature", np.int32),  # column of the rows
        ("left", np.int32),  # a child below 0 is the leaf `~child`
        ("right", np.int32),
        ("missing", np.int8),  # what counts as missing, a value of _MISSING
        ("default_left", np.bool_),
    ],
    align=True,
)
"""One split. All of it lies together, and one fetch from memory brings all: two to four times as fast as an array a field."""
Nodes = NDArray[np.void]


@dataclass(frozen=True)
class Forest:
    """The trees of B boosters, one after the other."""

    n_trees: IntArray  # (B,)
    root: IntArray  # (trees,) a node, or below 0 a leaf
    nodes: Nodes  # (nodes,) of _NODE
    leaf: FloatArray  # (leaves,)
    sigmoid: FloatArray  # (B,) s of 1 / (1 + exp(-s * sum)); 0 where the sum is the answer

    @classmethod
    def of(cls, booster: lightgbm.Booster, columns: IntArray, where: str) -> "Forest":
        """One booster; feature i of it is column `columns[i]` of the rows. Raises StoreError for splits by category."""
        told = booster.dump_model()
        draft = _Draft(columns, where)
        roots = [draft.add(tree["tree_structure"]) for tree in told["tree_info"]]
        return cls(
            n_trees=np.array([len(roots)]),
            root=np.array(roots, dtype=np.int64),
            nodes=np.array(draft.nodes, dtype=_NODE),
            leaf=np.array(draft.leaf, dtype=np.float64),
            sigmoid=np.array([_sigmoid(str(told["objective"]), where)]),
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
            leaf=np.concatenate([one.leaf for one in forests]),
            sigmoid=np.concatenate([one.sigmoid for one in forests]),
        )

    def raw(self, rows: Float32Array) -> FloatArray:
        """Rows (n, F) to every booster's sum of leaves (n, B): what LightGBM answers with `raw_score=True`."""
        return _walk(np.ascontiguousarray(rows), self.n_trees, self.root, self.nodes, self.leaf)

    def contributions(self, rows: Float32Array) -> FloatArray:
        """Rows (n, F) to how far the splits on each column moved the raw answer, all boosters together (n, F).

        Along a row's path, from the mean of a node to the mean of its child (Saabas 2014, "Interpreting random forests"):
        a hundredth of the time of Shapley values, and with them the sum is the answer less a constant.
        """
        return _attribute(np.ascontiguousarray(rows), self.root, self.nodes, self.leaf)

    def predict(self, rows: Float32Array) -> FloatArray:
        """Rows (n, F) to every booster's answer (n, B): what `Booster.predict` answers."""
        raw = self.raw(rows)
        links = self.sigmoid > 0
        if links.any():
            raw[:, links] = expit(self.sigmoid[links] * raw[:, links])
        return raw


class _Draft:
    """Nodes and leaves as they come out of the nested form."""

    def __init__(self, columns: IntArray, where: str) -> None:
        self._columns, self._where = columns.tolist(), where
        self.nodes: list[tuple[object, ...]] = []
        self.leaf: list[float] = []

    def add(self, node: Mapping[str, Any]) -> int:
        """Take in a node with all below it; answers its number, below 0 for a leaf."""
        if "leaf_value" in node:
            self.leaf.append(float(node["leaf_value"]))
            return ~(len(self.leaf) - 1)
        if node["decision_type"] != "<=":
            raise StoreError(f"{self._where} splits by categories, which are not served.", repair="Train it again.")
        number = len(self.nodes)
        self.nodes.append(())  # its place comes before its children's
        self.nodes[number] = (
            node["threshold"],
            node["internal_value"],
            self._columns[node["split_feature"]],
            self.add(node["left_child"]),
            self.add(node["right_child"]),
            _MISSING[node["missing_type"]],
            node["default_left"],
        )
        return number


def _moved(numbers: NDArray[np.integer], nodes: int, leaves: int) -> IntArray:
    """Numbers of nodes and leaves, when that many of each stand before them."""
    return np.where(numbers >= 0, numbers + nodes, numbers - leaves)


def _sigmoid(objective: str, where: str) -> float:
    name, *settings = objective.split()
    if name == "binary":
        return float(dict(part.split(":") for part in settings)["sigmoid"])
    if name in ("regression", "lambdarank"):
        return 0.0
    raise StoreError(f"{where} was grown for {objective!r}, which is not served.", repair="Train it again.")


@inlined
def _child(value: float, node: Any) -> int:
    """Where a value goes from a node, which is a record of _NODE."""
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
def _walk(rows: Float32Array, n_trees: IntArray, root: IntArray, nodes: Nodes, leaf: FloatArray) -> FloatArray:
    found = np.zeros((len(rows), len(n_trees)))
    for row in range(len(rows)):
        tree = 0
        for booster in range(len(n_trees)):
            total = 0.0
            for _ in range(n_trees[booster]):
                at = root[tree]
                tree += 1
                while at >= 0:
                    at = _child(rows[row, nodes[at].feature], nodes[at])
                total += leaf[~at]
            found[row, booster] = total
    return found


@compiled
def _attribute(rows: Float32Array, root: IntArray, nodes: Nodes, leaf: FloatArray) -> FloatArray:
    found = np.zeros(rows.shape)
    for row in range(len(rows)):
        for tree in range(len(root)):
            at = root[tree]
            while at >= 0:
                child = _child(rows[row, nodes[at].feature], nodes[at])
                value = nodes[child].inner if child >= 0 else leaf[~child]
                found[row, nodes[at].feature] += value - nodes[at].inner
                at = child
    return found
