"""Purchases and customers of two moments in, what each simple method ranks for the later one out, tuned on the earlier one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from features.arrays import IntArray
from training.data.interactions import Interactions, decayed_profile
from training.evaluation.ranking import Targets
from training.models.next_product.data import Examples
from training.models.recommenders.baselines import METHODS, recommend
from training.models.recommenders.search import search


@dataclass(frozen=True)
class Rankings:
    """Ranked catalogue rows (n, K) by method: of the whole range, and of what each customer never bought before."""

    all: Mapping[str, IntArray]
    new: Mapping[str, IntArray]
    settings: Mapping[str, dict[str, Any]]


def rank_baselines(
    lines: Interactions,
    valid: tuple[Examples, float],
    test: tuple[Examples, float],
    axes: Mapping[str, Mapping[str, Sequence[Any]]],
    n_tuning: int,
    metric: str,
    k: int,
    seed: int,
) -> Rankings:
    """Each method of `axes` tuned on validation customers, fitted again up to the test cutoff, asked for the `k` best.

    `valid` and `test` are customers with the cutoff (seconds) that they are asked at.
    """
    customers, targets = _tuning_part(valid[0], n_tuning, seed)
    past, latest = lines.before(valid[1]), lines.before(test[1])
    asked = test[0].customers
    bought = decayed_profile(latest, 0.0, np.inf)
    everything: dict[str, IntArray] = {}
    new: dict[str, IntArray] = {}
    chosen: dict[str, dict[str, Any]] = {}
    for name, of in axes.items():
        chosen[name] = search(name, of, past, valid[1], customers, targets, metric).settings
        fitted = METHODS[name](latest, test[1], **chosen[name])
        everything[name] = recommend(fitted, asked, k)
        new[name] = recommend(fitted, asked, k, without=bought)
    return Rankings(everything, new, chosen)


def _tuning_part(valid: Examples, n_tuning: int, seed: int) -> tuple[IntArray, Targets]:
    """A sample of the validation customers, and their targets."""
    rng = np.random.default_rng(seed)
    part = valid.take(np.sort(rng.choice(len(valid), min(n_tuning, len(valid)), replace=False)))
    return part.customers, part.targets
