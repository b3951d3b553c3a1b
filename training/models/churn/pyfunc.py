"""MLflow model from code: signals in, the chance of churn that is measured and served out. Travels inside the model."""

import json
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel, PythonModelContext


class Churn(PythonModel):
    """The blend of `features/scoring/churn.py` or `contract.py` by column names; tested equal to them."""

    def load_context(self, context: PythonModelContext) -> None:
        """Read trees and score from the model's own files."""
        from additive import AdditiveLogit  # type: ignore[import-not-found]  # features' own files, beside this one
        from bg_nbd import Rates, Summary  # type: ignore[import-not-found]

        folder = Path(context.artifacts["churn"])
        self._trees = lightgbm.Booster(model_file=str(folder / "model.lgb"))
        self._score: dict[str, Any] = json.loads((folder / "churn_score.json").read_text(encoding="utf-8"))
        if self._score.get("kind") == "contract":
            self._additive = AdditiveLogit.of_plain(self._score["additive"])
            return
        self._summary = Summary.of_signals
        self._rates = [Rates(**self._score[name]) for name in ("rates", "modified")]

    def predict(self, context, model_input: pd.DataFrame, params=None) -> np.ndarray:  # type: ignore[no-untyped-def]
        """Calibrated chance (n,) of churn within the horizon; needs the signals of the signature, in any order."""
        trees = self._trees.predict(model_input[self._trees.feature_name()].to_numpy(), raw_score=True)
        if self._score.get("kind") == "contract":
            return self._contract(model_input, np.asarray(trees))
        weights, silence = self._score["mix"], self._silence(model_input)
        raw = weights[0] * np.asarray(trees) + weights[2] * silence[:, 1]
        if self._score["linear"] is not None:
            raw = raw + weights[1] * self._linear(model_input, silence)
        return np.asarray(1 / (1 + np.exp(-(self._score["slope"] * raw + self._score["shift"]))))

    def _contract(self, signals: pd.DataFrame, trees: np.ndarray) -> np.ndarray:
        """Chance (n,) that the contract is over at the horizon; NaN without one."""
        share, columns = self._score["share"], [term.name for term in self._additive.terms]
        raw = share * self._additive.log_odds(signals[columns].to_numpy()) + (1 - share) * trees
        chance = 1 / (1 + np.exp(-(self._score["slope"] * raw + self._score["shift"])))
        return np.where(np.isfinite(signals["contract_days"].to_numpy(np.float64)), chance, np.nan)

    def _silence(self, signals: pd.DataFrame) -> np.ndarray:
        """BG/NBD's log-odds of silence, plain and modified: (n, 2)."""
        names = ("n_occasions", "days_since_first_purchase", "days_since_occasion")
        known = self._summary(*(signals[name].to_numpy() for name in names))
        silent = [rates.silence_probability(known, self._score["horizon_days"]) for rates in self._rates]
        p = np.clip(np.column_stack(silent), 1e-4, 1 - 1e-4)
        return np.asarray(np.log(p) - np.log1p(-p))

    def _linear(self, signals: pd.DataFrame, silence: np.ndarray) -> np.ndarray:
        """The logistic regression's log-odds (n,)."""
        linear = self._score["linear"]
        columns = signals[list(linear["names"])].to_numpy(np.float64)
        known = np.where(np.isfinite(columns), columns, linear["fill"])
        inputs = np.column_stack([np.sign(known) * np.log1p(np.abs(known)), silence])
        standard = (inputs - np.array(linear["mean"])) / np.array(linear["scale"])
        return np.asarray(standard @ np.array(linear["weights"]) + linear["intercept"])


set_model(Churn())
