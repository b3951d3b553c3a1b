"""A network's scores of all products and its inputs in, the same scores with the best places set by trees out.

The network, what follows and what goes with the customer's products, what is popular in general, in their store, channel and
categories, and what they looked at each put candidates forward; boosted trees order them by what speaks for each.
Training and serving both go through this module, so they cannot disagree.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from features.arrays import FloatArray, IntArray
from features.scoring.item_tables import Companions, Favourites, Floats32, Neighbours
from features.scoring.ranking.candidates import Sizes, candidates
from features.scoring.ranking.top_k import top_k
from features.state.products import POPULARITY_DAYS
from features.vocabulary import KIND_CODES, EventKind

Inputs = Mapping[str, NDArray[Any]]
Trees = Callable[[Floats32], Any]
"""Features of candidates (M, F) to one number each (M,): a booster's `predict` on one thread."""

_POPULARITY: Final = tuple(f"log_popularity_{days:g}d" for days in POPULARITY_DAYS)
FEATURES: Final = (
    "score",
    "score_among_new",
    "place",
    "rules",
    "pairs",
    *_POPULARITY,
    "popularity_trend",
    "category_share",
    "category_age_days",
    "in_category",
    "has_category",
    "brand_share",
    "price_against_usual",
    "store_share",
    "channel_share",
    "habit_weight",
    "habit_share",
    "habit_age_days",
    "habit_gap_days",
    "habit_overdue",
    "habit_count",
    "n_habits",
    "new_habit_share",
    "last_event_days",
    "in_cart",
    "history_days",
)
"""What the trees read of a candidate, in order."""
TRANSFORMER: Final = "transformer"
_OF_PART: Final[Mapping[str, tuple[str, ...]]] = {
    TRANSFORMER: (),
    "rules": ("rules",),
    "item_knn": ("pairs",),
    "personal_frequency": (
        *("habit_weight", "habit_share", "habit_age_days", "habit_gap_days", "habit_overdue", "habit_count"),
        *("n_habits", "new_habit_share"),
    ),
    "recent_popularity": (*_POPULARITY, "popularity_trend"),
}
PARTS: Final = tuple(_OF_PART)
"""What puts candidates forward; each can be left out, and its features with it. Without the network something else scores."""
RANKER_FILE: Final = "ranker.txt"
N_NETWORK: Final = 64
N_NEW: Final = 40
N_NEIGHBOURS: Final = 24
N_LOCAL: Final = 24
N_CATEGORIES: Final = 4
N_SEEN: Final = 8
_N_LATEST: Final = 64
_NEW_HABIT_DAYS: Final = 28.0
_MISSING: Final = -1.0
_CARTED: Final = KIND_CODES[EventKind.ADD_TO_CART]
_SCORE: Final = FEATURES.index("score")
_SIZES: Final = Sizes(
    N_NETWORK, N_NEW, N_NEIGHBOURS, N_LOCAL, N_CATEGORIES, N_SEEN, _N_LATEST, _CARTED, _NEW_HABIT_DAYS
)


@dataclass(frozen=True)
class Pool:
    """Candidates of n customers: item rows (n, C), 0 where one came up twice, and their FEATURES (n, C, F)."""

    items: IntArray
    features: Floats32


def candidate_pool(scores: Floats32, inputs: Inputs, companions: Companions, parts: Collection[str] = PARTS) -> Pool:
    """The candidates for the network's scores (n, V + 1) and what it scored (`model_inputs`), with their features.

    A product that scores minus infinity is no candidate, whoever puts it forward: that is how rules exclude. What is not
    among `parts` puts none forward, and its features are zero.
    """
    if not set(PARTS) <= set(parts):
        return readable_pool(scores, inputs, companions, parts)
    return Pool(*candidates(scores, inputs, companions, _SIZES, len(FEATURES)))


