"""Effects of arms: all signals in, every arm's expected gain over nothing out; training writes them, serving reads them."""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np

from features.arrays import BoolArray, Float32Array, FloatArray, IntArray
from features.errors import StoreError
from features.scoring.forest import Forest
from features.scoring.model_files import find_optional, plain_name
from features.scoring.tree_text import TextModel, read_text
from features.scoring.two_part import TwoPart
from features.signals import SIGNAL_NAMES, signal_names
from features.state.jit import released
from features.vocabulary import NOTHING

EFFECTS_FILE: Final = "effects.json"
_OCCASIONS: Final = SIGNAL_NAMES.index("n_action_occasions")


@dataclass(frozen=True)
class LinearEffects:
    """A weighted sum of features per arm, missing ones put to `fill`."""

    fill: FloatArray  # (F,)
    weights: FloatArray  # (F, arms)
    shift: FloatArray  # (arms,)

    def __call__(self, x: Float32Array) -> FloatArray:
        """Features (n, F) to expected rewards (n, arms)."""
        return np.asarray(filled(x, self.fill) @ self.weights + self.shift)


@dataclass(frozen=True)
class TreeEffects:
    """Trees per arm, or None and a level for everybody where there was too little to grow any on."""

    texts: tuple[str | None, ...]  # (arms,) as `Booster.model_to_string` gives them
    levels: FloatArray  # (arms,) of those without trees
    where: str = "The model"
    """The model's name, for errors."""

    def __call__(self, x: Float32Array) -> FloatArray:
        """Features (n, F) to expected rewards (n, arms)."""
        rewards = np.tile(self.levels, (len(x), 1))
        if self.forest is not None:
            rewards[:, [text is not None for text in self.texts]] = self.forest.predict(x)
        return rewards

    @cached_property
    def forest(self) -> Forest | None:
        """All trees as one forest; raises StoreError for trees that it cannot read."""
        grown = [TextModel.of(text, self.where) for text in self.texts if text is not None]
        if not grown:
            return None
        in_place = np.arange(len(grown[0].names))
        return Forest.joined([Forest.of(model, in_place, self.where) for model in grown])


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
    history_prior: float
    """A customer's own difference counts n / (n + this) after n active moments."""
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
        seen, nothing = self._seen
        if self.model is None:
            gains = np.where(seen, self.population - self.population[nothing], np.nan)
            return np.broadcast_to(gains, (len(signals), len(gains))).copy()
        predicted, known = self.model(signals[:, self.columns]), signals[:, _OCCASIONS].astype(np.float64)
        return _gains(
            predicted, known, self.population, self.centre, seen, self.base, nothing, self.slope, self.history_prior
        )

    @cached_property
    def _seen(self) -> tuple[BoolArray, int]:
        """`seen` as an array, and the place of nothing among the arms."""
        return np.array(self.seen), self.arms.index(NOTHING)

    def write(self, folder: Path, learner: str) -> None:
        """The inverse of `load_effects`: EFFECTS_FILE and a file of trees per arm that has some; `learner` is a remark."""
        plain: dict[str, Any] = {
            "arms": list(self.arms),
            "signals": [signal_names()[column] for column in self.columns],
            "history_prior": self.history_prior,
            "personal": self.personal,
            "learner": learner,
            "base": self.arms[self.base],
            "slope": self.slope,
            "means": self.population.tolist(),
            "centre": self.centre.tolist(),
            "seen": list(self.seen),
        }
        if isinstance(self.model, TwoPart):
            plain["two_part"] = self.model.described()
        elif isinstance(self.model, LinearEffects):
            plain["linear"] = {name: value.tolist() for name, value in vars(self.model).items()}
        elif self.model is not None:
            plain["trees"] = []
            for arm, text, level in zip(self.arms, self.model.texts, self.model.levels.tolist(), strict=True):
                file = None if text is None else f"effect_{arm}.txt"
                plain["trees"].append({"file": file, "level": level})
                if text is not None:
                    (folder / str(file)).write_text(text, encoding="utf-8")
        (folder / EFFECTS_FILE).write_text(json.dumps(plain), encoding="utf-8")


def load_effects(folder: Path, where: str) -> EffectScorer | None:
    """The effects among a model's files, or None where it has none. Raises StoreError for signals nobody computes."""
    file = find_optional(folder, EFFECTS_FILE)
    if file is None:
        return None
    plain: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    position = {name: i for i, name in enumerate(signal_names())}
    unknown = [name for name in plain["signals"] if name not in position]
    if unknown:
        raise StoreError(
            f"{where} learned effects from the signal {unknown[0]!r}, which this version does not compute.",
            repair="Train the model again, or install the version it was trained with.",
        )
    return EffectScorer(
        arms=tuple(plain["arms"]),
        seen=tuple(plain["seen"]),
        population=np.array(plain["means"]),
        columns=np.array([position[name] for name in plain["signals"]], dtype=np.int64),
        history_prior=float(plain["history_prior"]),
        slope=float(plain["slope"]),
        centre=np.array(plain["centre"]),
        base=plain["arms"].index(plain["base"]),
        model=_model(plain, file.parent, where),
    )


@released
def _gains(
    predicted: FloatArray,
    known: FloatArray,
    population: FloatArray,
    centre: FloatArray,
    seen: BoolArray,
    base: int,
    nothing: int,
    slope: float,
    history_prior: float,
) -> FloatArray:
    """What arms bring a customer (n, arms), and after how many active moments (n,) that is said, to gains (n, arms)."""
    gains = np.empty(predicted.shape)
    for row in range(len(predicted)):
        moments = 0.0 if np.isnan(known[row]) else known[row]
        trust = moments / max(moments + history_prior, 1e-12)
        for arm in range(len(population)):
            own = slope * (predicted[row, arm] - predicted[row, base] - centre[arm])
            gains[row, arm] = population[arm] + trust * own
        of_nothing = gains[row, nothing]
        for arm in range(len(population)):
            gains[row, arm] = gains[row, arm] - of_nothing if seen[arm] else np.nan
    return gains


def filled(x: Float32Array, fill: FloatArray) -> FloatArray:
    """Features (n, F) with missing values put to `fill` (F,)."""
    return np.where(np.isfinite(x), x, fill).astype(np.float64)


def _model(plain: dict[str, Any], folder: Path, where: str) -> LinearEffects | TreeEffects | TwoPart | None:
    if "two_part" in plain:
        return TwoPart.of(plain["two_part"])
    if "linear" in plain:
        return LinearEffects(**{name: np.array(values) for name, values in plain["linear"].items()})
    if "trees" not in plain:
        return None
    files = [row["file"] for row in plain["trees"]]
    texts = tuple(None if file is None else read_text(folder / plain_name(file)) for file in files)
    effects = TreeEffects(texts, np.array([float(row["level"]) for row in plain["trees"]]), where)
    _ = effects.forest  # a file that cannot be read is refused now, not in an answer
    return effects
