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
from serving.rules import NOTHING

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class EffectScorer:
    """Expected reward of every arm less that of nothing, in the unit of the reward that was learned from.

    `population` (arms,) is what everybody gets; a customer's own difference comes on top, the more of it the more is
    known of the customer. Without `weights` and `boosters` customers are not proven to differ.
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
    boosters: tuple[lightgbm.Booster | float, ...] = ()

    @property
    def personal(self) -> bool:
        """Whether customers differ."""
        return self.weights is not None or bool(self.boosters)

    def gains(self, signals: NDArray[np.float32]) -> Floats:
        """Signals (n, F) to gains over nothing (n, arms); NaN for an arm that the log never took."""
        found = np.tile(self.population, (len(signals), 1))
        if self.personal:
            predicted = self._predict(signals[:, self.columns])
            own = self.slope * (predicted - predicted[:, [self.base]] - self.centre)
            known = np.nan_to_num(signals[:, self.occasions].astype(np.float64))
            trust = known / np.maximum(known + self.history_prior, 1e-12)
            found = found + trust[:, None] * own
        found = found - found[:, [self.arms.index(NOTHING)]]
        return cast(Floats, np.where(np.array(self.seen), found, np.nan))

    def _predict(self, x: NDArray[np.float32]) -> Floats:
        if self.weights is not None and self.fill is not None and self.shift is not None:
            return np.where(np.isfinite(x), x, self.fill) @ self.weights + self.shift
        return np.column_stack(
            [
                np.full(len(x), model) if isinstance(model, float) else model.predict(x, num_threads=1)
                for model in self.boosters
            ]
        )


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
    linear = told.get("linear") or {}
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
        boosters=tuple(
            float(row["level"])
            if row["file"] is None
            else lightgbm.Booster(model_file=str(found[0].with_name(row["file"])))
            for row in told.get("trees", ())
        ),
        **{name: np.array(values) for name, values in linear.items()},
    )
