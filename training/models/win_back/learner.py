"""Logged contacts and what customers did later in, how much likelier a contact makes each one's return out.

The effect of a contact on being there later is learned doubly robustly (Kennedy 2020): cross-fitted outcome models with
and without contact, the log's own chances of contact, and a regression on the resulting scores. Who is at risk is not
asked: many of those leave whatever is sent, and some leave because of it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import lightgbm as lgb
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field
from scipy.special import expit
from sklearn.linear_model import RidgeCV
from sklearn.preprocessing import StandardScaler

from features.arrays import BoolArray, Float32Array, FloatArray, IntArray
from features.config import Config
from features.errors import InputError
from features.scoring.win_back import LinearEffect, advice
from features.vocabulary import NOTHING
from training.evaluation.qini import rank_within


class LearnerConfig(Config):
    """What a return means and how the models are grown."""

    RENAMED: ClassVar[Mapping[str, str]] = {"n_rounds": "max_rounds"}

    wait_days: float = Field(14, ge=0)
    """What happens in this many days after a contact is its answer, not a sign of having been kept."""
    horizon_days: float = Field(28, gt=0)
    """Kept: any action of the customer's own in this many days after the wait."""
    n_folds: int = Field(3, ge=2)
    """Parts of the customers; each is scored by models that saw the others."""
    learning_rate: float = Field(0.05, gt=0, le=1)
    """Share of each tree that is added."""
    num_leaves: int = Field(6, ge=2)
    """Leaves of a tree."""
    min_data_in_leaf: int = Field(100, ge=1)
    """Fewest rows in a leaf."""
    max_rounds: int = Field(120, ge=1)
    """Trees of each outcome model."""
    min_chance: float = Field(0.02, gt=0, lt=0.5)
    """Chances of a contact are kept this far from 0 and 1."""
    min_uplift: float = Field(0.0, ge=0)
    """A contact must bring back at least this share more customers, else the answer is to leave alone."""


@dataclass(frozen=True)
class Contacts:
    """n moments at which a contact was possible: features, whether it came, its chance, whether the customer was kept.

    `chance` (n,) is the log's probability of any contact; `randomised` is False where it had to be estimated, and then
    what is learned is only as good as the features are complete.
    """

    features: Float32Array
    treated: FloatArray
    kept: FloatArray
    chance: FloatArray
    customers: NDArray[np.object_]
    randomised: bool

    def select(self, rows: BoolArray) -> "Contacts":
        """Some of the moments."""
        return Contacts(
            self.features[rows],
            self.treated[rows],
            self.kept[rows],
            self.chance[rows],
            self.customers[rows],
            self.randomised,
        )


@dataclass(frozen=True)
class Winback:
    """For each of n moments, from models that did not see the customer: effect, risk, and the score that tests both.

    `uplift` (n,) is how much likelier the customer is to be kept with a contact, `risk` (n,) the chance of being lost as
    contacts go in the log (what a churn model would say), `scores` (n,) the doubly robust estimates whose mean over any
    group is the effect in that group, `folds` (n,) the part that each was held out with. `effects` are the models, the
    k-th learned without the k-th part, and `effect` is learned from everybody.
    """

    uplift: FloatArray
    risk: FloatArray
    scores: FloatArray
    folds: IntArray
    effects: tuple[LinearEffect, ...]
    effect: LinearEffect

    def select(self, rows: BoolArray) -> "Winback":
        """Some of the moments."""
        parts = (self.uplift[rows], self.risk[rows], self.scores[rows], self.folds[rows])
        return Winback(*parts, self.effects, self.effect)

    def within_folds(self, order: FloatArray) -> FloatArray:
        """The order (n,) by places within the fold: levels differ between folds, and against the truth, since a fold that
        was held out with good luck was learned from the others without it.
        """
        return rank_within(order, self.folds)

    def advice(self, min_uplift: float) -> NDArray[np.str_]:
        """`contact` or `leave alone` for each moment (n,)."""
        return advice(self.uplift, min_uplift)


def assemble(
    features: Float32Array,
    action: NDArray[np.object_],
    reachable: pd.DataFrame,
    kept: FloatArray,
    customers: NDArray[np.object_],
    config: LearnerConfig,
    seed: int,
    *,
    pscore: FloatArray | None = None,
    chance: FloatArray | None = None,
    held_out: BoolArray | None = None,
) -> Contacts:
    """The log as `fit_winback` wants it: a contact is what was sent, so an action that could not reach the customer left
    them alone.

    `reachable` (n, arms) says whom each arm would have reached, `pscore` (n,) is the chance of what was done, `chance`
    (n,) that of any contact where the log says it (NaN elsewhere), and `held_out` (n,) marks customers who were drawn to
    get nothing, by chance and once for all. Raises InputError where too few were contacted or left alone to compare.
    """
    treated = np.asarray(sum((action == arm) & reachable[arm].to_numpy(bool) for arm in reachable.columns) + 0.0)
    if min(treated.sum(), (1 - treated).sum()) < 2 * config.min_data_in_leaf:
        raise InputError(
            f"{int(treated.sum())} contacts and {int((1 - treated).sum())} moments left alone cannot be compared.",
            repair=f"Log at least {2 * config.min_data_in_leaf} of each; action {NOTHING!r} means left alone.",
        )
    held = np.zeros(len(action), bool) if held_out is None else held_out
    known = estimated_chance(features, treated, customers, config, seed, ~held)
    if pscore is not None:
        # Of a contact the pscore is that of one arm, so only nothing's says the whole, and only where every arm would
        # have been sent.
        whole = (action == NOTHING) & reachable.all(axis=1).to_numpy(bool) & ~held
        known = np.where(whole, 1 - pscore, known)
    if chance is not None:
        known = np.where(np.isfinite(chance) & ~held, chance, known)
    if held.any():
        known = known * (1 - estimated_chance(features, held.astype(np.float64), customers, config, seed))
    return Contacts(features, treated, kept, known, customers, pscore is not None or chance is not None)


