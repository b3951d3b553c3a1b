"""A registered win-back model: customers' signals in, what a contact does to each one's return and the advice out."""

from dataclasses import dataclass

import numpy as np

from features.arrays import Float32Array
from features.scoring.win_back import WinBackScore
from serving.schemas import WinBack
from serving.scorers.model_card import ModelCard


@dataclass(frozen=True)
class WinBackScorer:
    """Whom of the lapsing customers a contact brings back."""

    card: ModelCard
    score: WinBackScore

    def answers(self, signals: Float32Array) -> list[WinBack]:
        """Signals (n, F) to what is said of each customer; nobody who is not lapsing has an uplift."""
        uplift = self.score.uplift(signals)
        advice = self.score.advice(uplift)
        return [
            WinBack(uplift=None if np.isnan(gain) else float(gain), advice=str(told), model_version=self.card.version)
            for gain, told in zip(uplift, advice, strict=True)
        ]
