"""What training wrote about the arms' effects in, the expected gain of every arm over nothing out."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import lightgbm
import numpy as np

from features.arrays import Float32Array, FloatArray, IntArray
from features.errors import StoreError
from features.scoring.forest import Forest
from features.scoring.model_files import find_optional
from features.scoring.two_part import TwoPart
from features.signals import SIGNAL_NAMES
from features.vocabulary import NOTHING


@dataclass(frozen=True)
class LinearEffects:
    """A weighted sum of features per arm, missing ones put to `fill`."""

    fill: FloatArray  # (F,)
    weights: FloatArray  # (F, arms)
    shift: FloatArray  # (arms,)

    def __call__(self, x: Float32Array) -> FloatArray:
        return np.where(np.isfinite(x), x, self.fill) @ self.weights + self.shift


@dataclass(frozen=True)
class TreeEffects:
    """A booster per arm that has one; the others have their level."""

    levels: FloatArray  # (arms,) NaN for an arm of the forest
    forest: Forest | None

    def __call__(self, x: Float32Array) -> FloatArray:
        found = np.tile(self.levels, (len(x), 1))
        if self.forest is not None:
            found[:, np.isnan(self.levels)] = self.forest.predict(x)
        return found


@dataclass(frozen=True)
class EffectScorer:
    """Expected reward of every arm less that of nothing, in the unit of the reward that was learned from.

    `population` (arms,) is what everybody gets; a customer's own difference comes on top, the more of it the more is
    known of the customer. Without `model` customers are not proven to differ.
    """

    arms: tuple[str, ...]
    seen: tuple[bool, ...]
    """Whether the log ever took the arm; of the others no effect is known."""
    population: FloatArray
    columns: IntArray  # (F,) into the signals
    occasions: int
    """Where among the signals the count of active moments is."""
    history_prior: float
    slope: float
    centre: FloatArray  # (arms,)
    base: int
    model: LinearEffects | TreeEffects | TwoPart | None = None
    """Features (n, F) to what every arm brings (n, arms)."""

    @property
    def personal(self) -> bool:
        """Whether customers differ."""
        return self.model is not None

    def gains(self, signals: Float32Array) -> FloatArray:
        """Signals (n, F) to gains over nothing (n, arms); NaN for an arm that the log never took."""
        found = np.tile(self.population, (len(signals), 1))
        if self.model is not None:
            predicted = self.model(signals[:, self.columns])
            own = self.slope * (predicted - predicted[:, [self.base]] - self.centre)
            known = np.nan_to_num(signals[:, self.occasions].astype(np.float64))
            trust = known / np.maximum(known + self.history_prior, 1e-12)
            found = found + trust[:, None] * own
        found = found - found[:, [self.arms.index(NOTHING)]]
        return cast(FloatArray, np.where(np.array(self.seen), found, np.nan))


def load_effects(folder: Path, where: str) -> EffectScorer | None:
    """The effects among a model's files, or None where it has none. Raises StoreError for signals nobody computes."""
    file = find_optional(folder, "effects.json")
    if file is None:
        return None
    told: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    position = {name: i for i, name in enumerate(SIGNAL_NAMES)}
    unknown = [name for name in told["signals"] if name not in position]
    if unknown:
        raise StoreError(
            f"{where} learned effects from the signal {unknown[0]!r}, which this version does not compute.",
            repair="Train the model again, or install the version it was trained with.",
        )
    return EffectScorer(
        arms=tuple(told["arms"]),
        seen=tuple(told["seen"]),
        population=np.array(told["means"]),
        columns=np.array([position[name] for name in told["signals"]], dtype=np.int64),
        occasions=position["n_action_occasions"],
        history_prior=float(told["history_prior"]),
        slope=float(told["slope"]),
        centre=np.array(told["centre"]),
        base=told["arms"].index(told["base"]),
        model=_model(told, file.parent, where),
    )


def _model(told: dict[str, Any], folder: Path, where: str) -> LinearEffects | TreeEffects | TwoPart | None:
    if "two_part" in told:
        return TwoPart.of(told["two_part"])
    if "linear" in told:
        return LinearEffects(**{name: np.array(values) for name, values in told["linear"].items()})
    if "trees" not in told:
        return None
    in_place = np.arange(len(told["signals"]))
    files = [row["file"] for row in told["trees"]]
    boosters = [lightgbm.Booster(model_file=str(folder / file)) for file in files if file]
    return TreeEffects(
        levels=np.array([np.nan if row["file"] else float(row["level"]) for row in told["trees"]]),
        forest=Forest.joined([Forest.of(booster, in_place, where) for booster in boosters]) if boosters else None,
    )
