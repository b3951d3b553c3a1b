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

from features.errors import StoreError
from features.fold_compile import compiled, inlined

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Rows = NDArray[np.float32]

_MISSING: Final = {"None": 0, "Zero": 1, "NaN": 2}
_NO_MISSING, _ZERO_IS_MISSING, _NAN_IS_MISSING = _MISSING.values()
_ZERO: Final = float(np.float32(1e-35))
"""LightGBM's own word for 0."""


@dataclass(frozen=True)
class Forest:
    """The trees of B boosters, one after the other; a child below 0 is the leaf `~child`."""

    n_trees: Ints  # (B,)
    root: Ints  # (trees,)
    feature: Ints  # (nodes,) column of the rows
    threshold: Floats  # (nodes,)
    missing: NDArray[np.int8]  # (nodes,) what counts as missing, a value of _MISSING
    default_left: NDArray[np.bool_]  # (nodes,)
    children: Ints  # (nodes, 2) left and right
    leaf: Floats  # (leaves,)
    inner: Floats  # (nodes,) the mean of what lies below a node
    sigmoid: Floats  # (B,) s of 1 / (1 + exp(-s * sum)); 0 where the sum is the answer

    @classmethod
    def of(cls, booster: lightgbm.Booster, columns: Ints, where: str) -> "Forest":
        """One booster; feature i of it is column `columns[i]` of the rows. Raises StoreError for splits by category."""
        told = booster.dump_model()
        draft = _Draft(columns, where)
        roots = [draft.add(tree["tree_structure"]) for tree in told["tree_info"]]
        return cls(
            n_trees=np.array([len(roots)]),
            root=np.array(roots, dtype=np.int64),
            feature=np.array(draft.feature, dtype=np.int64),
            threshold=np.array(draft.threshold, dtype=np.float64),
            missing=np.array(draft.missing, dtype=np.int8),
            default_left=np.array(draft.default_left, dtype=np.bool_),
            children=np.array(draft.children, dtype=np.int64).reshape(-1, 2),
            leaf=np.array(draft.leaf, dtype=np.float64),
            inner=np.array(draft.inner, dtype=np.float64),
            sigmoid=np.array([_sigmoid(str(told["objective"]), where)]),
        )

    @classmethod
    def joined(cls, forests: Sequence["Forest"]) -> "Forest":
        """Several as one, in their order."""
        nodes = np.cumsum([0, *(len(one.feature) for one in forests)])[:-1]
        leaves = np.cumsum([0, *(len(one.leaf) for one in forests)])[:-1]
        offsets = list(zip(forests, nodes.tolist(), leaves.tolist(), strict=True))
        return cls(
            n_trees=np.concatenate([one.n_trees for one in forests]),
            root=np.concatenate([_moved(one.root, node, leaf) for one, node, leaf in offsets]),
            feature=np.concatenate([one.feature for one in forests]),
            threshold=np.concatenate([one.threshold for one in forests]),
            missing=np.concatenate([one.missing for one in forests]),
            default_left=np.concatenate([one.default_left for one in forests]),
            children=np.concatenate([_moved(one.children, node, leaf) for one, node, leaf in offsets]),
            leaf=np.concatenate([one.leaf for one in forests]),
            inner=np.concatenate([one.inner for one in forests]),
            sigmoid=np.concatenate([one.sigmoid for one in forests]),
        )

    def raw(self, rows: Rows) -> Floats:
        """Rows (n, F) to every booster's sum of leaves (n, B): what LightGBM answers with `raw_score=True`."""
        return _walk(
            np.ascontiguousarray(rows), self.n_trees, self.root, self.feature, self.threshold, self.missing,
            self.default_left, self.children, self.leaf,
        )  # fmt: skip

    def contributions(self, rows: Rows) -> Floats:
        """Rows (n, F) to how far the splits on each column moved the raw answer, all boosters together (n, F).

        Along a row's path, from the mean of a node to the mean of its child (Saabas 2014, "Interpreting random forests"):
        a hundredth of the time of Shapley values, and with them the sum is the answer less a constant.
        """
        rows = np.ascontiguousarray(rows)
        return _attribute(
            rows, self.root, self.feature, self.threshold, self.missing,
            self.default_left, self.children, self.leaf, self.inner,
        )  # fmt: skip

    def predict(self, rows: Rows) -> Floats:
        """Rows (n, F) to every booster's answer (n, B): what `Booster.predict` answers."""
        raw = self.raw(rows)
        links = self.sigmoid > 0
        if links.any():
            raw[:, links] = 1.0 / (1.0 + np.exp(-self.sigmoid[links] * raw[:, links]))
        return raw


