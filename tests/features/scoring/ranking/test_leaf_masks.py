"""Sums of leaves by masks are those of walks, bit for bit, whatever the trees and the rows."""

import numpy as np
import pytest

from features.arrays import Float32Array
from features.scoring.forest import NODE, Forest
from features.scoring.ranking.leaf_masks import LEAST_ROWS, MOST_LEAVES, LeafMasks
from features.scoring.tree_text import MISSING
from features.scoring.tree_walk import sums_of_leaves

N_FEATURES = 5
ZERO, NAN = MISSING.index("Zero"), MISSING.index("NaN")


def drawn_forest(rng: np.random.Generator, most_leaves: int) -> Forest:
    """Three boosters of four trees, each grown by splitting leaves that are drawn."""
    nodes, leaf, roots = [], [], []
    for _ in range(12):
        first, root = len(nodes), ~len(leaf)
        leaf.append(rng.normal())
        for _ in range(rng.integers(0, most_leaves)):
            at = _any_leaf(rng, root, nodes, first)
            number, new = ~at[0], len(leaf)
            leaf.append(rng.normal())
            node = np.zeros((), NODE)
            node["feature"], node["threshold"] = rng.integers(N_FEATURES), rng.choice([0.0, 0.1, rng.normal()])
            node["missing"], node["default_left"] = rng.choice([0, NAN]), rng.integers(2)
            node["left"], node["right"] = rng.permutation([~number, ~new])
            nodes.append(node)
            if at[1] is None:
                root = len(nodes) - 1
            else:
                nodes[at[1]][at[2]] = len(nodes) - 1
        roots.append(root)
    whole = np.array(nodes, NODE)
    sigmoid = np.array([0.0, 1.0, 0.7])
    return Forest(np.array([4, 4, 4]), np.array(roots), whole, np.array(leaf), sigmoid, *np.ones((2, 1)))


def _any_leaf(rng: np.random.Generator, root: int, nodes: list, first: int) -> tuple:
    """A leaf of the tree, as its number, its parent and the side."""
    at, parent, side = root, None, ""
    while at >= 0:
        parent, side = at, rng.choice(["left", "right"])
        at = int(nodes[at][side])
    return at, parent, side


def drawn_rows(rng: np.random.Generator, n: int) -> Float32Array:
    rows = rng.choice([np.nan, np.inf, -np.inf, 0.0, -0.0, 0.1, 1e-36, 1.0], (n, N_FEATURES)).astype(np.float32)
    return np.where(rng.random(rows.shape) < 0.5, rng.normal(size=rows.shape), rows).astype(np.float32)


@pytest.mark.parametrize("seed", range(12))
def test_they_are_those_of_walks(seed: int) -> None:
    rng = np.random.default_rng(seed)
    forest = drawn_forest(rng, 2 + 5 * seed)
    rows = drawn_rows(rng, rng.integers(1, 200))
    walked = [forest.n_trees, forest.root, forest.nodes, forest.leaf]
    masks = LeafMasks.of(forest.root, forest.nodes, forest.leaf)
    assert masks is not None
    for sigmoid in (forest.sigmoid, np.zeros(3)):
        np.testing.assert_array_equal(masks.sums(rows, forest.n_trees, sigmoid), sums_of_leaves(rows, *walked, sigmoid))


def test_a_threshold_between_two_float32_lies_below_the_upper_one() -> None:
    node = np.zeros(1, NODE)
    node["threshold"], node["left"], node["right"] = 0.1, ~0, ~1  # the nearest float32 is larger
    masks = LeafMasks.of(np.array([0]), node, np.array([5.0, 7.0]))
    assert masks is not None
    rows = np.array([[0.1], [np.nextafter(np.float32(0.1), np.float32(0))]], np.float32)
    assert masks.sums(rows, np.array([1]), np.zeros(1)).tolist() == [[7.0], [5.0]]


def test_what_masks_cannot_say_is_left_to_walks() -> None:
    rng = np.random.default_rng(0)
    forest = drawn_forest(rng, 5)
    forest.nodes["missing"][0] = ZERO
    assert LeafMasks.of(forest.root, forest.nodes, forest.leaf) is None
    rows = drawn_rows(rng, LEAST_ROWS)
    walked = sums_of_leaves(rows, forest.n_trees, forest.root, forest.nodes, forest.leaf, forest.sigmoid)
    np.testing.assert_array_equal(forest.predict(rows), walked)
    chain = np.zeros(MOST_LEAVES, NODE)
    chain["left"], chain["right"] = ~np.arange(MOST_LEAVES), [*range(1, MOST_LEAVES), ~MOST_LEAVES]
    assert LeafMasks.of(np.array([0]), chain, np.zeros(MOST_LEAVES + 1)) is None
    chain["right"][-2] = ~(MOST_LEAVES - 1)
    assert LeafMasks.of(np.array([0]), chain[:-1], np.zeros(MOST_LEAVES)) is not None
