"""A loaded model and made customers in, nothing out: a model whose answers are no answers is refused by name.

Chances lie within 0 and 1, amounts are finite, what is unknown is unknown for a reason, products are distinct. The numbers
that it is made of are looked at too: a damaged leaf of a tree may be met by no customer that was made up.
"""

import math
from dataclasses import fields, is_dataclass
from typing import Any, Final, assert_never

import numpy as np
from numpy.typing import NDArray

from features.arrays import BoolArray, Float32Array, FloatArray
from features.errors import ModelError
from features.scoring.churn import prospects
from features.scoring.effects import TreeEffects
from features.scoring.forest import Forest
from features.scoring.item_tables import Companions
from features.scoring.rerank import FEATURES
from features.signals import compute_signals
from features.state.batch import StateBatch
from serving.scorers.best_channel import ChannelScorer
from serving.scorers.bundle import Scorer
from serving.scorers.churn import ChurnScorer
from serving.scorers.next_product import ProductScorer
from serving.scorers.win_back import WinBackScorer

_BEST: Final = 10
_LONGEST_ID: Final = 256


def inspect(scorer: Scorer, states: StateBatch, as_of_s: FloatArray) -> None:
    """Ask a model everything about customers (n,) at moments (n,). Raises ModelError for an answer that is none."""
    match scorer:
        case ChurnScorer():
            _churn(scorer, compute_signals(states, as_of_s))
        case ChannelScorer():
            _channels(scorer, compute_signals(states, as_of_s))
        case WinBackScorer():
            _win_back(scorer, compute_signals(states, as_of_s))
        case ProductScorer():
            _products(scorer, states, as_of_s)
        case _:  # pragma: no cover - mypy proves that this is never reached
            assert_never(scorer)


def _churn(scorer: ChurnScorer, signals: Float32Array) -> None:
    for part in (scorer, *scorer.more):
        _finite_trees("Its trees", part.booster.forest)
        _finite_parts("Its score", part.score)
        if part.horizon_days is not None:
            _need(
                math.isfinite(part.horizon_days) and part.horizon_days > 0, f"Its horizon is {part.horizon_days} days"
            )
        _chances("Its chance of leaving", part.probability(signals), ~part.asked(signals))
    asked = scorer.asked(signals)
    served = scorer.probability(signals)
    for row in np.flatnonzero(asked):
        horizons = scorer.horizons(signals[row : row + 1], float(served[row]))
        _chances("Its chance of leaving by another horizon", np.array(list(horizons.values())))
    _finite("Its reasons", scorer.contributions(signals[asked]))
    for name, values in zip(("purchases", "revenue"), scorer.expectations(signals) or (), strict=False):
        if values is not None:
            _finite(f"Its expected {name}", values[~prospects(signals)])
            _need(bool((values[~prospects(signals)] >= 0).all()), f"Its expected {name} are below 0")


def _channels(scorer: ChannelScorer, signals: Float32Array) -> None:
    names = [arm.name for arm in scorer.arms]
    _need(len(names) > 0 and len(set(names)) == len(names) and all(names), f"Its arms are {names}")
    for arm in scorer.arms:
        _need(math.isfinite(arm.cost), f"Its arm {arm.name} costs {arm.cost}")
        hours = arm.hours or (0, 24)
        _need(all(0 <= hour <= 24 for hour in hours), f"Its arm {arm.name} is sent in the hours {hours}")
    for arm, booster in zip(scorer.arms, scorer.boosters, strict=True):
        _finite_trees(f"The trees of {arm.name}", booster.forest)
    _chances("Its chance of a response", scorer.probabilities(signals))
    if scorer.effects is None:
        return
    _finite_parts("Its effects", scorer.effects)
    if isinstance(scorer.effects.model, TreeEffects) and scorer.effects.model.forest is not None:
        _finite_trees("The trees of its effects", scorer.effects.model.forest)
    seen = dict(zip(scorer.effects.arms, scorer.effects.seen, strict=True))
    gains = scorer.gains(signals)
    known = np.array([seen.get(name, False) for name in names])
    _finite("Its gain over nothing", gains[:, known])
    _need(bool(np.isnan(gains[:, ~known]).all()), "It knows gains of arms that were never taken")


def _win_back(scorer: WinBackScorer, signals: Float32Array) -> None:
    score = scorer.score
    _finite_parts("Its score", score)
    lapsing = score.lapsing.rows(signals)
    uplift = score.uplift(signals)
    _finite("Its uplift", uplift[lapsing])
    _need(bool(np.isnan(uplift[~lapsing]).all()), "It knows an uplift of customers who are not lapsing")
    _need(len(scorer.answers(signals)) == len(signals), "It does not answer for everybody")


