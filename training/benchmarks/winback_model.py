"""Logged contacts and what customers did later in, who is kept by a contact out: contact, or leave alone.

The effect of a contact on being there later is learned doubly robustly (Kennedy 2020): cross-fitted outcome models with
and without contact, the log's own chances of contact, and a regression on the resulting scores. Who is at risk is not
asked: many of those leave whatever is sent, and some leave because of it.
"""

from dataclasses import dataclass
from typing import Final

import lightgbm as lgb
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from scipy.special import expit
from sklearn.linear_model import RidgeCV
from sklearn.preprocessing import StandardScaler

from features.arrays import Float32Array, FloatArray, IntArray

CONTACT: Final = "contact"
LEAVE_ALONE: Final = "leave alone"


class WinbackConfig(BaseModel):
    """What being kept means and how the models are grown."""

    model_config = ConfigDict(extra="forbid", frozen=True)

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
    n_rounds: int = Field(120, ge=1)
    """Trees of each outcome model."""
    min_chance: float = Field(0.02, gt=0, lt=0.5)
    """Chances of a contact are kept this far from 0 and 1."""
    min_uplift: float = Field(0.0, ge=0)
    """A contact must keep at least this share more customers, else the answer is to leave alone."""


@dataclass(frozen=True)
class Contacts:
    """n moments at which a contact was possible: features, whether it came, its chance, whether the customer was kept.

    `chance` (n,) is the log's probability of any contact; `randomised` is False where it had to be estimated, and then
    what is found is only as good as the features are complete.
    """

    features: Float32Array
    treated: FloatArray
    kept: FloatArray
    chance: FloatArray
    customers: NDArray[np.object_]
    randomised: bool


@dataclass(frozen=True)
class Winback:
    """For each of n moments, from models that did not see the customer: effect, risk, and the score that tests both.

    `uplift` (n,) is how much likelier the customer is to be kept with a contact, `risk` (n,) the chance of being lost as
    contacts go in the log (what a churn model would say), `scores` (n,) the doubly robust estimates whose mean over any
    group is the effect in that group, `folds` (n,) the part that each was held out with.
    """

    uplift: FloatArray
    risk: FloatArray
    scores: FloatArray
    folds: IntArray

    def within_folds(self, order: FloatArray) -> FloatArray:
        """The order (n,) as shares of the fold that lie below: levels differ between folds, and against the truth, since
        a fold that was held out with good luck was learned from the others without it.
        """
        return np.asarray(pd.Series(order).groupby(self.folds).rank(pct=True, method="first").to_numpy(np.float64))

    def advice(self, min_uplift: float) -> NDArray[np.str_]:
        """`contact` or `leave alone` for each moment (n,)."""
        return np.where(self.uplift > min_uplift, CONTACT, LEAVE_ALONE)


def fit_winback(contacts: Contacts, config: WinbackConfig, seed: int) -> Winback:
    """Cross-fitted effects of everybody."""
    folds = _folds(contacts.customers, config.n_folds)
    with_contact, without, risk = np.empty(len(folds)), np.empty(len(folds)), np.empty(len(folds))
    for fold in range(config.n_folds):
        inside, outside = folds != fold, folds == fold
        risk[outside] = 1 - _outcome(contacts.features[inside], contacts.kept[inside], config, seed)(
            contacts.features[outside]
        )
        for arm, found in ((1.0, with_contact), (0.0, without)):
            mine = inside & (contacts.treated == arm)
            found[outside] = _outcome(contacts.features[mine], contacts.kept[mine], config, seed)(
                contacts.features[outside]
            )
    chance = np.clip(contacts.chance, config.min_chance, 1 - config.min_chance)
    scores = with_contact - without
    scores = scores + contacts.treated / chance * (contacts.kept - with_contact)
    scores = scores - (1 - contacts.treated) / (1 - chance) * (contacts.kept - without)
    uplift = np.empty(len(folds))
    for fold in range(config.n_folds):
        inside, outside = folds != fold, folds == fold
        uplift[outside] = _effect(contacts.features[inside], scores[inside], contacts.features[outside])
    return Winback(uplift, risk, scores, folds)


def estimated_chance(
    features: Float32Array, treated: FloatArray, customers: NDArray[np.object_], config: WinbackConfig, seed: int
) -> FloatArray:
    """Cross-fitted chance (n,) of a contact where the log does not say it."""
    folds = _folds(customers, config.n_folds)
    chance = np.empty(len(folds))
    for fold in range(config.n_folds):
        inside, outside = folds != fold, folds == fold
        chance[outside] = _outcome(features[inside], treated[inside], config, seed)(features[outside])
    return chance


def feature_matrix(columns: pd.DataFrame) -> Float32Array:
    """Numbers as they are, words as one column per level, (n, F)."""
    words = [name for name in columns.columns if not pd.api.types.is_numeric_dtype(columns[name].dtype)]
    return pd.get_dummies(columns, columns=words).to_numpy(np.float32)


def _outcome(features: Float32Array, outcome: FloatArray, config: WinbackConfig, seed: int) -> "_Predict":
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
    return _Predict(lgb.train(parameters, lgb.Dataset(features, outcome), config.n_rounds), 0.0)


@dataclass(frozen=True)
class _Predict:
    booster: lgb.Booster | None
    level: float

    def __call__(self, features: Float32Array) -> FloatArray:
        if self.booster is None:
            return np.full(len(features), self.level)
        return np.asarray(expit(np.asarray(self.booster.predict(features, raw_score=True), dtype=np.float64)))


def _effect(features: Float32Array, scores: FloatArray, asked: Float32Array) -> FloatArray:
    """A ridge on standardised features: effects are small, and a straight line is steadier than trees."""
    known = features.astype(np.float64)
    fill = np.nan_to_num(np.nanmean(np.where(np.isfinite(known), known, np.nan), axis=0))
    scaler = StandardScaler().fit(np.where(np.isfinite(known), known, fill))
    rows = scaler.transform(np.where(np.isfinite(known), known, fill))
    model = RidgeCV(alphas=len(rows) * np.logspace(-3, 2, 11)).fit(rows, scores)
    return np.asarray(model.predict(scaler.transform(np.where(np.isfinite(asked), asked, fill))))


def _folds(customers: NDArray[np.object_], n_folds: int) -> IntArray:
    hashes = pd.util.hash_pandas_object(pd.Series(customers).astype(str), index=False).to_numpy()
    return np.asarray(hashes % n_folds, dtype=np.int64)
