"""The best k: as sorting everything says, whatever ties, infinities and masks there are."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from features.arrays import BoolArray, Float32Array
from features.scoring.ranking.top_k import top_k, without

SOME = st.sampled_from([-np.inf, -2.0, -1.0, 0.0, 1.0, 1.5, 2.0, np.inf])
FEW_TIES = st.floats(-10, 10, width=32)
SCORES = arrays(np.float32, st.tuples(st.integers(1, 3), st.integers(1, 30)), elements=SOME | FEW_TIES)


def sorted_whole(scores: Float32Array, k: int, allowed: BoolArray) -> list[list[int]]:
    rows = []
    for row, mask in zip(scores, allowed, strict=True):
        order = np.argsort(-row, kind="stable")
        rows.append([int(at) for at in order if np.isfinite(row[at]) and mask[at]][:k])
    return rows


@given(SCORES, st.integers(0, 35), st.integers(0, 2**30))
def test_it_is_what_sorting_says(scores: Float32Array, k: int, seed: int) -> None:
    allowed = np.random.default_rng(seed).random(scores.shape) < 0.7
    for mask, wide in (
        (np.ones_like(allowed), None),
        (np.tile(allowed[0], (len(scores), 1)), allowed[0]),
        (allowed,) * 2,
    ):
        columns = top_k(scores, k, wide)
        assert columns.shape == (len(scores), min(k, scores.shape[1]))
        assert [[at for at in row if at >= 0] for row in columns.tolist()] == sorted_whole(scores, k, mask)


@given(SCORES, st.integers(1, 5))
def test_columns_count_from_the_first_product(scores: Float32Array, k: int) -> None:
    wide = np.concatenate((np.full((len(scores), 1), 99, np.float32), scores), axis=1)
    assert top_k(wide, k, first=1).tolist() == top_k(scores, k).tolist()


def test_what_is_not_allowed_scores_nothing() -> None:
    scores = np.array([1.0, 2.0, 3.0], np.float32)
    assert without(scores, np.array([True, False, True])).tolist() == [-np.inf, 1.0, -np.inf, 3.0]
    assert without(scores, None).tolist() == [-np.inf, 1.0, 2.0, 3.0]
