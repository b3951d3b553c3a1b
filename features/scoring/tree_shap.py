"""Trees and rows in, how far each column moved each answer out: exact Shapley values that depend on the paths.

Algorithm 2 of Lundberg, Erion and Lee (2018), "Consistent Individualized Feature Attribution for Tree Ensembles", as
LightGBM's `pred_contrib` has it (`Tree::TreeSHAP`): whoever does not know a column goes both ways, as often as the rows of
the training did.
"""

from typing import Any

import numpy as np

from features.arrays import Float32Array, FloatArray, IntArray
from features.scoring.tree_walk import child_of
from features.state.jit import compiled, inlined


@compiled
def shapley_values(
    rows: Float32Array, root: IntArray, nodes: Any, leaf: FloatArray, node_count: FloatArray, leaf_count: FloatArray
) -> FloatArray:
    """Rows (n, F) to the shares of all columns in the sum of all trees (n, F); without the mean, which LightGBM adds.

    `nodes`, `leaf` and their counts are those of forest.Forest. What the paper writes as a recursion is a stack here: numba
    does not keep compiled code that calls itself.
    """
    found = np.zeros(rows.shape)
    levels = _levels(nodes)
    # of every level's path: what was split on; the shares of rows without and with it, and the weights of the subsets
    features, paths = np.empty((levels, levels), np.int64), np.empty((levels, levels, 3))
    waiting, lengths = np.empty((levels + 1, 3), np.int64), np.empty(levels + 1, np.int64)
    fractions = np.empty((levels + 1, 2))
    for row in range(len(rows)):
        for tree in range(len(root)):
            if root[tree] < 0:
                continue
            waiting[0, 0], waiting[0, 1], waiting[0, 2] = root[tree], 0, -1
            lengths[0], fractions[0, 0], fractions[0, 1], n = 0, 1.0, 1.0, 1
            while n > 0:
                n -= 1
                at, level, column, length = waiting[n, 0], waiting[n, 1], waiting[n, 2], lengths[n]
                feature, path = features[level], paths[level]
                for i in range(length):
                    feature[i] = features[level - 1, i]
                    for k in range(3):
                        path[i, k] = paths[level - 1, i, k]
                _extend(feature, path, length, fractions[n, 0], fractions[n, 1], column)
                if at < 0:
                    for i in range(1, length + 1):
                        share = _unwound_sum(path, length, i) * (path[i, 1] - path[i, 0])
                        found[row, feature[i]] += share * leaf[~at]
                    continue
                split = nodes[at].feature
                hot = child_of(rows[row, split], nodes[at])
                zero_before, one_before = 1.0, 1.0
                for i in range(length + 1):
                    if feature[i] == split:  # split before: that is undone, to be done again here
                        zero_before, one_before = path[i, 0], path[i, 1]
                        _unwind(feature, path, length, i)
                        length -= 1
                        break
                for child in (nodes[at].right, nodes[at].left):
                    within = node_count[child] if child >= 0 else leaf_count[~child]
                    waiting[n, 0], waiting[n, 1], waiting[n, 2], lengths[n] = child, level + 1, split, length + 1
                    fractions[n, 0] = within / node_count[at] * zero_before
                    fractions[n, 1] = one_before if child == hot else 0.0
                    n += 1
    return found


@compiled
def _levels(nodes: Any) -> int:
    """Nodes on the longest way down, the leaf among them; a node comes before those below it."""
    level, deepest = np.ones(len(nodes), np.int64), 1
    for at in range(len(nodes)):
        deepest = max(deepest, level[at] + 1)
        for child in (nodes[at].left, nodes[at].right):
            if child >= 0:
                level[child] = level[at] + 1
    return deepest


@inlined
def _extend(feature: Any, path: Any, length: int, zero: float, one: float, column: int) -> None:
    """One column more on the path of `length`."""
    feature[length] = column
    path[length, 0], path[length, 1], path[length, 2] = zero, one, 1.0 if length == 0 else 0.0
    with_it, without_it = one / (length + 1), zero / (length + 1)
    for i in range(length - 1, -1, -1):
        path[i + 1, 2] += path[i, 2] * (i + 1) * with_it
        path[i, 2] *= (length - i) * without_it


@inlined
def _unwind(feature: Any, path: Any, length: int, place: int) -> None:
    """The inverse of `_extend` of the column at `place`."""
    zero, one, following = path[place, 0], path[place, 1], path[length, 2]
    for i in range(length - 1, -1, -1):
        if one != 0.0:
            before = path[i, 2]
            path[i, 2] = following * (length + 1) / ((i + 1) * one)
            following = before - path[i, 2] * zero * (length - i) / (length + 1)
        else:
            path[i, 2] = path[i, 2] * (length + 1) / (zero * (length - i))
    for i in range(place, length):
        feature[i] = feature[i + 1]
        path[i, 0], path[i, 1] = path[i + 1, 0], path[i + 1, 1]


@inlined
def _unwound_sum(path: Any, length: int, place: int) -> Any:
    """The sum of the weights after `_unwind` of the column at `place`; of the rows with the column all go on, or none."""
    zero, following, total = path[place, 0], path[length, 2], 0.0
    if path[place, 1] == 0.0:
        for i in range(length):
            total += path[i, 2] / (length - i)
        return total * (length + 1) / zero
    part = zero / (length + 1)
    for i in range(length - 1, -1, -1):
        weight = following * (length + 1) / (i + 1)
        total += weight
        following = path[i, 2] - weight * part * (length - i)
    return total