def readable_pool(scores: Floats32, inputs: Inputs, companions: Companions, parts: Collection[str] = PARTS) -> Pool:
    """What `candidate_pool` computes, where it can be read: by it the compiled form is held, and parts are left out."""
    own = inputs["habit_item"].astype(np.int64)
    weight = inputs["habit_weight"]
    allowed = np.isfinite(scores)
    rules, pairs = (
        ties(inputs, neighbours, days, scores.shape) * allowed
        for neighbours, days in zip((companions.rules, companions.pairs), companions.half_life_days, strict=True)
    )
    new = scores.copy()
    np.put_along_axis(new, own, -np.inf, axis=1)
    categories = _per_group(companions.category, own, weight, len(companions.category_best))
    store = companions.stores.place(inputs["store"])
    channel = companions.channels.place(inputs["channel"][:, -1])
    n = len(scores)
    popular = np.broadcast_to(companions.popular, (n, len(companions.popular)))
    items = np.concatenate(
        (
            _best(scores, N_NETWORK),
            _best(new, N_NEW),
            *([_best(rules, N_NEIGHBOURS)] if "rules" in parts else []),
            *([_best(pairs, N_NEIGHBOURS)] if "item_knn" in parts else []),
            *([popular] if "recent_popularity" in parts else []),
            companions.category_best[_largest(categories, N_CATEGORIES)].reshape(n, -1),
            companions.stores.item[store][:, :N_LOCAL],
            companions.channels.item[channel][:, :N_LOCAL],
            inputs["item"][:, -N_SEEN:],
        ),
        axis=1,
    ).astype(np.int64)
    items = _once(np.where(np.take_along_axis(allowed, items, axis=1), items, 0))
    value = np.where(items > 0, np.take_along_axis(scores, items, axis=1), -np.inf)
    total = np.maximum(weight.sum(axis=1, keepdims=True), 1e-6)
    popularity = companions.popularity[items]
    category = companions.category[items].astype(np.int64)
    brands = _per_group(companions.brand, own, weight, int(companions.brand.max(initial=0)) + 1)
    columns = (
        value - _finite_max(value),
        np.where(items > 0, value - _finite_max(new), 0.0),
        _places(value),
        np.take_along_axis(rules, items, axis=1),
        np.take_along_axis(pairs, items, axis=1),
        *np.moveaxis(popularity, 2, 0),
        popularity[:, :, 1] - popularity[:, :, 3],
        np.take_along_axis(categories, category, axis=1) / total,
        np.take_along_axis(_category_age(inputs, companions), category, axis=1),
        companions.in_category[items],
        category > 0,
        np.take_along_axis(brands, companions.brand[items].astype(np.int64), axis=1) / total,
        companions.log_price[items] - _usual_price(own, weight, companions),
        _local_share(items, store, companions.stores),
        _local_share(items, channel, companions.channels),
        *_habits(items, inputs),
        *_events(items, inputs),
    )
    features = np.stack(columns, axis=2, dtype=np.float32)
    for part in PARTS if len(parts) < len(PARTS) else ():
        if part not in parts:
            features[:, :, [FEATURES.index(name) for name in _OF_PART[part]]] = 0.0
    return Pool(items, features)


def beside_network(trees: Trees) -> Trees:
    """Trees that order by themselves, in the form that is added to the network's score."""
    return lambda features: trees(features) - features[:, _SCORE]


def tree_scores(pool: Pool, trees: Trees) -> FloatArray:
    """The network's score of each candidate plus what the trees add (n, C); minus infinity where there is none."""
    real = pool.items > 0
    found = np.full(pool.items.shape, -np.inf)
    if real.any():
        found[real] = pool.features[:, :, _SCORE][real] + trees(pool.features[real])
    return found


def rerank(
    scores: Floats32, inputs: Inputs, companions: Companions, trees: Trees, parts: Collection[str] = PARTS
) -> tuple[Floats32, Pool]:
    """`scores` (n, V + 1) with the candidates above everything else, in the order of network and trees together.

    Products that scored minus infinity still do. Also answers the candidates, which reasons are given from.
    """
    pool = candidate_pool(scores, inputs, companions, parts)
    real = pool.items > 0
    found = tree_scores(pool, trees)
    top = _finite_max(scores)
    lowest = np.where(real, found, np.inf).min(axis=1, keepdims=True, initial=np.inf)
    ranked = scores.copy()
    rows = np.broadcast_to(np.arange(len(scores))[:, None], pool.items.shape)
    ranked[rows[real], pool.items[real]] = (top + 1.0 + found - lowest)[real]
    return ranked, pool


