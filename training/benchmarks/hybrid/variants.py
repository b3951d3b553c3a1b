"""Validation values per user in, what orders the candidates out: the ranker, or the parts that nothing clearly beats."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from features.arrays import FloatArray
from training.models.recommenders.candidates import Candidates
from training.models.recommenders.lambdamart import Ranker

RANKER: Final = "ranker"


@dataclass(frozen=True)
class Variant:
    """One way of ordering candidates: by a ranker over these parts, or by the parts' places.

    Several parts are joined by the sum of their reciprocal places (Cormack et al. 2009, "Reciprocal rank fusion").
    """

    parts: tuple[str, ...]
    ranker: Ranker | None

    def scores(self, found: Candidates) -> NDArray[np.floating]:
        """One score per candidate (n, C)."""
        if self.ranker is not None:
            return self.ranker.scores(found)
        return found.features[:, :, [found.names.index(f"place_{name}") for name in self.parts]].sum(axis=2)


def choose(values: Mapping[str, FloatArray]) -> tuple[str, ...]:
    """The ranker by its values per user (n,) where it is clearly better than every part, or the best part and its equals.

    The ranker stops where these same users like it best, so an even race is one that it loses on others. And where few
    users cannot tell parts apart, the best of them is so by chance: all of them answer.
    """
    parts = [name for name in values if name != RANKER]
    best = values[max(parts, key=lambda name: float(values[name].mean()))]
    if RANKER in values and _is_clear(values[RANKER] - best):
        return (RANKER,)
    return tuple(name for name in parts if not _is_clear(best - values[name]))


def _is_clear(gain: FloatArray) -> bool:
    """Whether a mean gain (n,) is more than one standard error."""
    return bool(gain.mean() > gain.std() / np.sqrt(len(gain)))
