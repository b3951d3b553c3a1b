"""MLflow model from code: signals in, the chance of churn that is measured and served out. Travels inside the model."""

import json
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel, PythonModelContext
from scipy.special import expit

_BUYING = ("n_occasions", "days_since_first_purchase", "days_since_occasion")


class Churn(PythonModel):
    """The score of `features/scoring/churn.py` or `contract.py` by column names, with their arithmetic; tested equal."""

    def load_context(self, context: PythonModelContext) -> None:
        """Read trees and score from the model's own files."""
        import log_linear  # type: ignore[import-not-found]  # features' own files, beside this one
        from additive import AdditiveLogit  # type: ignore[import-not-found]
        from bg_nbd import Rates, Summary  # type: ignore[import-not-found]

        folder = Path(context.artifacts["churn"])
        self._trees = lightgbm.Booster(model_file=str(folder / "model.lgb"))
        self._score: dict[str, Any] = json.loads((folder / "churn_score.json").read_text(encoding="utf-8"))
        if self._score.get("kind") == "contract":
            self._additive = AdditiveLogit.of_plain(self._score["additive"])
            return
        self._log_linear, self._summary = log_linear, Summary.of_signals
        self._rates = [Rates(**self._score[name]) for name in ("rates", "modified")]
        linear = self._score["linear"]
        self._linear = None if linear is None else log_linear.LogLinear(**linear)

    def predict(self, context, model_input: pd.DataFrame, params=None) -> np.ndarray:  # type: ignore[no-untyped-def]
        """Calibrated chance (n,) of churn within the horizon, NaN for who never bought; needs the signals of the signature."""
        trees = self._trees.predict(model_input[self._trees.feature_name()].to_numpy(), raw_score=True)
        if self._score.get("kind") == "contract":
            return self._contract(model_input, np.asarray(trees))
        silence, linear = self._silence(model_input), None
        if self._linear is not None:
            linear = self._linear.score(model_input[list(self._linear.names)].to_numpy(), silence)
        raw = self._log_linear.weighted_sum(self._score["mix"], trees, linear, silence)
        chance = np.asarray(expit(self._score["slope"] * raw + self._score["shift"]))
        if not self._score.get("buyers_only", True):
            return chance
        return np.where(np.isfinite(model_input["days_since_occasion"].to_numpy(np.float64)), chance, np.nan)

    def _contract(self, signals: pd.DataFrame, trees: np.ndarray) -> np.ndarray:
        """Chance (n,) that the contract is over at the horizon; NaN without one."""
        share, columns = self._score["share"], [term.name for term in self._additive.terms]
        raw = share * self._additive.log_odds(signals[columns].to_numpy()) + (1 - share) * trees
        chance = expit(self._score["slope"] * raw + self._score["shift"])
        return np.where(np.isfinite(signals["contract_days"].to_numpy(np.float64)), chance, np.nan)

    def _silence(self, signals: pd.DataFrame) -> np.ndarray:
        """BG/NBD's log-odds of silence, plain and modified: (n, 2)."""
        known = self._summary(*(signals[name].to_numpy() for name in _BUYING))
        silent = [rates.silence_probability(known, self._score["horizon_days"]) for rates in self._rates]
        return self._log_linear.clipped_log_odds(np.column_stack(silent))


set_model(Churn())
