"""A method's settings, one list of values per key, in; the best on validation targets out, one key at a time."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from training.models.baselines import METHODS, recommend
from training.models.interactions import Interactions
from training.ranking_metrics import IntArray, Targets, ranking_values

Axes = Mapping[str, Sequence[Any]]


def search(
    method: str, axes: Axes, data: Interactions, now: float, customers: IntArray, targets: Targets, metric: str
) -> tuple[dict[str, Any], float]:
    """Begin with the first value of every key, then try the others of one key after the other and keep what is better.

    As many fits as there are values, where a full grid would need their product. Answers the settings and their value.
    """
    k = int(metric.split("@")[1])

    def value(settings: Mapping[str, Any]) -> float:
        top = recommend(METHODS[method](data, now, **settings), customers, k)
        return float(np.nanmean(ranking_values(top, targets, (k,))[metric]))

    best = {key: values[0] for key, values in axes.items()}
    reached = value(best) if any(len(values) > 1 for values in axes.values()) else float("nan")
    for key, values in axes.items():
        for other in values[1:]:
            tried = {**best, key: other}
            if (found := value(tried)) > reached:
                best, reached = tried, found
    return best, reached
