"""MLflow model from code: signals in, the chance of a response per arm out. Travels inside the model; stands alone."""

import json
from pathlib import Path

import lightgbm
import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel, PythonModelContext


class BestChannel(PythonModel):
    """One calibrated booster per arm, beside `arms.json` which lists the arms in order."""

    def load_context(self, context: PythonModelContext) -> None:
        """Read the boosters from the model's own files."""
        folder = Path(context.artifacts["arms"])
        self._arms = [arm["arm"] for arm in json.loads((folder / "arms.json").read_text(encoding="utf-8"))]
        self._boosters = [lightgbm.Booster(model_file=str(folder / f"{arm}.txt")) for arm in self._arms]

    def predict(self, context, model_input: pd.DataFrame, params=None) -> pd.DataFrame:  # type: ignore[no-untyped-def]
        """One column per arm; needs the signals that the boosters name, in any order."""
        return pd.DataFrame(
            {
                arm: booster.predict(model_input[booster.feature_name()].to_numpy())
                for arm, booster in zip(self._arms, self._boosters, strict=True)
            },
            index=model_input.index,
        )


set_model(BestChannel())
