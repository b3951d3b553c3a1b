"""MLflow model from code: signals in, how much likelier a contact makes a return out. Travels inside the model."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel, PythonModelContext


class WinBack(PythonModel):
    """The score of `features/scoring/win_back.py` by column names; tested equal to it."""

    def load_context(self, context: PythonModelContext) -> None:
        """Read the score from the model's own file."""
        from log_linear import signed_log1p  # type: ignore[import-not-found]  # features' own file, beside this one

        self._signed_log1p = signed_log1p
        file = Path(context.artifacts["win_back"]) / "win_back.json"
        self._score: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))

    def predict(self, context, model_input: pd.DataFrame, params=None) -> np.ndarray:  # type: ignore[no-untyped-def]
        """Uplift (n,), NaN for who is not lapsing; needs the signals of the signature, in any order."""
        effect, lapsing = self._score["effect"], self._score["lapsing"]
        columns = model_input[self._score["signals"]].to_numpy(np.float64)
        inputs = self._signed_log1p(columns)
        uplift = np.where(np.isfinite(inputs), inputs, effect["fill"]) @ np.array(effect["weights"]) + effect["shift"]
        overdue, since = (model_input[name].to_numpy(np.float64) for name in ("overdue_ratio", "days_since_occasion"))
        asked = np.where(np.isfinite(overdue), overdue >= lapsing["after"], since >= lapsing["days"])
        return np.where(asked, uplift, np.nan)


set_model(WinBack())
