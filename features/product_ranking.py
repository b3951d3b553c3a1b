"""A network's scores of all products and its inputs in, the same scores with the best places set by a ranker out.

The network, the rules "what follows what", and recent popularity each put candidates forward; boosted trees order them by
what speaks for each. Training and serving both go through this module, so they cannot disagree.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from features.vocabulary import KIND_CODES, EventKind

Rows = NDArray[np.int64]
Floats32 = NDArray[np.float32]

FEATURES: Final = (
    "score",
    "place",
    "rules",
    "log_popularity",
    "habit_weight",
    "habit_share",
    "habit_age_days",
    "habit_gap_days",
    "habit_overdue",
    "habit_count",
    "n_habits",
    "last_event_days",
    "in_cart",
    "history_days",
)
"""What the ranker reads of a candidate, in order."""
COMPANIONS_FILE: Final = "companions.npz"
RANKER_FILE: Final = "ranker.txt"
N_NETWORK: Final = 64
N_RULES: Final = 24
N_POPULAR: Final = 24
_MISSING: Final = -1.0
_N_LATEST: Final = 64
_RULE_HALF_LIFE_DAYS: Final = 21.0
_CARTED: Final = KIND_CODES[EventKind.ADD_TO_CART]


Trees = Callable[[Floats32], Any]
"""Features of candidates (M, F) to one score each (M,): a booster's `predict` on one thread."""


@dataclass(frozen=True)
class Companions:
    """What ranks beside the network, by the network's rows (0 is padding): recent popularity and each product's rules."""

    log_popularity: Floats32  # (V + 1,)
    rule_item: NDArray[np.int32]  # (V + 1, R) what follows a product, 0 where there is less
    rule_weight: Floats32  # (V + 1, R)

    @cached_property
    def popular(self) -> Rows:
        """The most popular rows, best first."""
        rows: Rows = np.argsort(-self.log_popularity[1:], kind="stable")[:N_POPULAR] + 1
        return rows

    def save(self, path: Path) -> None:
        """Write all arrays to one file."""
        np.savez_compressed(
            path,
            log_popularity=self.log_popularity,
            rule_item=self.rule_item,
            rule_weight=self.rule_weight,
        )

    @classmethod
    def load(cls, path: Path) -> "Companions":
        """Read what `save` wrote."""
        with np.load(path, allow_pickle=False) as arrays:
            return cls(arrays["log_popularity"], arrays["rule_item"], arrays["rule_weight"])


@dataclass(frozen=True)
class Pool:
    """Candidates of n customers: item rows (n, C), 0 where one came up twice, and their FEATURES (n, C, F)."""

    items: Rows
    features: Floats32


def candidate_pool(scores: Floats32, inputs: Mapping[str, NDArray[Any]], companions: Companions) -> Pool:
    """The candidates for the network's scores (n, V + 1) and the inputs (n, 128) that it scored, with their features."""
    rules = _rule_scores(inputs, companions, scores.shape)
    popular = np.broadcast_to(companions.popular, (len(scores), len(companions.popular)))
    items = _once(np.concatenate((_best(scores, N_NETWORK), _best(rules, N_RULES), popular), axis=1))
    value = np.take_along_axis(scores, items, axis=1)
    value = np.where(items > 0, value, -np.inf)
    columns = (
        value - value.max(axis=1, keepdims=True),
        _places(value),
        np.take_along_axis(rules, items, axis=1),
        companions.log_popularity[items],
        *_habits(items, inputs),
        *_events(items, inputs),
    )
    return Pool(items, np.stack(columns, axis=2).astype(np.float32))


def tree_scores(pool: Pool, trees: Trees) -> NDArray[np.float64]:
    """The network's score of each candidate plus what the trees add (n, C); minus infinity where there is none."""
    real = pool.items > 0
    found = np.full(pool.items.shape, -np.inf)
    found[real] = pool.features[:, :, FEATURES.index("score")][real] + trees(pool.features[real])
    return found


