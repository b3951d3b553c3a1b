"""One calibrated LightGBM booster as a scorer: signals in, probabilities and what each signal adds out."""

from typing import Final, cast

import lightgbm
import numpy as np

from features.arrays import Float32Array, FloatArray
from features.errors import StoreError
from features.scoring.forest import Forest
from features.signals import SIGNAL_NAMES

_SIGNAL_INDEX: Final = {name: i for i, name in enumerate(SIGNAL_NAMES)}


class BoosterScorer:
    """One calibrated LightGBM booster that finds its own columns among all signals; answers come from its `forest`."""

    def __init__(self, booster: lightgbm.Booster, where: str) -> None:
        self._booster = booster
        self.names: tuple[str, ...] = tuple(booster.feature_name())
        unknown = [name for name in self.names if name not in _SIGNAL_INDEX]
        if unknown:
            raise StoreError(
                f"{where} was trained on the signal {unknown[0]!r}, which this version does not compute.",
                repair="Train the model again, or install the version it was trained with.",
            )
        self._columns = np.array([_SIGNAL_INDEX[name] for name in self.names])
        self.forest = Forest.of(booster, self._columns, where)
        # The walk is compiled, or what was compiled is loaded, before anybody waits for an answer.
        self.forest.raw(np.zeros((1, len(SIGNAL_NAMES)), np.float32))

    def probability(self, signals: Float32Array) -> FloatArray:
        """Signals (n, F) to probabilities (n,)."""
        return self.forest.predict(signals)[:, 0]

    def raw(self, signals: Float32Array) -> FloatArray:
        """Signals (n, F) to log-odds (n,)."""
        return self.forest.raw(signals)[:, 0]

    def contributions(self, signals: Float32Array) -> FloatArray:
        """What each of `names` adds to the log-odds, shape (n, len(names)); about 5 ms a row."""
        contributions = self._booster.predict(signals[:, self._columns], pred_contrib=True, num_threads=1)
        return cast(FloatArray, contributions)[:, :-1]