def strongest_tie(inputs: Inputs, neighbours: Neighbours, half_life_days: float, item: int) -> int:
    """The product of one customer's (n = 1) latest events that points most strongly to `item`; 0 where none does."""
    latest, weight = _latest(inputs, half_life_days)
    tied = (neighbours.item[latest[0]] == item) * neighbours.weight[latest[0]]  # (S, R)
    strength = tied.sum(axis=1) * weight[0] * (latest[0] != item)
    best = int(strength.argmax())
    return int(latest[0, best]) if strength[best] > 0 else 0


def _latest(inputs: Inputs, half_life_days: float) -> tuple[IntArray, Floats32]:
    """Products of the newest events (n, S), and how much each still counts."""
    item = inputs["item"][:, -_N_LATEST:].astype(np.int64)
    weight = np.exp2(-inputs["age_days"][:, -_N_LATEST:] / half_life_days) * (item > 0)
    return item, weight.astype(np.float32)


def ties(inputs: Inputs, neighbours: Neighbours, half_life_days: float, shape: tuple[int, ...]) -> Floats32:
    """How strongly the latest events, fading with their age, point to every product (n, V + 1)."""
    item, weight = _latest(inputs, half_life_days)
    add = neighbours.weight[item] * weight[:, :, None]  # (n, S, R)
    at = neighbours.item[item].astype(np.int64) + np.arange(len(item))[:, None, None] * shape[1]
    found: Floats32 = np.bincount(at.ravel(), add.ravel(), shape[0] * shape[1]).astype(np.float32).reshape(shape)
    found[:, 0] = 0.0
    return found


def _per_group(group: NDArray[np.int32], own: IntArray, weight: Floats32, n_groups: int) -> Floats32:
    """The weight of a customer's habits in every group (n, n_groups); group 0 is none."""
    at = group[own] + np.arange(len(own))[:, None] * n_groups
    found = np.bincount(at.ravel(), weight.ravel(), len(own) * n_groups).reshape(len(own), n_groups)
    found[:, 0] = 0.0
    return found.astype(np.float32)


def _category_age(inputs: Inputs, companions: Companions) -> Floats32:
    """Days since the customer last bought in each category (n, K + 1)."""
    own = inputs["habit_item"].astype(np.int64)
    n, n_groups = len(own), len(companions.category_best)
    found = np.full(n * n_groups, np.inf, np.float32)
    at = companions.category[own] + np.arange(n)[:, None] * n_groups
    np.minimum.at(found, at.ravel(), np.where(own > 0, inputs["habit_age_days"], np.inf).ravel())
    return np.where(np.isfinite(found), found, _MISSING).reshape(n, n_groups)


def _usual_price(own: IntArray, weight: Floats32, companions: Companions) -> Floats32:
    """The mean log price (n, 1) of what a customer habitually buys, by weight; 0 where nothing is known."""
    price = companions.log_price[own]
    weight = weight * (np.isfinite(price) & (own > 0))
    total = np.maximum(weight.sum(axis=1, keepdims=True), 1e-6)
    found: Floats32 = (np.nan_to_num(price) * weight).sum(axis=1, keepdims=True) / total
    return found


def _local_share(items: IntArray, place: IntArray, favourites: Favourites) -> Floats32:
    """Each candidate's share (n, C) of the purchases at the customer's place, 0 where it is not among its best."""
    found = np.zeros(items.shape, np.float32)
    for one in np.unique(place):
        listed = favourites.item[one]
        order = np.argsort(listed, kind="stable")
        rows = place == one
        at = np.minimum(np.searchsorted(listed[order], items[rows]), len(listed) - 1)
        hit = (listed[order][at] == items[rows]) & (items[rows] > 0)
        found[rows] = np.where(hit, favourites.share[one][order][at], 0.0)
    return found


