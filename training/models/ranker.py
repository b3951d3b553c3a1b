"""Candidate tables and what was really taken in, an order of the candidates out: LambdaMART (Burges 2010) by LightGBM."""

from collections.abc import Sequence
from dataclasses import dataclass

import lightgbm
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from training.models.candidates import Candidates
from training.ranking_metrics import Targets


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


@dataclass(frozen=True)
class Ranker:
    """Fitted trees; `names` are the features that they read, in order."""

    booster: lightgbm.Booster
    names: tuple[str, ...]

    def scores(self, candidates: Candidates) -> NDArray[np.float64]:
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
    n_threads: int = 1,
) -> Ranker | None:
    """Fit on customers with a target among their candidates; None where nobody has one. Stops on `valid`'s NDCG@10."""
    learned, checked = _dataset(*train), _dataset(*valid)
    if learned is None or checked is None:
        return None
    booster = lightgbm.train(
        {
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
            "num_threads": n_threads,
            "deterministic": True,
            "force_row_wise": True,
            "verbosity": -1,
        },
        learned,
        config.max_rounds,
        valid_sets=[checked],
        callbacks=[lightgbm.early_stopping(config.patience, verbose=False)],
    )
    return Ranker(booster, train[0].names)


def sample(n: int, at_most: int, seed: int) -> NDArray[np.int64]:
    """Row numbers of at most so many of n customers, in order."""
    if n <= at_most:
        return np.arange(n)
    return np.sort(np.random.default_rng(seed).choice(n, at_most, replace=False))


def _dataset(candidates: Candidates, targets: Targets) -> lightgbm.Dataset | None:
    labels = candidates.labels(targets)
    rows = np.flatnonzero(labels.any(axis=1))
    if not len(rows):
        return None
    real = candidates.items[rows] > 0
    return lightgbm.Dataset(
        candidates.features[rows][real],
        label=labels[rows][real].astype(np.float32),
        group=real.sum(axis=1),
        feature_name=list(_safe(candidates.names)),
        params={"verbosity": -1},
        free_raw_data=True,
    )


def _safe(names: Sequence[str]) -> Sequence[str]:
    return [name.replace("-", "_") for name in names]
