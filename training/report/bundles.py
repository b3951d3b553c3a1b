"""Sums per bundle of customers in, ratios of sums with their 95 % intervals out; bundles are drawn, never single rows.

A bundle holds customers by hash, so its sums are as independent as the customers' own, and the interval is theirs.
"""

from collections.abc import Mapping
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from features.evaluation.resampling import Metric, Sampled, Statistic, resample

_TAIL: Final = 0.025
Ratio = tuple[str, str]
"""Columns of the sums: what is divided by what."""


def ratio(numerator: ArrayLike, denominator: ArrayLike) -> Statistic:
    """The weighted sum of one over that of the other, both (n,); NaN where there is nothing to divide by."""
    above, below = np.asarray(numerator, dtype=np.float64), np.asarray(denominator, dtype=np.float64)

    def statistic(w: np.ndarray) -> float:
        whole = float(w @ below)
        return float(w @ above) / whole if whole else float("nan")

    return statistic


def sampled_ratios(sums: pd.DataFrame, ratios: Mapping[str, Ratio], seed: int = 0) -> dict[str, Sampled]:
    """Ratios of columns of `sums` (a row per bundle), all on the same resamples."""
    statistics = {name: ratio(sums[above], sums[below]) for name, (above, below) in ratios.items()}
    return resample(statistics, np.arange(len(sums)), seed=seed)


def share_metrics(
    rows: pd.DataFrame, key: str, bundles: list[int], part: str = "part", whole: str = "whole", seed: int = 0
) -> dict[str, Metric]:
    """The share `part` / `whole` of every key, from rows of key, bundle, part, whole.

    `bundles` are all that could have had the key: those that have not count as zeros. Where all or none did, draws tell
    nothing, and the interval is the exact binomial one (Clopper and Pearson) over the bundles that have the key.
    """
    tables = {
        name: rows.pivot_table(index="bundle", columns=key, values=name, aggfunc="sum").reindex(bundles).fillna(0.0)
        for name in (part, whole)
    }
    statistics = {str(name): ratio(tables[part][name], tables[whole][name]) for name in tables[whole].columns}
    found = resample(statistics, np.asarray(bundles), seed=seed)
    n_with = (tables[whole] > 0).sum()
    return {name: _known(sampled.metric(), int(n_with[name])) for name, sampled in found.items()}


def _known(share: Metric, n: int) -> Metric:
    bound = _TAIL ** (1 / n) if n else float("nan")
    if share.value == 1.0:
        return Metric(1.0, bound, 1.0)
    return Metric(0.0, 0.0, 1.0 - bound) if share.value == 0.0 else share