def _habits(items: IntArray, inputs: Inputs) -> tuple[NDArray[Any], ...]:
    own = inputs["habit_item"]
    total = np.maximum(inputs["habit_weight"].sum(axis=1, keepdims=True), 1e-6)
    n_habits = (own > 0).sum(axis=1, keepdims=True)
    once_lately = (own > 0) & (inputs["habit_count"] == 1) & (inputs["habit_age_days"] < _NEW_HABIT_DAYS)
    order = np.argsort(own, axis=1, kind="stable")
    width = int(max(own.max(initial=0), items.max(initial=0))) + 1
    base = np.arange(len(own))[:, None] * width
    keys = np.take_along_axis(own, order, axis=1) + base
    wanted = items + base
    place = np.minimum(np.searchsorted(keys.ravel(), wanted), keys.size - 1)
    known = (keys.ravel()[place] == wanted) & (items > 0)
    at = np.where(known, order.ravel()[place], 0)
    weight, age, gap, count = (
        np.where(known, np.take_along_axis(inputs[f"habit_{name}"], at, axis=1), missing)
        for name, missing in (("weight", 0.0), ("age_days", _MISSING), ("gap_days", _MISSING), ("count", 0.0))
    )
    overdue = np.where(gap > 0, age / np.maximum(gap, 1e-3), _MISSING)
    of_customer = (n_habits, once_lately.sum(axis=1, keepdims=True) / np.maximum(n_habits, 1))
    wide = (np.broadcast_to(column, items.shape) for column in of_customer)
    return weight, weight / total, age, gap, overdue, count, *wide


def _events(items: IntArray, inputs: Inputs) -> tuple[NDArray[Any], ...]:
    event = inputs["item"][:, -_N_LATEST:]
    age, kind = inputs["age_days"][:, -_N_LATEST:], inputs["kind"][:, -_N_LATEST:]
    same = (items[:, :, None] == event[:, None, :]) & (items > 0)[:, :, None]  # (n, C, S)
    newest = same.shape[2] - 1 - same[:, :, ::-1].argmax(axis=2)
    seen = same.any(axis=2)
    days = np.where(seen, np.take_along_axis(age, newest, axis=1), _MISSING)
    carted = seen & (np.take_along_axis(kind, newest, axis=1) == _CARTED)
    history = np.broadcast_to(inputs["age_days"].max(axis=1, keepdims=True), items.shape)
    return days, carted, history


def _best(scores: Floats32, k: int) -> IntArray:
    """The k best rows (n, k), the smaller ones among equals; never row 0, and 0 where nothing scores above the lowest."""
    found = top_k(scores, k, first=1) + 1
    return np.where(np.take_along_axis(scores, found, axis=1) != 0, found, 0)


def _largest(weights: Floats32, k: int) -> IntArray:
    """The k heaviest groups (n, k), 0 where there are fewer."""
    k = min(k, weights.shape[1])
    found = np.argsort(-weights, axis=1, kind="stable")[:, :k]
    return np.where(np.take_along_axis(weights, found, axis=1) > 0, found, 0)


def _finite_max(values: NDArray[np.floating]) -> NDArray[np.floating]:
    """The largest finite value of each row (n, 1); 0 where there is none."""
    top = values.max(axis=1, keepdims=True, initial=-np.inf)
    if not (top < np.inf).all():
        top = np.where(np.isfinite(values), values, -np.inf).max(axis=1, keepdims=True)
    return np.where(np.isfinite(top), top, 0.0)


def _once(items: IntArray) -> IntArray:
    items = np.sort(items, axis=1)
    repeated = np.zeros(items.shape, np.bool_)
    repeated[:, 1:] = items[:, 1:] == items[:, :-1]
    return np.where(repeated, 0, items)


def _places(value: Floats32) -> Floats32:
    order = np.argsort(-value, axis=1, kind="stable")
    place = np.empty_like(order)
    np.put_along_axis(place, order, np.arange(value.shape[1])[None], axis=1)
    return (1.0 / (1.0 + place)).astype(np.float32)
