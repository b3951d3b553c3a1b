"""A method's settings, one list of values per key, in; the best on validation targets out, one key at a time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from features.arrays import IntArray
from training.data.interactions import Interactions, Recommender
from training.evaluation.ranking import Targets, ranking_values
from training.models.recommenders.baselines import ASKED, METHODS, recommend

Axes = Mapping[str, Sequence[Any]]


@dataclass(frozen=True)
class Tuned:
    """The settings of a method, their value on the validation targets, and the method fitted with them."""

    settings: dict[str, Any]
    value: float
    model: Recommender


def search(
    method: str, axes: Axes, data: Interactions, now: float, customers: IntArray, targets: Targets, metric: str
) -> Tuned:
    """Begin with the first value of every key, then try the others of one key after the other and keep what is better.

    At most as many fits as there are values, where a full grid would need their product.
    """
    k = int(metric.split("@")[1])
    asked = ASKED.get(method, frozenset())

    def value(model: Recommender) -> float:
        top = recommend(model, customers, k)
        return float(np.nanmean(ranking_values(top, targets, (k,))[metric]))

    best = {key: values[0] for key, values in axes.items()}
    model = METHODS[method](data, now, **best)
    reached = value(model)
    for key, values in axes.items():
        for other in values[1:]:
            tried = {**best, key: other}
            rival = model.about(data, now, **{key: other}) if key in asked else METHODS[method](data, now, **tried)
            if (found := value(rival)) > reached:
                best, reached, model = tried, found, rival
    return Tuned(best, reached, model)
