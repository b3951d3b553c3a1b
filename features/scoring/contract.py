"""All signals and the trees' log-odds in, the chance that a running contract is over at the horizon out.

Like features/scoring/churn.py for customers who buy when they like: an additive regression on a few signals and boosted
trees on the same, weighted and calibrated. Both are additive, so the share of every signal in one prediction is exact.
"""

import json
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np

from features.arrays import BoolArray, Float32Array, FloatArray, IntArray
from features.scoring.additive import AdditiveLogit
from features.scoring.churn import ChurnScore
from features.scoring.log_linear import expit
from features.signals import SIGNAL_NAMES, signal_index

KIND: Final = "contract"
_RUNNING: Final = SIGNAL_NAMES.index("contract_days")


@dataclass(frozen=True)
class ContractScore:
    """Everything but the trees; `share` is the regression's weight, `usual` what each of its terms adds on average."""

    horizon_days: float
    additive: AdditiveLogit
    share: float
    slope: float
    shift: float
    usual: tuple[float, ...]

    def log_odds(self, signals: Float32Array, trees: FloatArray) -> FloatArray:
        """Calibrated log-odds (n,) from all signals (n, F) and the trees' log-odds (n,)."""
        raw = self.share * self.additive.log_odds(signals[:, self.columns]) + (1 - self.share) * trees
        return np.asarray(self.slope * raw + self.shift)

    def probability(self, signals: Float32Array, trees: FloatArray) -> FloatArray:
        """Calibrated chance (n,) that the contract is over at the horizon; NaN for who has none."""
        return np.where(under_contract(signals), expit(self.log_odds(signals, trees)), np.nan)

    def contributions(self, signals: Float32Array, trees: FloatArray) -> FloatArray:
        """The share of every signal in the log-odds, (n, F), from all signals and the trees' own shares (n, F)."""
        shares = (1 - self.share) * np.asarray(trees, dtype=np.float64)
        shares[:, self.columns] += self.share * (self.additive.parts(signals[:, self.columns]) - np.array(self.usual))
        return np.asarray(self.slope * shares)

    @cached_property
    def columns(self) -> IntArray:
        """Where the regression's signals lie among all signals."""
        return signal_index(tuple(term.name for term in self.additive.terms))

    def to_json(self) -> str:
        """The content of features.scoring.churn.SCORE_FILE."""
        plain = {name: value for name, value in vars(self).items() if name != "columns"}
        return json.dumps({"kind": KIND, **plain, "additive": self.additive.to_plain()}, indent=1)


def read_score(text: str) -> ChurnScore | ContractScore:
    """The score of a churn model of either kind, from its file."""
    plain: dict[str, Any] = json.loads(text)
    if plain.pop("kind", None) != KIND:
        return ChurnScore.from_json(text)
    usual, additive = tuple(plain.pop("usual")), AdditiveLogit.of_plain(plain.pop("additive"))
    return ContractScore(usual=usual, additive=additive, **plain)


def under_contract(signals: Float32Array) -> BoolArray:
    """Whether each of the customers with all signals (n, F) has a running contract (n,)."""
    return np.isfinite(signals[:, _RUNNING])
