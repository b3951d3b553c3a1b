"""One customer's scores and inputs in, their candidates with the features of each out: `rerank.readable_pool` in one pass.

NumPy makes thirty arrays as wide as the range for a customer who needs a few hundred of their entries. Here a product is looked
at where a part of the customer's state points to it.
"""

import threading
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from features.arrays import IntArray
from features.scoring.item_tables import Companions, Floats32
from features.scoring.ranking.top_k import STRIDE, any_above, take
from features.state.jit import in_place, inlined, inlined_floats

_F: Any = np.float32
_MISSING: Final = _F(-1.0)
_LEAST: Final = _F(1e-6)
_LEAST_GAP: Final = _F(1e-3)
_INTS: Final = ("item", "kind", "habit_item")
_FLOATS: Final = ("age_days", "habit_weight", "habit_age_days", "habit_gap_days", "habit_count")


class Sizes(NamedTuple):
    """How many candidates each source puts forward, and the bounds of two features."""

    network: int
    new: int
    neighbours: int
    local: int
    categories: int
    seen: int
    latest: int
    """Events that point to what follows them and goes with them."""
    carted: int
    """The code of putting a product into the cart."""
    new_habit_days: float


class _Scratch(threading.local):
    """A thread's arrays over all products, groups and brands, which every pass leaves as it found them: zero."""

    def __init__(self) -> None:
        self._sizes: tuple[int, ...] = ()
        self._arrays: tuple[NDArray[Any], ...] = ()

    def of(self, companions: Companions) -> tuple[NDArray[Any], ...]:
        n_rows, n_groups = len(companions.category), len(companions.category_best)
        sizes = (n_rows, n_groups, companions.n_brands)
        if sizes != self._sizes:
            self._arrays = (
                np.zeros((n_rows, 2)),  # how strongly the events point to each product
                np.zeros((n_rows, 2), np.int32),  # its place among the candidates and among the habits, from 1
                np.zeros((n_groups, 2)),  # the habits' weight in a category, and the days since the last purchase
                np.zeros(companions.n_brands),
            )
            self._sizes = sizes
        return self._arrays


_SCRATCH: Final = _Scratch()


def candidates(
    scores: Floats32, inputs: Mapping[str, NDArray[Any]], companions: Companions, sizes: Sizes, n_features: int
) -> tuple[IntArray, Floats32]:
    """Item rows (n, C) in ascending order, 0 after the last, and their features (n, C, F)."""
    n, n_rows = scores.shape
    if n_rows != len(companions.category):
        raise ValueError(f"there are scores of {n_rows} rows and companions of {len(companions.category)}")
    n_lists = sizes.network + sizes.new + 2 * sizes.neighbours + 2 * sizes.local + sizes.seen
    width = n_lists + len(companions.popular) + sizes.categories * companions.category_best.shape[1]
    items, features = np.zeros((n, width), np.int64), np.zeros((n, width, n_features), np.float32)
    ints = (np.ascontiguousarray(inputs[name], np.int64) for name in _INTS)
    fading = -np.asarray(inputs["age_days"][:, -sizes.latest :], np.float32)
    left = np.exp2(fading / companions.half_life_days.astype(np.float32)[:, None, None])
    floats = (np.ascontiguousarray(inputs[name], np.float32) for name in _FLOATS)
    stores, channels = companions.stores, companions.channels
    best = np.empty((4, max(sizes.network, sizes.new, sizes.neighbours)), np.float32)
    found = np.empty(n, np.int64)
    _fill(
        sizes,
        np.ascontiguousarray(scores),
        (*ints, *floats, left),
        (
            *(companions.popularity, companions.category, companions.brand, companions.log_price),
            *(companions.in_category, companions.category_best, companions.popular),
        ),
        (companions.rules.item, companions.rules.weight, companions.pairs.item, companions.pairs.weight),
        (stores.place(inputs["store"]), stores.item, stores.share),
        (channels.place(inputs["channel"][:, -1]), channels.item, channels.share),
        _SCRATCH.of(companions),
        (np.empty(best.shape, np.int64), best, np.empty(width, np.float32)),
        items,
        features,
        found,
    )
    most = int(found.max(initial=0))
    return items[:, :most], features[:, :most]


