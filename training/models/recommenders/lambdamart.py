"""Candidate tables and what was really taken in, an order of the candidates out: LambdaMART (Burges 2010) by LightGBM."""

from collections.abc import Sequence
from dataclasses import dataclass

import lightgbm
import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from features.arrays import Float32Array, FloatArray, IntArray
from training.evaluation.ranking import Targets
from training.models.recommenders.candidates import Candidates


class RankerConfig(BaseModel):
    """The boosted trees that order the candidates."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    n_candidates: int = Field(40, ge=1)
    """Best items that each part puts forward."""
    max_customers: int = Field(12_000, ge=1)
    """Most customers that are learned from; more are drawn at random."""
    learning_rate: float = Field(0.05, gt=0)
    """Shrinkage of each tree."""
    num_leaves: int = Field(15, ge=2)
    """Leaves of a tree."""
    min_data_in_leaf: int = Field(50, ge=1)
    """Fewest candidates in a leaf."""
    lambda_l2: float = Field(5.0, ge=0)
    """L2 pull on leaf values."""
    feature_fraction: float = Field(0.7, gt=0, le=1)
    """Share of the features that a tree looks at."""
    max_rounds: int = Field(300, ge=1)
    """Most trees."""
    patience: int = Field(30, ge=1)
    """Trees without a better validation value before the fit stops."""
    n_threads: int = Field(1, ge=1)
    """Threads of LightGBM."""


@dataclass(frozen=True)
class Ranker:
    """Fitted trees; `names` are the features that they read, in order."""

    booster: lightgbm.Booster
    names: tuple[str, ...]

    def scores(self, candidates: Candidates) -> FloatArray:
        """One score per candidate (n, C); higher comes first."""
        n, width, n_features = candidates.features.shape
        real = candidates.items.ravel() > 0
        found = np.full(n * width, -np.inf)
        if real.any():
            found[real] = self.booster.predict(candidates.features.reshape(-1, n_features)[real])
        return found.reshape(n, width)

    def importance(self) -> dict[str, float]:
        """Each feature's share of the gain."""
        gain = self.booster.feature_importance("gain")
        return dict(zip(self.names, (gain / max(gain.sum(), 1e-12)).round(4).tolist(), strict=True))


def fit_ranker(
    train: tuple[Candidates, Targets],
    valid: tuple[Candidates, Targets],
    config: RankerConfig,
    seed: int,
) -> Ranker | None:
    """Fit on customers with a target among their candidates; None where nobody has one. Stops on `valid`'s NDCG@10."""
    learned, checked = _grouped(*train), _grouped(*valid)
    if not len(learned.sizes) or not len(checked.sizes):
        return None
    return Ranker(lambdarank(learned, checked, train[0].names, config, seed), train[0].names)


@dataclass(frozen=True)
class Grouped:
    """Candidates (M, F) with labels (M,), customer after customer; `sizes` says how many each customer has."""

    features: Float32Array
    labels: Float32Array
    sizes: IntArray


def lambdarank(
    learned: Grouped,
    checked: Grouped | None,
    names: Sequence[str],
    config: RankerConfig,
    seed: int,
    start: Float32Array | None = None,
) -> lightgbm.Booster:
    """The trees; they stop on `checked` where there is one, and are added to `start` (M,) where that is given."""
    params = {
        "objective": "lambdarank",
        "metric": "ndcg",
        "eval_at": [10],
        "lambdarank_truncation_level": 20,
        "learning_rate": config.learning_rate,
        "num_leaves": config.num_leaves,
        "min_data_in_leaf": config.min_data_in_leaf,
        "lambda_l2": config.lambda_l2,
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
    if checked is None:
        return lightgbm.train(params, data, config.max_rounds)
    against = lightgbm.Dataset(checked.features, checked.labels, group=checked.sizes, reference=data, params=quiet)
    stop = lightgbm.early_stopping(config.patience, verbose=False)
    return lightgbm.train(params, data, config.max_rounds, valid_sets=[against], callbacks=[stop])


def sample(n: int, at_most: int, seed: int) -> IntArray:
    """Row numbers of at most so many of n customers, in order."""
    if n <= at_most:
        return np.arange(n)
    return np.sort(np.random.default_rng(seed).choice(n, at_most, replace=False))


def _grouped(candidates: Candidates, targets: Targets) -> Grouped:
    """Those customers who have a target among their candidates."""
    labels = candidates.labels(targets)
    rows = np.flatnonzero(labels.any(axis=1))
    real = candidates.items[rows] > 0
    return Grouped(candidates.features[rows][real], labels[rows][real].astype(np.float32), real.sum(axis=1))
