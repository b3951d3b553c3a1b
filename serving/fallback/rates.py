"""Everybody's response rates as a scorer of ways of contact: it stands where a best-channel model would."""

from dataclasses import dataclass, field

import numpy as np

from features.arrays import Float32Array, FloatArray
from features.vocabulary import Task
from serving.fallback.population import Population
from serving.scorers.best_channel import ChannelScorer
from serving.scorers.model_card import ModelCard


@dataclass(frozen=True)
class RateScorer(ChannelScorer):
    """The same chance of a response for everybody, per way of contact; what a contact adds to doing nothing is not known."""

    rates: FloatArray = field(default_factory=lambda: np.zeros(0))

    @classmethod
    def of(cls, population: Population) -> "RateScorer":
        """The rates that there are."""
        arms = tuple(arm for arm, _ in population.ways)
        rates = np.array([rate for _, rate in population.ways])
        return cls(ModelCard(Task.BEST_CHANNEL, "", ""), arms, (), rates=rates)

    def probabilities(self, signals: Float32Array) -> FloatArray:
        return np.tile(self.rates, (len(signals), 1))
