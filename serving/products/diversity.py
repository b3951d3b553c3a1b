"""Scores and what is allowed in, the places of an answer out: best first, spread over categories, some for new products."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from features.arrays import IntArray
from serving.decision.policy import uniform

DEPTH: Final = 5
"""Diversity chooses among this many times the places asked for."""


@dataclass(frozen=True)
class Place:
    """One place of an answer: a product, with the probability that exactly this one was put there."""

    product_id: str
    pscore: float
    explored: bool = False


def diversify(
    columns: IntArray, scores: NDArray[np.floating[Any]], groups: Sequence[str], k: int, diversity: float
) -> list[int]:
    """The k of `columns` (best first) with the highest score minus a penalty for every earlier one of the same group.

    `diversity` 0 keeps the order; 1 takes one spread (standard deviation of these scores) per earlier product of the group.
    """
    left = list(range(len(columns)))
    if diversity <= 0:
        return [int(columns[i]) for i in left[:k]]
    penalty = diversity * float(np.std(scores[columns])) if len(columns) else 0.0
    seen: Counter[str] = Counter()
    chosen: list[int] = []
    while left and len(chosen) < k:
        # The group without a name is no group.
        best = max(
            left, key=lambda i: (float(scores[columns[i]]) - penalty * (seen[groups[i]] if groups[i] else 0), -i)
        )
        left.remove(best)
        seen[groups[best]] += 1
        chosen.append(int(columns[best]))
    return chosen


def explore(ranked: Sequence[str], new: Sequence[str], share: float, seed: str) -> list[Place]:
    """Each place of `ranked` goes with probability `share` to a product of `new`, all alike; the same for the same seed.

    A new product is shown once at most. With nothing new every place keeps its product.
    """
    pool = sorted(set(new) - set(ranked))
    places = []
    for number, product_id in enumerate(ranked):
        if not pool or share <= 0:
            places.append(Place(product_id, 1.0))
        elif uniform(f"{seed}\x1f{number}\x1fexplore") < share:
            chance = share / len(pool)
            drawn = pool.pop(int(uniform(f"{seed}\x1f{number}\x1fwhich") * len(pool)))
            places.append(Place(drawn, chance, explored=True))
        else:
            places.append(Place(product_id, 1.0 - share))
    return places
