"""LambdaMART (Burges 2010) by LightGBM: candidates and what was really taken in, trees that order candidates out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import lightgbm
import numpy as np
from pydantic import Field

from features.arrays import Float32Array, IntArray
from features.config import Config


class RankerConfig(Config):
    """The boosted trees that order the candidates."""

    RENAMED: ClassVar[Mapping[str, str]] = {"lambda_l2": "l2"}

    max_customers: int = Field(12_000, ge=1)
    """Most customers that are learned from; more are drawn at random."""
    from_network: bool = True
    """Start from the scores that the candidates come with and learn what to add, or order them by the trees alone."""
    learning_rate: float = Field(0.05, gt=0)
    """Shrinkage of each tree."""
    num_leaves: int = Field(15, ge=2)
    """Leaves of a tree."""
    min_data_in_leaf: int = Field(50, ge=1)
    """Fewest candidates in a leaf."""
    l2: float = Field(5.0, ge=0)
    """L2 pull on leaf values."""
    feature_fraction: float = Field(0.7, gt=0, le=1)
    """Share of the features that a tree looks at."""
    max_rounds: int = Field(150, ge=1)
    """Trees."""
    n_threads: int = Field(1, ge=1)
    """Threads of LightGBM."""


@dataclass(frozen=True)
class Grouped:
    """Candidates (M, F) with labels (M,), customer after customer; `sizes` says how many each customer has."""

    features: Float32Array
    labels: Float32Array
    sizes: IntArray


def lambdarank(
    learned: Grouped, names: Sequence[str], config: RankerConfig, seed: int, start: Float32Array | None = None
) -> lightgbm.Booster:
    """The trees, which read the features `names`; they are added to `start` (M,) where that is given."""
    params = {
        "objective": "lambdarank",
        "metric": "ndcg",
        "eval_at": [10],
        "lambdarank_truncation_level": 20,
        "learning_rate": config.learning_rate,
        "num_leaves": config.num_leaves,
        "min_data_in_leaf": config.min_data_in_leaf,
        "lambda_l2": config.l2,
        "feature_fraction": config.feature_fraction,
        "seed": seed,
        "num_threads": config.n_threads,
        "deterministic": True,
        "force_row_wise": True,
        "verbosity": -1,
    }
    quiet = {"verbosity": -1}
    data = lightgbm.Dataset(
        learned.features,
        learned.labels,
        group=learned.sizes,
        init_score=start,
        feature_name=list(names),
        params=quiet,
    )
    return lightgbm.train(params, data, config.max_rounds)


def sample(n: int, at_most: int, seed: int) -> IntArray:
    """Row numbers of at most so many of n customers, in order."""
    if n <= at_most:
        return np.arange(n)
    return np.sort(np.random.default_rng(seed).choice(n, at_most, replace=False))