@inlined
def _put(item: int, scores: Any, place: Any, items: Any, count: int) -> int:
    """Make a product a candidate that is allowed and is none yet; answers how many there are."""
    if item > 0 and np.isfinite(scores[item]) and place[item, 0] == 0:
        items[count] = item
        count += 1
        place[item, 0] = count
    return count


@inlined
def _put_all(listed: Any, n: int, scores: Any, place: Any, items: Any, count: int) -> int:
    for i in range(min(n, listed.shape[0])):
        count = _put(listed[i], scores, place, items, count)
    return count


@inlined
def _tie(event_item: Any, left: Any, item: Any, weight: Any, points: Any, side: int) -> None:
    """Add what the latest events point to, by what is left of each."""
    for s in range(event_item.shape[0]):
        if event_item[s] > 0:
            for r in range(item.shape[1]):
                points[item[event_item[s], r], side] += weight[event_item[s], r] * left[s]


@inlined
def _put_tied(
    event_item: Any,
    item: Any,
    points: Any,
    k: int,
    best: Any,
    value: Any,
    scores: Any,
    place: Any,
    items: Any,
    count: int,
) -> int:
    """The k products of those that the events point to most strongly; a smaller row goes first among equals."""
    n = 0
    for s in range(event_item.shape[0]):
        if event_item[s] == 0:
            continue
        for r in range(item.shape[1]):
            to = item[event_item[s], r]
            strength = _F(points[to])
            if to == 0 or strength <= 0 or not np.isfinite(scores[to]):
                continue
            if n == k and (strength < value[k - 1] or (strength == value[k - 1] and to >= best[k - 1])):
                continue
            known = False
            for i in range(n):
                known = known or best[i] == to
            if known:
                continue
            at = n if n < k else k - 1
            n = min(n + 1, k)
            while at > 0 and (strength > value[at - 1] or (strength == value[at - 1] and to < best[at - 1])):
                value[at], best[at] = value[at - 1], best[at - 1]
                at -= 1
            value[at], best[at] = strength, to
    return _put_all(best, n, scores, place, items, count)


@inlined
def _share(listed: Any, share: Any, place: Any, features: Any, column: int) -> None:
    """The share of each candidate that is listed; where one is listed twice, the first counts."""
    for i in range(listed.shape[0] - 1, -1, -1):
        at = place[listed[i], 0]
        if listed[i] > 0 and at > 0:
            features[at - 1, column] = share[i]


@inlined_floats
def _sum(values: Any) -> Any:
    """The sum of up to 128 numbers in the order that NumPy adds them in: equal to the last bit."""
    n = values.shape[0]
    whole = n - n % 8
    total = _F(0.0)
    if whole:
        a, b, c, d, e, f, g, h = values[0], values[1], values[2], values[3], values[4], values[5], values[6], values[7]
        for i in range(8, whole, 8):
            a, b, c, d = a + values[i], b + values[i + 1], c + values[i + 2], d + values[i + 3]
            e, f, g, h = e + values[i + 4], f + values[i + 5], g + values[i + 6], h + values[i + 7]
        total = ((a + b) + (c + d)) + ((e + f) + (g + h))
    for i in range(whole, n):
        total += values[i]
    return total


@inlined
def _sort(items: Any) -> None:
    """In place, by Shell's method: for some hundred numbers."""
    for gap in (132, 57, 23, 10, 4, 1):
        for i in range(gap, items.shape[0]):
            item, at = items[i], i
            while at >= gap and items[at - gap] > item:
                items[at] = items[at - gap]
                at -= gap
            items[at] = item


@inlined
def _n_before(score: Any, item: int, values: Any, items: Any) -> int:
    """How many candidates score more, or as much with a smaller row."""
    more, equal = 0, 0
    for i in range(values.shape[0]):
        more += values[i] > score
        equal += values[i] == score
    if equal > 1:
        for i in range(values.shape[0]):
            more += values[i] == score and items[i] < item
    return more


