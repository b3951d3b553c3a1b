"""The text of one calibrated LightGBM booster in, a scorer out: signals to probabilities and to what each signal adds."""

import numpy as np

from features.arrays import Float32Array, FloatArray
from features.errors import StoreError
from features.scoring.forest import Forest
from features.scoring.tree_text import TextModel
from features.signals import signal_names


class BoosterScorer:
    """One calibrated LightGBM booster that finds its own columns among all signals; answers come from its `forest`."""

    def __init__(self, text: str, where: str) -> None:
        model = TextModel.of(text, where)
        self.names = model.names
        column = {name: i for i, name in enumerate(signal_names())}
        unknown = [name for name in self.names if name not in column]
        if unknown:
            raise StoreError(
                f"{where} was trained on the signal {unknown[0]!r}, which this version does not compute.",
                repair="Train the model again, or install the version it was trained with.",
            )
        self.forest = Forest.of(model, np.array([column[name] for name in self.names]), where)
        # The walk is compiled, or what was compiled is loaded, before anybody waits for an answer.
        self.forest.raw(np.zeros((1, len(column)), np.float32))

    def probability(self, signals: Float32Array) -> FloatArray:
        """Signals (n, F) to probabilities (n,)."""
        return self.forest.predict(signals)[:, 0]

    def raw(self, signals: Float32Array) -> FloatArray:
        """Signals (n, F) to log-odds (n,)."""
        return self.forest.raw(signals)[:, 0]

    def contributions(self, signals: Float32Array) -> FloatArray:
        """Signals (n, F) to what each of them adds to the log-odds (n, F)."""
        return self.forest.shapley(signals)
