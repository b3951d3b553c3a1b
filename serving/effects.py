"""What training wrote about the arms' effects in, the expected gain of every arm over nothing out."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import lightgbm
import numpy as np
from numpy.typing import NDArray

from features.errors import StoreError
from features.signals import SIGNAL_NAMES
from serving.forest import Forest
from serving.rules import NOTHING

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class EffectScorer:
    """Expected reward of every arm less that of nothing, in the unit of the reward that was learned from.

    `population` (arms,) is what everybody gets; a customer's own difference comes on top, the more of it the more is
    known of the customer. Without `weights` and `forest` customers are not proven to differ.
    """

    arms: tuple[str, ...]
    seen: tuple[bool, ...]
    """Whether the log ever took the arm; of the others no effect is known."""
    population: Floats
    columns: NDArray[np.int64]  # (F,) into the signals
    occasions: int
    """Where among the signals the count of active moments is."""
    history_prior: float
    slope: float
    centre: Floats  # (arms,)
    base: int
    fill: Floats | None = None  # (F,)
    weights: Floats | None = None  # (F, arms)
    shift: Floats | None = None  # (arms,)
    forest: Forest | None = None
    """A booster per arm that has one, over all signals; the others have their level."""
    levels: Floats | None = None  # (arms,) NaN for an arm of the forest

    @property
    def personal(self) -> bool:
        """Whether customers differ."""
        return self.weights is not None or self.levels is not None

    def gains(self, signals: NDArray[np.float32]) -> Floats:
        """Signals (n, F) to gains over nothing (n, arms); NaN for an arm that the log never took."""
        found = np.tile(self.population, (len(signals), 1))
        if self.personal:
            predicted = self._predict(signals)
            own = self.slope * (predicted - predicted[:, [self.base]] - self.centre)
            known = np.nan_to_num(signals[:, self.occasions].astype(np.float64))
            trust = known / np.maximum(known + self.history_prior, 1e-12)
            found = found + trust[:, None] * own
        found = found - found[:, [self.arms.index(NOTHING)]]
        return cast(Floats, np.where(np.array(self.seen), found, np.nan))

    def _predict(self, signals: NDArray[np.float32]) -> Floats:
        if self.weights is not None and self.fill is not None and self.shift is not None:
            x = signals[:, self.columns]
            return np.where(np.isfinite(x), x, self.fill) @ self.weights + self.shift
        assert self.levels is not None
        found = np.tile(self.levels, (len(signals), 1))
        if self.forest is not None:
            found[:, np.isnan(self.levels)] = self.forest.predict(signals)
        return found


def load_effects(folder: Path, where: str) -> EffectScorer | None:
    """The effects among a model's files, or None where it has none. Raises StoreError for signals nobody computes."""
    found = sorted(folder.rglob("effects.json"))
    if not found:
        return None
    told: dict[str, Any] = json.loads(found[0].read_text(encoding="utf-8"))
    position = {name: i for i, name in enumerate(SIGNAL_NAMES)}
    unknown = [name for name in told["signals"] if name not in position]
    if unknown:
        raise StoreError(
            f"{where} learned effects from the signal {unknown[0]!r}, which this version does not compute.",
            repair="Train the model again, or install the version it was trained with.",
        )
    columns = np.array([position[name] for name in told["signals"]], dtype=np.int64)
    linear = told.get("linear") or {}
    trees = told.get("trees") or ()
    boosters = [lightgbm.Booster(model_file=str(found[0].with_name(row["file"]))) for row in trees if row["file"]]
    forests = [Forest.of(booster, columns, where) for booster in boosters]
    return EffectScorer(
        arms=tuple(told["arms"]),
        seen=tuple(told["seen"]),
        population=np.array(told["means"]),
        columns=columns,
        occasions=position["n_action_occasions"],
        history_prior=float(told["history_prior"]),
        slope=float(told["slope"]),
        centre=np.array(told["centre"]),
        base=told["arms"].index(told["base"]),
        forest=Forest.joined(forests) if forests else None,
        levels=np.array([np.nan if row["file"] else float(row["level"]) for row in trees]) if trees else None,
        **{name: np.array(values) for name, values in linear.items()},
    )
