"""Meta-learners S, T and DR: features and a decision log in, expected rewards of every arm out.

All of them predict rewards (n, arms) of which only the differences between arms matter: S (one booster, the arm is a
feature), T (a booster or a ridge per arm), and two doubly robust ones (Kennedy 2020) that regress the scores of
`off_policy.scores`, with trees or with a ridge.
"""

from collections.abc import Mapping
from typing import ClassVar, Final, Protocol

import lightgbm as lgb
import numpy as np
from pydantic import Field, field_validator
from sklearn.linear_model import RidgeCV
from sklearn.preprocessing import StandardScaler

from features.arrays import Float32Array, FloatArray
from features.config import Config
from features.evaluation.off_policy import DecisionLog
from features.scoring.effects import LinearEffects, filled
from training.models.uplift.predictors import Grown, Predict, WithArm, per_arm

MIN_RIDGE_ROWS: Final = 20
TWO_PART: Final = "two_part"


class EffectConfig(Config):
    """Size and pace of the boosters; small, because effects are far weaker than what predicts the reward itself."""

    RENAMED: ClassVar[Mapping[str, str]] = {
        "lambda_l2": "l2",
        "early_stopping_rounds": "patience",
        "arm_prior_rows": "prior_strength",
    }

    learning_rate: float = Field(0.1, gt=0, le=1)
    """Share of each tree that is added."""
    num_leaves: int = Field(6, ge=2)
    """Leaves of a tree."""
    min_leaf_share: float = Field(0.005, gt=0, lt=1)
    """Fewest rows in a leaf, as a share of all (and never fewer than 20)."""
    l2: float = Field(5.0, ge=0)
    """Shrinks leaf values."""
    feature_fraction: float = Field(0.7, gt=0, le=1)
    """Share of the features that a tree may look at."""
    max_rounds: int = Field(150, ge=1)
    """Most trees."""
    patience: int = Field(10, ge=1)
    """Trees without a gain on the rows set aside after which growing stops."""
    holdout_share: float = Field(0.2, gt=0, lt=1)
    """Rows set aside to say when to stop."""
    prior_strength: float = Field(20.0, ge=0)
    """An arm's mean is pulled towards the mean of all with the weight of this many rows."""
    learners: tuple[str, ...] = ("two_part", "dr_linear", "dr_trees", "t_linear", "t_learner", "s_learner")
    """Who competes, the steadiest first; `two_part` (see training.models.uplift.two_part) and names of LEARNERS."""
    max_arms_alone: int = Field(12, ge=1)
    """With more arms than this only `two_part` and the S-learner are tried: alone, an arm would have too few rows."""

    @field_validator("learners")
    @classmethod
    def _known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        unknown = [name for name in names if name != TWO_PART and name not in LEARNERS]
        if unknown or not names:
            raise ValueError(f"there is no learner {unknown[0]!r}" if unknown else "name at least one learner")
        return names


class EffectLearner(Protocol):
    """Fits on rows with their scores (n, arms) and answers a function from features to expected rewards."""

    def __call__(
        self, x: Float32Array, log: DecisionLog, scores: FloatArray, config: EffectConfig, seed: int
    ) -> Predict:
        """`scores` come from cross-fitted rewards; S and T do not need them."""


def reward_model(x: Float32Array, log: DecisionLog, config: EffectConfig, seed: int) -> Predict:
    """A plain, steady model for the doubly robust scores: one prognosis for all arms, moved by each arm's own mean.

    The arm's move is the inverse-chance weighted mean of what the prognosis missed, pulled towards 0.
    """
    prognosis = grow(x, log.reward, config, seed)
    missed = log.reward - prognosis(x)
    inverse = 1.0 / log.pscore
    inverse *= len(log) / inverse.sum()
    weight = np.bincount(log.action, inverse, log.n_arms)
    move = np.bincount(log.action, inverse * missed, log.n_arms) / (weight + config.prior_strength)
    return lambda rows: prognosis(rows)[:, None] + move


def s_learner(x: Float32Array, log: DecisionLog, scores: FloatArray, config: EffectConfig, seed: int) -> Predict:
    """One booster over features and the arm."""
    del scores
    with_arm = np.column_stack([x, log.action.astype(np.float32)])
    return WithArm(
        grow(with_arm, log.reward, config, seed, weight=1.0 / log.pscore, categorical=(x.shape[1],)), log.n_arms
    )


def t_learner(x: Float32Array, log: DecisionLog, scores: FloatArray, config: EffectConfig, seed: int) -> Predict:
    """A booster per arm; an arm with next to no rows gets the mean of all."""
    del scores
    models = []
    for arm in range(log.n_arms):
        mine = log.action == arm
        models.append(grow(x[mine], log.reward[mine], config, seed, weight=1.0 / log.pscore[mine], prior=log.reward))
    return per_arm(models)


