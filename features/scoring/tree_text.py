"""The text that LightGBM keeps a model in, in; its trees as arrays out, without LightGBM.

The form is that of `Tree::ToString` and `GBDT::SaveModelToString` in its sources, version 3 and 4 (`version=` in the file).
What a file says is believed nowhere: numbers that lead out of their arrays, or round in circles, are refused.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from features.arrays import BoolArray, FloatArray, IntArray
from features.errors import StoreError
from features.state.jit import compiled

MISSING: Final = ("None", "Zero", "NaN")
"""What counts as missing at a split, by the number that is kept for it."""
_BY_CATEGORY, _DEFAULT_LEFT = 1, 2
"""Bits of `decision_type`; what counts as missing lies above them."""
_DAMAGED: Final = "Train it again, or go back: omni rollback."


@dataclass(frozen=True)
class TextTree:
    """One tree. A node comes before all below it, those on its left before those on its right; a child below 0 is a leaf."""

    feature: IntArray  # (nodes,)
    threshold: FloatArray
    left: IntArray
    right: IntArray
    missing: IntArray  # an index into MISSING
    default_left: BoolArray
    inner: FloatArray  # the mean of what lies below, to six digits
    count: IntArray  # rows of the training that came by
    leaf: FloatArray  # (nodes + 1,) from left to right
    leaf_count: IntArray


@dataclass(frozen=True)
class TextModel:
    """The trees of one booster, the names of what they read, and what they were grown for."""

    names: tuple[str, ...]
    objective: str
    trees: tuple[TextTree, ...]

    @classmethod
    def of(cls, text: str, where: str) -> "TextModel":
        """What `Booster.model_to_string()` gives; `where` names the model. Raises StoreError for what cannot be served."""
        trees_text, end, _ = text.partition("\nend of trees")
        head, *parts = trees_text.split("\nTree=")
        told = _fields(head)
        try:
            if not end or told[""] != "tree":
                raise ValueError("its end is missing")
            names = tuple(told["feature_names"].split())
            wanted = len(told["tree_sizes"].split())
            if wanted != len(parts):
                raise ValueError(f"it has {len(parts)} trees of {wanted}")
            _need_plain(told, head, where)
            trees = tuple(_tree(_fields(part), len(names), where) for part in parts)
        except (KeyError, ValueError, IndexError) as error:
            raise StoreError(f"{where} has trees that cannot be read: {error}.", repair=_DAMAGED) from error
        return cls(names, told.get("objective", ""), trees)


def read_text(file: Path) -> str:
    """The text of a model's file; what is no text in it is found out by whoever reads the numbers."""
    return file.read_text(encoding="utf-8", errors="replace")


def _fields(part: str) -> dict[str, str]:
    """Lines `name=value`, and "" for the first word of all."""
    lines = part.split("\n")
    return {"": lines[0].strip()} | dict(line.split("=", 1) for line in lines if "=" in line)


def _need_plain(told: Mapping[str, str], head: str, where: str) -> None:
    """Raises StoreError for a model whose answer is not the sum of its leaves."""
    of_several = int(told["num_class"]) != 1 or int(told["num_tree_per_iteration"]) != 1
    if of_several or "\naverage_output" in head:
        raise StoreError(f"{where} is of another kind than boosted trees of one answer.", repair="Train it again.")


def _tree(told: Mapping[str, str], n_features: int, where: str) -> TextTree:
    n_leaves = int(told["num_leaves"])
    if int(told.get("is_linear", 0)):
        raise StoreError(f"{where} has lines in its leaves, which are not served.", repair="Train it again.")

    def numbers(name: str, kind: Any, n: int) -> Any:
        values = np.array(told[name].split(), dtype=kind)
        if len(values) != n:
            raise ValueError(f"{name} has {len(values)} numbers of {n}")
        return values

    n_nodes = n_leaves - 1
    kinds = numbers("decision_type", np.int64, n_nodes)
    if (kinds & _BY_CATEGORY).any():
        raise StoreError(f"{where} splits by categories, which are not served.", repair="Train it again.")
    feature, missing = numbers("split_feature", np.int64, n_nodes), kinds >> 2
    if not ((feature >= 0) & (feature < n_features)).all() or not (missing < len(MISSING)).all():
        raise ValueError("a split is of nothing that it knows")
    left, right = numbers("left_child", np.int64, n_nodes), numbers("right_child", np.int64, n_nodes)
    nodes, leaves = np.empty(n_nodes, np.int64), np.empty(n_leaves, np.int64)
    new_left, new_right = np.empty(n_nodes, np.int64), np.empty(n_nodes, np.int64)
    if not _in_order(left, right, nodes, leaves, new_left, new_right):
        raise ValueError("its nodes do not make a tree")
    count = numbers("leaf_count", np.int64, n_leaves) if told.get("leaf_count") else np.zeros(n_leaves, np.int64)
    return TextTree(
        feature=feature[nodes],
        threshold=numbers("threshold", np.float64, n_nodes)[nodes],
        left=new_left,
        right=new_right,
        missing=missing[nodes],
        default_left=(kinds & _DEFAULT_LEFT > 0)[nodes],
        inner=numbers("internal_value", np.float64, n_nodes)[nodes],
        count=numbers("internal_count", np.int64, n_nodes)[nodes],
        leaf=numbers("leaf_value", np.float64, n_leaves)[leaves],
        leaf_count=count[leaves],
    )


@compiled
def _in_order(
    left: IntArray, right: IntArray, nodes: IntArray, leaves: IntArray, new_left: IntArray, new_right: IntArray
) -> bool:
    """Number nodes and leaves as TextTree does: fill `nodes` and `leaves` with the old numbers, the children with the new.

    Returns False where from the first node not just these many are reached.
    """
    n_nodes, n_leaves = len(left), len(leaves)
    parent, waiting = np.empty(n_nodes + 2, np.int64), np.empty(n_nodes + 2, np.int64)
    waiting[0], parent[0], depth = (0 if n_nodes > 0 else -1), -1, 1
    node = leaf = 0
    while depth > 0:
        depth -= 1
        old, above = waiting[depth], parent[depth]
        if old >= 0:
            if old >= n_nodes or node >= n_nodes:
                return False
            number = node
            nodes[node] = old
            # the left one lies on top of the right one, whose parent says that it is the second
            waiting[depth], parent[depth] = right[old], node
            waiting[depth + 1], parent[depth + 1] = left[old], node
            new_left[node] = n_nodes  # not known yet
            depth += 2
            node += 1
        else:
            if -old > n_leaves or leaf >= n_leaves:
                return False
            number = ~leaf
            leaves[leaf] = ~old
            leaf += 1
        if above >= 0:
            if new_left[above] == n_nodes:
                new_left[above] = number
            else:
                new_right[above] = number
    return node == n_nodes and leaf == n_leaves