def rerank(scores: Floats32, inputs: Mapping[str, NDArray[Any]], companions: Companions, trees: Trees) -> Floats32:
    """`scores` (n, V + 1) with the candidates above everything else, in the order of the network and the trees together."""
    pool = candidate_pool(scores, inputs, companions)
    real = pool.items > 0
    found = tree_scores(pool, trees)
    top = np.where(np.isfinite(scores), scores, -np.inf).max(axis=1, keepdims=True)
    lowest = np.where(real, found, np.inf).min(axis=1, keepdims=True)
    ranked = scores.copy()
    rows = np.broadcast_to(np.arange(len(scores))[:, None], pool.items.shape)
    ranked[rows[real], pool.items[real]] = (top + 1.0 + found - lowest)[real]
    return ranked


def _rule_scores(inputs: Mapping[str, NDArray[Any]], companions: Companions, shape: tuple[int, ...]) -> Floats32:
    item = inputs["item"][:, -_N_LATEST:]
    weight = np.exp2(-inputs["age_days"][:, -_N_LATEST:] / _RULE_HALF_LIFE_DAYS) * (item > 0)
    add = companions.rule_weight[item] * weight[:, :, None].astype(np.float32)  # (n, S, R)
    at = companions.rule_item[item].astype(np.int64) + np.arange(len(item))[:, None, None] * shape[1]
    found: Floats32 = np.bincount(at.ravel(), add.ravel(), shape[0] * shape[1]).astype(np.float32).reshape(shape)
    found[:, 0] = 0.0
    return found


def _habits(items: Rows, inputs: Mapping[str, NDArray[Any]]) -> tuple[NDArray[Any], ...]:
    own = inputs["habit_item"]
    total = np.maximum(inputs["habit_weight"].sum(axis=1, keepdims=True), 1e-6)
    n_habits = np.broadcast_to((own > 0).sum(axis=1, keepdims=True), items.shape)
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
    return weight, weight / total, age, gap, overdue, count, n_habits


def _events(items: Rows, inputs: Mapping[str, NDArray[Any]]) -> tuple[NDArray[Any], ...]:
    event = inputs["item"][:, -_N_LATEST:]
    age, kind = inputs["age_days"][:, -_N_LATEST:], inputs["kind"][:, -_N_LATEST:]
    same = (items[:, :, None] == event[:, None, :]) & (items > 0)[:, :, None]  # (n, C, S)
    newest = same.shape[2] - 1 - same[:, :, ::-1].argmax(axis=2)
    seen = same.any(axis=2)
    days = np.where(seen, np.take_along_axis(age, newest, axis=1), _MISSING)
    carted = seen & (np.take_along_axis(kind, newest, axis=1) == _CARTED)
    history = np.broadcast_to(inputs["age_days"].max(axis=1, keepdims=True), items.shape)
    return days, carted, history


def _best(scores: Floats32, k: int) -> Rows:
    """The k best rows (n, k), in no order; never row 0, and 0 where nothing scores above the lowest."""
    k = min(k, scores.shape[1] - 1)
    # From the front: among many equal scores, as the rules have, looking from the back takes ten times as long.
    found = np.argpartition(-scores[:, 1:], k - 1, axis=1)[:, :k] + 1
    value = np.take_along_axis(scores, found, axis=1)
    return np.where(np.isfinite(value) & (value != 0), found, 0)


def _once(items: Rows) -> Rows:
    items = np.sort(items, axis=1)
    repeated = np.zeros(items.shape, np.bool_)
    repeated[:, 1:] = items[:, 1:] == items[:, :-1]
    return np.where(repeated, 0, items)


def _places(value: Floats32) -> Floats32:
    order = np.argsort(-value, axis=1, kind="stable")
    place = np.empty_like(order)
    np.put_along_axis(place, order, np.arange(value.shape[1])[None], axis=1)
    return (1.0 / (1.0 + place)).astype(np.float32)
