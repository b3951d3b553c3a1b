"""Many customers' best products at once: what each of them is answered alone, with and without trees, whatever is allowed."""

import numpy as np
import pytest
from made_companions import made_companions
from made_models import PRODUCTS
from made_network import network_arrays

from features.scoring.network.halves import SplitNetwork
from features.scoring.next_product import ProductFiles, ProductTrees
from features.scoring.rerank import FEATURES
from features.state.batch import StateBatch
from features.vocabulary import Task
from serving.scorers.model_card import ModelCard
from serving.scorers.next_product import BLOCK, ProductScorer
from serving.scorers.sample_customers import sample_customers

TREES = ProductTrees(lambda rows: -3.0 * rows[:, FEATURES.index("score")], lambda rows: rows)


def scorer(*, trees: bool) -> ProductScorer:
    split = SplitNetwork.of(network_arrays(len(PRODUCTS) + 1), 64)
    assert split is not None
    files = ProductFiles(
        PRODUCTS,
        split,
        made_companions(len(PRODUCTS)),
        TREES if trees else None,
        popularity_days=7.0,
        log_popularity=np.linspace(-1, 1, len(PRODUCTS) + 1, dtype=np.float32),
    )
    return ProductScorer(ModelCard(Task.NEXT_PRODUCT, "1", "next_product_v2"), files)


@pytest.mark.parametrize("trees", [False, True])
@pytest.mark.parametrize("how", ["everything", "for everybody", "for each"])
def test_it_is_what_each_is_answered_alone(trees: bool, how: str) -> None:
    product, (states, as_of_s) = scorer(trees=trees), sample_customers(PRODUCTS)
    assert len(states) > BLOCK
    each = np.random.default_rng(0).random((len(states), len(PRODUCTS))) < 0.6
    each[1] = False
    allowed = {"everything": None, "for everybody": each[0], "for each": each}[how]
    blocks = list(product.rank_blocks(states, as_of_s, allowed))
    columns = np.concatenate([block.best(4) for block in blocks])
    scores = np.concatenate([block.at(block.best(4)) for block in blocks])
    assert columns.shape == scores.shape == (len(states), 4)
    for row in range(len(states)):
        mask = each[row] if how == "for each" else allowed
        ranked = product.rank(product.score(states.take(np.array([row])), as_of_s[row : row + 1]), mask)
        best = ranked.best(4)
        assert columns[row].tolist() == [*best.tolist(), *[-1] * (4 - len(best))]
        np.testing.assert_allclose(scores[row, : len(best)], ranked.scores[best], atol=1e-5)
        assert np.isneginf(scores[row, len(best) :]).all()


def test_of_nobody_it_is_nothing() -> None:
    assert list(scorer(trees=False).rank_blocks(StateBatch.empty(0), np.empty(0))) == []