class _Draft:
    """Nodes and leaves as they come out of the nested form."""

    def __init__(self, columns: Ints, where: str) -> None:
        self._columns, self._where = columns.tolist(), where
        self.feature: list[int] = []
        self.threshold: list[float] = []
        self.missing: list[int] = []
        self.default_left: list[bool] = []
        self.children: list[list[int]] = []
        self.leaf: list[float] = []
        self.inner: list[float] = []

    def add(self, node: Mapping[str, Any]) -> int:
        """Take in a node with all below it; answers its number, below 0 for a leaf."""
        if "leaf_value" in node:
            self.leaf.append(float(node["leaf_value"]))
            return ~(len(self.leaf) - 1)
        if node["decision_type"] != "<=":
            raise StoreError(f"{self._where} splits by categories, which are not served.", repair="Train it again.")
        number = len(self.feature)
        self.feature.append(self._columns[node["split_feature"]])
        self.threshold.append(float(node["threshold"]))
        self.missing.append(_MISSING[node["missing_type"]])
        self.default_left.append(bool(node["default_left"]))
        self.inner.append(float(node["internal_value"]))
        self.children.append([0, 0])
        self.children[number] = [self.add(node["left_child"]), self.add(node["right_child"])]
        return number


def _moved(numbers: Ints, nodes: int, leaves: int) -> Ints:
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
def _side(
    value: float, node: int, threshold: Floats, missing: NDArray[np.int8], default_left: NDArray[np.bool_]
) -> int:
    """0 where a value goes left at a node, 1 where it goes right."""
    kind = missing[node]
    if np.isnan(value) and kind != _NAN_IS_MISSING:
        value = 0.0
    if (kind == _NAN_IS_MISSING and np.isnan(value)) or (kind == _ZERO_IS_MISSING and -_ZERO <= value <= _ZERO):
        return 0 if default_left[node] else 1
    return 0 if value <= threshold[node] else 1


@compiled
def _walk(
    rows: Rows,
    n_trees: Ints,
    root: Ints,
    feature: Ints,
    threshold: Floats,
    missing: NDArray[np.int8],
    default_left: NDArray[np.bool_],
    children: Ints,
    leaf: Floats,
) -> Floats:
    found = np.zeros((len(rows), len(n_trees)))
    for row in range(len(rows)):
        tree = 0
        for booster in range(len(n_trees)):
            total = 0.0
            for _ in range(n_trees[booster]):
                node = root[tree]
                tree += 1
                while node >= 0:
                    node = children[node, _side(rows[row, feature[node]], node, threshold, missing, default_left)]
                total += leaf[~node]
            found[row, booster] = total
    return found


@compiled
def _attribute(
    rows: Rows,
    root: Ints,
    feature: Ints,
    threshold: Floats,
    missing: NDArray[np.int8],
    default_left: NDArray[np.bool_],
    children: Ints,
    leaf: Floats,
    inner: Floats,
) -> Floats:
    found = np.zeros(rows.shape)
    for row in range(len(rows)):
        for tree in range(len(root)):
            node = root[tree]
            while node >= 0:
                child = children[node, _side(rows[row, feature[node]], node, threshold, missing, default_left)]
                value = inner[child] if child >= 0 else leaf[~child]
                found[row, feature[node]] += value - inner[node]
                node = child
    return found