@in_place
def _fill(
    sizes: Any,
    all_scores: Any,
    inputs: Any,
    products: Any,
    tied: Any,
    stores: Any,
    channels: Any,
    scratch: Any,
    lists: Any,
    all_items: Any,
    all_features: Any,
    found: Any,
) -> None:
    event_items, event_kinds, habit_items, ages, habit_weights, habit_ages, habit_gaps, habit_counts, left = inputs
    popularity, category, brand, log_price, in_category, category_best, popular = products
    rule_item, rule_weight, pair_item, pair_weight = tied
    points, place, groups, brands = scratch
    best, value, kept = lists
    n_rows = all_scores.shape[1]
    for row in range(all_scores.shape[0]):
        scores, items, features = all_scores[row], all_items[row], all_features[row]
        event_item = event_items[row, max(0, event_items.shape[1] - sizes.latest) :]
        age_days = ages[row, max(0, event_items.shape[1] - sizes.latest) :]
        kinds = event_kinds[row, max(0, event_items.shape[1] - sizes.latest) :]
        habit_item, habit_weight = habit_items[row], habit_weights[row]
        # What the customer's habits say of products, categories and brands.
        total = max(_sum(habit_weight), _LEAST)
        n_habits, n_new, width = 0, 0, habit_item.shape[0]
        for group in range(groups.shape[0]):
            groups[group, 1] = np.inf
        for h in range(width):
            own = habit_item[h]
            groups[category[own], 0] += habit_weight[h]
            brands[brand[own]] += habit_weight[h]
            kept[h] = habit_weight[h] if own > 0 and np.isfinite(log_price[own]) else _F(0.0)
            if own > 0:
                n_habits += 1
                if habit_counts[row, h] == 1 and habit_ages[row, h] < sizes.new_habit_days:
                    n_new += 1
                groups[category[own], 1] = min(groups[category[own], 1], habit_ages[row, h])
        groups[0, 0] = 0.0
        brands[0] = 0.0
        priced = max(_sum(kept[:width]), _LEAST)
        for h in range(width - 1, -1, -1):
            own = habit_item[h]
            kept[h] = log_price[own] * kept[h] if kept[h] != 0 else _F(0.0)
            if own > 0:
                place[own, 1] = h + 1
        usual_price = _sum(kept[:width]) / priced
        # Candidates: of the scores, with and without what the customer has; of the ties; of what sells.
        best[:] = 0
        value[:] = -np.inf
        last, last_new = sizes.network - 1, sizes.new - 1
        for start in range(1, n_rows, STRIDE):
            end = min(start + STRIDE, n_rows)
            if not any_above(scores[start:end], min(value[0, last], value[1, last_new])):
                continue
            for item in range(start, end):
                score = scores[item]
                if score > value[0, last] and score < np.inf:
                    take(score, item, best[0, : sizes.network], value[0, : sizes.network])
                if score > value[1, last_new] and score < np.inf and place[item, 1] == 0:
                    take(score, item, best[1, : sizes.new], value[1, : sizes.new])
        top_new = value[1, 0] if np.isfinite(value[1, 0]) else _F(0.0)
        count = 0
        for source in range(2):
            for i in range(sizes.network if source == 0 else sizes.new):
                if value[source, i] != 0:
                    count = _put(best[source, i], scores, place, items, count)
        _tie(event_item, left[0, row], rule_item, rule_weight, points, 0)
        _tie(event_item, left[1, row], pair_item, pair_weight, points, 1)
        k = min(sizes.neighbours, n_rows - 1)
        count = _put_tied(event_item, rule_item, points[:, 0], k, best[2], value[2], scores, place, items, count)
        count = _put_tied(event_item, pair_item, points[:, 1], k, best[3], value[3], scores, place, items, count)
        count = _put_all(popular, popular.shape[0], scores, place, items, count)
        for _ in range(min(sizes.categories, groups.shape[0])):
            group = 0
            for one in range(1, groups.shape[0]):
                if _F(groups[one, 0]) > _F(groups[group, 0]):
                    group = one
            count = _put_all(category_best[group], category_best.shape[1], scores, place, items, count)
            groups[group, 0] = -groups[group, 0]  # told; its weight is wanted again below
        store, channel = stores[0][row], channels[0][row]
        count = _put_all(stores[1][store], sizes.local, scores, place, items, count)
        count = _put_all(channels[1][channel], sizes.local, scores, place, items, count)
        seen = event_items[row, max(0, event_items.shape[1] - sizes.seen) :]
        count = _put_all(seen, sizes.seen, scores, place, items, count)
        found[row] = count
        _sort(items[:count])
        for c in range(count):
            place[items[c], 0] = c + 1
        # Features.
        history = _F(-np.inf)
        for s in range(ages.shape[1]):
            history = max(history, ages[row, s])
        top = _F(-np.inf)
        for c in range(count):
            top = max(top, scores[items[c]])
        for c in range(count):
            kept[c] = scores[items[c]]
        n_days = popularity.shape[1]
        for c in range(count):
            item = items[c]
            score = kept[c]
            before = _n_before(score, item, kept[:count], items)
            features[c, 0] = score - top
            features[c, 1] = score - top_new
            features[c, 2] = 1.0 / (1.0 + before)
            features[c, 3] = points[item, 0]
            features[c, 4] = points[item, 1]
            at = 5 + n_days
            for d in range(n_days):
                features[c, 5 + d] = popularity[item, d]
            features[c, at] = popularity[item, 1] - popularity[item, 3]
            group = category[item]
            features[c, at + 1] = _F(abs(groups[group, 0])) / total
            features[c, at + 2] = groups[group, 1] if groups[group, 1] < np.inf else _MISSING
            features[c, at + 3] = in_category[item]
            features[c, at + 4] = group > 0
            features[c, at + 5] = _F(brands[brand[item]]) / total
            features[c, at + 6] = log_price[item] - usual_price
            # at + 7, at + 8: shares, below
            h = place[item, 1] - 1
            features[c, at + 9] = habit_weight[h] if h >= 0 else _F(0.0)
            features[c, at + 10] = habit_weight[h] / total if h >= 0 else _F(0.0)
            features[c, at + 11] = habit_ages[row, h] if h >= 0 else _MISSING
            gap = habit_gaps[row, h] if h >= 0 else _MISSING
            features[c, at + 12] = gap
            features[c, at + 13] = features[c, at + 11] / max(gap, _LEAST_GAP) if gap > 0 else _MISSING
            features[c, at + 14] = habit_counts[row, h] if h >= 0 else _F(0.0)
            features[c, at + 15] = n_habits
            features[c, at + 16] = n_new / max(n_habits, 1)
            features[c, at + 17] = _MISSING
            features[c, at + 19] = history
        _share(stores[1][store], stores[2][store], place, features, 5 + n_days + 7)
        _share(channels[1][channel], channels[2][channel], place, features, 5 + n_days + 8)
        at = 5 + n_days
        for s in range(event_item.shape[0]):
            c = place[event_item[s], 0] - 1
            if event_item[s] > 0 and c >= 0:
                features[c, at + 17] = age_days[s]
                features[c, at + 18] = kinds[s] == sizes.carted
        # Everything as it was found.
        for c in range(count):
            place[items[c], 0] = 0
        for h in range(habit_item.shape[0]):
            own = habit_item[h]
            place[own, 1] = 0
            groups[category[own], 0] = 0.0
            brands[brand[own]] = 0.0
        for s in range(event_item.shape[0]):
            if event_item[s] > 0:
                for r in range(rule_item.shape[1]):
                    points[rule_item[event_item[s], r], 0] = 0.0
                for r in range(pair_item.shape[1]):
                    points[pair_item[event_item[s], r], 1] = 0.0
