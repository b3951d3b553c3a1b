"""Ways of contact times offers, each with its value and chance, in; the one that is drawn out; pure.

Whoever looks at ways alone finds the chance of a way as the sum over its offers: that is what its effect is learned with.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from features.arrays import FloatArray
from features.vocabulary import NOTHING
from serving.decision.policy import Choice, uniform


@dataclass(frozen=True, eq=False)
class Options:
    """A ways times O offers as one customer may be contacted by them now, and nothing."""

    arms: Sequence[str]
    offer_ids: Sequence[str]
    chances: FloatArray  # (A, O), 0 of what is not allowed
    nothing: float
    """The chance of nothing; with all others it sums to 1."""
    values: FloatArray  # (A, O) expected, minus infinity of what is not allowed
    refusals: Mapping[str, str]
    """Offers that may not be made to this customer on any way, and why."""
    basis: str
    """What else the chances hang on: which offers and which of their responses were known."""

    @cached_property
    def version(self) -> str:
        """Another one whenever chances may be others though the customer and the stretch of time are the same."""
        allowed = np.packbits(np.isfinite(self.values)).tobytes()
        return f"{self.basis} {hashlib.blake2b(allowed, digest_size=6).hexdigest()}"

    def of_arms(self) -> dict[str, float]:
        """The chance of each way of which any option is allowed, and of nothing, in the order of their names."""
        sums = dict(zip(self.arms, self.chances.sum(axis=1).tolist(), strict=True))
        kept = {arm: sums[arm] for arm in self.best_of_arms() if arm != NOTHING}
        return dict(sorted({**kept, NOTHING: self.nothing}.items()))

    def best_of_arms(self) -> dict[str, float]:
        """The value of each such way's best option, and of nothing."""
        best = self.values.max(axis=1, initial=-np.inf).tolist()
        return {arm: value for arm, value in zip(self.arms, best, strict=True) if value > -np.inf} | {NOTHING: 0.0}

    def draw(self, seed: str) -> Choice:
        """One option by the chances, the same for the same seed."""
        chances = self.of_arms()
        u, begin = uniform(seed), 0.0
        chosen, within = NOTHING, 0.0
        for arm, chance in chances.items():
            if chance > 0.0:
                chosen, within = arm, u - begin
                begin += chance
                if u < begin:
                    break
        if chosen == NOTHING:
            return Choice(NOTHING, chances[NOTHING], chances, arm_pscore=chances[NOTHING])
        own = self.chances[list(self.arms).index(chosen)]
        reached = np.flatnonzero((np.cumsum(own) > within) & (own > 0))
        number = int(reached[0]) if len(reached) else int(np.flatnonzero(own > 0)[-1])
        return Choice(chosen, float(own[number]), chances, number, chances[chosen])

    def best(self) -> Choice:
        """The option of the highest value, for sure."""
        values = self.best_of_arms()
        chosen = max(values, key=lambda arm: (values[arm], arm))
        chances = {arm: float(arm == chosen) for arm in self.of_arms()}
        number = None if chosen == NOTHING else int(self.values[list(self.arms).index(chosen)].argmax())
        return Choice(chosen, 1.0, chances, number, 1.0)

    def likeliest(self, n: int) -> dict[str, dict[str, float]]:
        """The chances of the n likeliest options, by way and offer."""
        flat = self.chances.ravel()
        told: dict[str, dict[str, float]] = {}
        for place in np.argsort(-flat, kind="stable")[:n].tolist():
            if flat[place] > 0:
                arm, offer = divmod(place, len(self.offer_ids))
                told.setdefault(self.arms[arm], {})[self.offer_ids[offer]] = round(float(flat[place]), 9)
        return told