def dr_trees(x: Float32Array, log: DecisionLog, scores: FloatArray, config: EffectConfig, seed: int) -> Predict:
    """A booster per arm on its score's difference to the mean score of the arms."""
    centred = scores - scores.mean(axis=1, keepdims=True)
    return per_arm([grow(x, centred[:, arm], config, seed) for arm in range(log.n_arms)])


def dr_linear(x: Float32Array, log: DecisionLog, scores: FloatArray, config: EffectConfig, seed: int) -> Predict:
    """A ridge per arm on the same differences; missing values are put to the feature's mean."""
    del seed, config
    centred = scores - scores.mean(axis=1, keepdims=True)
    fill, scaler, scaled = _standardised(x)
    model = RidgeCV(alphas=len(x) * np.logspace(-3, 2, 11)).fit(scaled, centred)
    weights = np.asarray(model.coef_, dtype=np.float64).T / scaler.scale_[:, None]
    return LinearEffects(fill, weights, np.asarray(model.intercept_ - scaler.mean_ @ weights))


def t_linear(x: Float32Array, log: DecisionLog, scores: FloatArray, config: EffectConfig, seed: int) -> Predict:
    """A ridge per arm, on the arm's own rows unweighted, for what the prognosis of all arms missed.

    Where the log's chances differ much this is steadier than doubly robust scores, which it must beat on those.
    """
    del scores
    prognosis = grow(x, log.reward, config, seed)
    missed = log.reward - prognosis(x)
    fill, scaler, scaled = _standardised(x)
    weights, shift = np.zeros((x.shape[1], log.n_arms)), np.zeros(log.n_arms)
    for arm in range(log.n_arms):
        mine = log.action == arm
        if mine.sum() < MIN_RIDGE_ROWS:
            continue
        model = RidgeCV(alphas=mine.sum() * np.logspace(-3, 2, 11)).fit(scaled[mine], missed[mine])
        weights[:, arm] = model.coef_ / scaler.scale_
        shift[arm] = model.intercept_ - scaler.mean_ @ weights[:, arm]
    return LinearEffects(fill, weights, shift)


def _standardised(x: Float32Array) -> tuple[FloatArray, StandardScaler, FloatArray]:
    """What missing values are put to (F,), the scaling, and the features scaled (n, F)."""
    known = np.isfinite(x)
    fill = np.where(known, x, 0.0).sum(axis=0, dtype=np.float64) / np.maximum(known.sum(axis=0), 1)
    full = filled(x, fill)
    scaler = StandardScaler().fit(full)
    return fill, scaler, scaler.transform(full)


LEARNERS: Final[dict[str, EffectLearner]] = {
    "dr_linear": dr_linear,
    "dr_trees": dr_trees,
    "t_linear": t_linear,
    "t_learner": t_learner,
    "s_learner": s_learner,
}
"""The candidates that are fitted alone, of which, and of the two-part model, the validation policy value chooses one."""


def candidates(n_arms: int, config: EffectConfig) -> tuple[str, ...]:
    """The learners worth trying for that many arms, the steadiest first."""
    if n_arms <= config.max_arms_alone:
        return config.learners
    return tuple(name for name in config.learners if name in (TWO_PART, "s_learner")) or ("s_learner",)


def grow(
    x: Float32Array,
    target: FloatArray,
    config: EffectConfig,
    seed: int,
    *,
    weight: FloatArray | None = None,
    categorical: tuple[int, ...] = (),
    prior: FloatArray | None = None,
) -> Grown:
    """A booster for squared error that stops where rows set aside gain nothing more; too few rows give a constant.

    The constant is the mean of `prior` (of `target` where not given).
    """
    n = len(target)
    minimum = max(20, round(config.min_leaf_share * n))
    if n < 5 * minimum or x.shape[1] == 0 or np.ptp(target) == 0:
        return Grown(None, float(np.mean(target if prior is None else prior)))
    aside = np.random.default_rng(seed).random(n) < config.holdout_share
    parameters = {
        "objective": "l2",
        "learning_rate": config.learning_rate,
        "num_leaves": config.num_leaves,
        "min_data_in_leaf": minimum,
        "lambda_l2": config.l2,
        "feature_fraction": config.feature_fraction,
        "max_bin": 63,
        "seed": seed,
        "deterministic": True,
        "force_row_wise": True,
        "num_threads": 1,
        "verbosity": -1,
    }
    given = None if weight is None else weight * (n / weight.sum())
    weights = (None, None) if given is None else (given[~aside], given[aside])
    known = lgb.Dataset(x[~aside], target[~aside], weight=weights[0], categorical_feature=list(categorical))
    check = lgb.Dataset(x[aside], target[aside], weight=weights[1], reference=known)
    booster = lgb.train(
        parameters,
        known,
        num_boost_round=config.max_rounds,
        valid_sets=[check],
        callbacks=[lgb.early_stopping(config.patience, verbose=False)],
    )
    return Grown(lgb.Booster(model_str=booster.model_to_string(num_iteration=booster.best_iteration)))