def fit_winback(contacts: Contacts, config: LearnerConfig, seed: int) -> Winback:
    """Cross-fitted effects of everybody."""
    folds = customer_folds(contacts.customers, config.n_folds)
    with_contact, without, risk = np.empty(len(folds)), np.empty(len(folds)), np.empty(len(folds))
    for fold in range(config.n_folds):
        inside, outside = folds != fold, folds == fold
        asked = contacts.features[outside]
        risk[outside] = 1 - _outcome(contacts.features[inside], contacts.kept[inside], config, seed)(asked)
        for arm, expected in ((1.0, with_contact), (0.0, without)):
            rows = inside & (contacts.treated == arm)
            expected[outside] = _outcome(contacts.features[rows], contacts.kept[rows], config, seed)(asked)
    chance = np.clip(contacts.chance, config.min_chance, 1 - config.min_chance)
    scores = with_contact - without
    scores = scores + contacts.treated / chance * (contacts.kept - with_contact)
    scores = scores - (1 - contacts.treated) / (1 - chance) * (contacts.kept - without)
    parts = [folds != fold for fold in range(config.n_folds)]
    effects = tuple(_effect(contacts.features[rows], scores[rows]) for rows in parts)
    uplift = np.empty(len(folds))
    for fold, effect in enumerate(effects):
        uplift[folds == fold] = effect(contacts.features[folds == fold])
    return Winback(uplift, risk, scores, folds, effects, _effect(contacts.features, scores))


def estimated_chance(
    features: Float32Array,
    treated: FloatArray,
    customers: NDArray[np.object_],
    config: LearnerConfig,
    seed: int,
    learn_from: BoolArray | None = None,
) -> FloatArray:
    """Cross-fitted chance (n,) of a contact where the log does not say it; learned from some of the rows, or from all."""
    folds = customer_folds(customers, config.n_folds)
    known = np.ones(len(folds), bool) if learn_from is None else learn_from
    chance = np.empty(len(folds))
    for fold in range(config.n_folds):
        inside, outside = known & (folds != fold), folds == fold
        chance[outside] = _outcome(features[inside], treated[inside], config, seed)(features[outside])
    return chance


def customer_folds(customers: NDArray[np.object_], n_folds: int) -> IntArray:
    """The fold (n,) of each row, by the hash of its customer: the same in every training."""
    hashes = pd.util.hash_pandas_object(pd.Series(customers).astype(str), index=False).to_numpy()
    return np.asarray(hashes % n_folds, dtype=np.int64)


def feature_matrix(columns: pd.DataFrame) -> Float32Array:
    """Numbers as they are, words as one column per level, (n, F)."""
    words = [name for name in columns.columns if not pd.api.types.is_numeric_dtype(columns[name].dtype)]
    return pd.get_dummies(columns, columns=words).to_numpy(np.float32)


def _outcome(features: Float32Array, outcome: FloatArray, config: LearnerConfig, seed: int) -> "_Predict":
    if len(outcome) < 2 * config.min_data_in_leaf or outcome.min() == outcome.max():
        return _Predict(None, float(outcome.mean()) if len(outcome) else 0.5)
    parameters = {
        **config.model_dump(include={"learning_rate", "num_leaves", "min_data_in_leaf"}),
        "objective": "binary",
        "lambda_l2": 10.0,
        "feature_fraction": 0.7,
        "bagging_fraction": 0.8,
        "bagging_freq": 1,
        "seed": seed,
        "num_threads": 1,
        "deterministic": True,
        "force_row_wise": True,
        "verbosity": -1,
    }
    return _Predict(lgb.train(parameters, lgb.Dataset(features, outcome), config.max_rounds), 0.0)


@dataclass(frozen=True)
class _Predict:
    booster: lgb.Booster | None
    level: float

    def __call__(self, features: Float32Array) -> FloatArray:
        if self.booster is None:
            return np.full(len(features), self.level)
        return np.asarray(expit(np.asarray(self.booster.predict(features, raw_score=True), dtype=np.float64)))


def _effect(features: Float32Array, scores: FloatArray) -> LinearEffect:
    """A ridge on standardised features: effects are small, and a straight line is steadier than trees."""
    known = np.isfinite(features)
    fill = np.where(known, features, 0.0).sum(axis=0, dtype=np.float64) / np.maximum(known.sum(axis=0), 1)
    rows = np.where(known, features, fill).astype(np.float64)
    scaler = StandardScaler().fit(rows)
    model = RidgeCV(alphas=len(rows) * np.logspace(-3, 2, 11)).fit(scaler.transform(rows), scores)
    weights = np.asarray(model.coef_, dtype=np.float64) / scaler.scale_
    return LinearEffect(fill, weights, float(model.intercept_ - scaler.mean_ @ weights))
