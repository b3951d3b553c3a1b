"""The compiled candidates against the readable ones: the same products, and features that are equal to the last bit."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_companions import made_companions

from features.scoring.item_tables import Companions, Favourites, Neighbours
from features.scoring.rerank import FEATURES, candidate_pool, readable_pool
from features.state.products import POPULARITY_DAYS
from features.vocabulary import KIND_CODES

WIDTH = 128


def random_companions(n: int, rng: np.random.Generator) -> Companions:
    """With ties that repeat, products without a category, brand or price, and a place that lists one twice."""
    rows, n_groups = n + 1, int(rng.integers(1, 9))

    def neighbours() -> Neighbours:
        weight = rng.integers(0, 4, (rows, 5)).astype(np.float32) / 4
        item = np.where(weight > 0, rng.integers(1, rows, weight.shape), 0).astype(np.int32)
        item[0], weight[0] = 0, 0.0
        return Neighbours(item, weight)

    def favourites() -> Favourites:
        item = rng.integers(0, rows, (4, 30)).astype(np.int32)
        item[-1] = 0
        return Favourites(np.array([2.0, 5.0, 7.0]), item, rng.random(item.shape, np.float32) * (item > 0))

    price = np.where(rng.random(rows) < 0.2, np.nan, rng.normal(size=rows)).astype(np.float32)
    return made_companions(
        n,
        popularity=rng.normal(size=(rows, len(POPULARITY_DAYS))).astype(np.float32),
        rules=neighbours(),
        pairs=neighbours(),
        category=rng.integers(0, n_groups, rows).astype(np.int32) * (np.arange(rows) > 0),
        brand=rng.integers(0, 5, rows).astype(np.int32) * (np.arange(rows) > 0),
        log_price=price,
        in_category=rng.normal(size=rows).astype(np.float32),
        category_best=rng.integers(0, rows, (n_groups, 8)).astype(np.int32) * (np.arange(n_groups) > 0)[:, None],
        stores=favourites(),
        channels=favourites(),
        half_life_days=np.array([21.0, 3.0], np.float32),
    )


def random_inputs(n_customers: int, n: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    shape = (n_customers, WIDTH)
    item = rng.integers(0, n + 1, shape) * (rng.random(shape) < rng.choice((0.0, 0.1, 0.9)))
    habit = np.zeros(shape, np.int64)
    for row in habit:
        own = rng.permutation(n)[: rng.integers(0, min(n, WIDTH) + 1)] + 1
        row[: len(own)] = own
    has = habit > 0
    kinds = rng.choice((KIND_CODES["purchase"], KIND_CODES["add_to_cart"]), shape)
    return {
        "item": item,
        "kind": kinds,
        "channel": rng.choice((0, 2, 5), shape),
        "age_days": np.where(item > 0, -np.sort(-rng.exponential(40, shape), axis=1), 0).astype(np.float32),
        "habit_item": habit,
        "habit_weight": (rng.exponential(2, shape) * has).astype(np.float32),
        "habit_age_days": (rng.exponential(40, shape) * has).astype(np.float32),
        "habit_gap_days": np.where(rng.random(shape) < 0.5, -1, rng.exponential(9, shape)).astype(np.float32),
        "habit_count": (rng.integers(1, 4, shape) * has).astype(np.float32),
        "store": rng.choice((np.nan, 2.0, 5.0, 6.0), n_customers),
    }


def random_scores(n_customers: int, n: int, rng: np.random.Generator, forbidden: float) -> np.ndarray:
    scores = rng.normal(size=(n_customers, n + 1)).astype(np.float32)
    scores[rng.random(scores.shape) < 0.1] = 0.0
    scores[rng.random(scores.shape) < 0.2] = 1.5
    scores[rng.random(scores.shape) < forbidden] = -np.inf
    scores[:, 0] = -np.inf
    return scores


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 2**30),
    n=st.sampled_from((1, 2, 9, 60, 400)),
    n_customers=st.integers(1, 3),
    forbidden=st.sampled_from((0.0, 0.5, 1.0)),
)
def test_it_is_the_readable_pool(seed: int, n: int, n_customers: int, forbidden: float) -> None:
    rng = np.random.default_rng(seed)
    companions, inputs = random_companions(n, rng), random_inputs(n_customers, n, rng)
    scores = random_scores(n_customers, n, rng, forbidden)
    expected = readable_pool(scores, inputs, companions)
    for _ in range(2):  # the second pass finds what the first one left behind
        pool = candidate_pool(scores, inputs, companions)
        for row in range(n_customers):
            there, here = expected.items[row] > 0, pool.items[row] > 0
            assert pool.items[row][here].tolist() == expected.items[row][there].tolist()
            np.testing.assert_array_equal(pool.features[row][here], expected.features[row][there])


def test_parts_are_left_out_by_the_readable_one() -> None:
    rng = np.random.default_rng(0)
    companions, inputs, scores = random_companions(60, rng), random_inputs(1, 60, rng), random_scores(1, 60, rng, 0.0)
    parts: tuple[Any, ...] = ("transformer", "rules")
    pool = candidate_pool(scores, inputs, companions, parts)
    assert (pool.features[:, :, FEATURES.index("habit_weight")] == 0).all()
    np.testing.assert_array_equal(pool.items, readable_pool(scores, inputs, companions, parts).items)


def test_companions_of_other_products_are_refused() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="scores of 8 rows and companions of 10"):
        candidate_pool(random_scores(1, 7, rng, 0.0), random_inputs(1, 7, rng), random_companions(9, rng))