def _products(scorer: ProductScorer, states: StateBatch, as_of_s: FloatArray) -> None:
    ids = scorer.product_ids
    _need(len(ids) > 0, "It knows no product")
    _need(all(isinstance(name, str) and 0 < len(name) <= _LONGEST_ID for name in ids), "A product's id is no id")
    _need(len(set(ids)) == len(ids), "It knows a product twice")
    if scorer.companions is not None:
        _companions(scorer.companions, len(ids))
    scored = scorer.score(states, as_of_s)
    _need(scored.scores.shape == (len(states), len(ids) + 1), f"Its scores have the shape {scored.scores.shape}")
    _finite("Its score of a product", scored.scores[:, 1:])
    if scorer.trees is not None:
        rows = np.random.default_rng(0).normal(0.0, 10.0, (512, len(FEATURES))).astype(np.float32)
        _finite("The order of its trees", np.asarray(scorer.trees.score(rows)))
        _finite("The reasons of its trees", np.asarray(scorer.trees.explain(rows)))
    for row in range(len(states)):
        ranked = scorer.rank(scored.one(row))
        best = ranked.best(_BEST)
        _need(len(set(best.tolist())) == min(_BEST, len(ids)), "Its best products are not distinct")
        _finite("Its score of a product", ranked.scores[best])


def _companions(companions: Companions, n_products: int) -> None:
    """Rows that lead to rows, all within; numpy would take one from the end for a negative one."""
    n_rows, n_categories = n_products + 1, len(companions.category_best)
    for name in ("popularity", "category", "brand", "log_price", "in_category"):
        _need(len(getattr(companions, name)) == n_rows, f"{name} of its products are of {n_products} products no more")
    for name, tied in (("rules", companions.rules), ("pairs", companions.pairs)):
        _need(len(tied.item) == n_rows and tied.item.shape == tied.weight.shape, f"Its {name} are of other products")
        _rows(name, tied.item, n_rows)
        _finite(f"Its {name}", tied.weight)
    for name, places in (("stores", companions.stores), ("channels", companions.channels)):
        _need(
            len(places.item) == len(places.codes) + 1 and places.item.shape == places.share.shape, f"Its {name} differ"
        )
        _rows(name, places.item, n_rows)
        _finite(f"Its {name}", places.share)
    _rows("category", companions.category, n_categories)
    _rows("brand", companions.brand, n_rows + 1)
    _rows("category_best", companions.category_best, n_rows)
    _finite("The popularity of its products", companions.popularity)
    _finite("The share in the category of its products", companions.in_category)
    _need(companions.half_life_days.shape == (2,), "Its half-lives are not two")
    _finite("Its half-lives", companions.half_life_days)
    _need(bool((companions.half_life_days > 0).all()), "Its half-lives are not above 0")
    _need(not np.isinf(companions.log_price).any(), "A price of its products is infinite")


def _rows(name: str, rows: NDArray[np.integer], n_rows: int) -> None:
    fine = np.issubdtype(rows.dtype, np.integer) and bool(((rows >= 0) & (rows < n_rows)).all())
    _need(fine, f"Its {name} name products that it does not have")


def _finite_trees(what: str, forest: Forest) -> None:
    for values in (forest.leaf, forest.nodes["threshold"], forest.nodes["inner"], forest.sigmoid):
        _finite(what, values)


def _finite_parts(what: str, part: Any) -> None:
    """Every number in a model's own description, however deep."""
    if isinstance(part, float | np.ndarray) and not isinstance(part, np.ndarray):
        _need(math.isfinite(part), f"{what} holds {part}, which is no number")
    elif isinstance(part, np.ndarray):
        _finite(what, part)
    elif isinstance(part, tuple | list):
        for item in part:
            _finite_parts(what, item)
    elif is_dataclass(part):
        for one in fields(part):
            _finite_parts(what, getattr(part, one.name))


def _chances(what: str, values: FloatArray, unknown: BoolArray | None = None) -> None:
    if unknown is not None:
        _need(bool(np.isnan(values[unknown]).all()), f"{what} is known of customers of whom nobody asks")
        values = values[~unknown]
    _finite(what, values)
    _need(bool(((values >= 0) & (values <= 1)).all()), f"{what} is not within 0 and 1")


def _finite(what: str, values: NDArray[Any]) -> None:
    if not np.isfinite(values).all():
        bad = np.asarray(values)[~np.isfinite(values)]
        raise ModelError(f"{what} is {bad.flat[0]}, which is no number.")


def _need(fine: bool, problem: str) -> None:
    if not fine:
        raise ModelError(f"{problem}.")
