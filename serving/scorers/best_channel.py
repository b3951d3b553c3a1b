"""The best-channel model as a scorer: signals in, each arm's chance of a response and its gain over nothing out."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from glob import escape
from pathlib import Path
from typing import Any

import numpy as np

from features.arrays import Float32Array, FloatArray
from features.scoring.effects import EffectScorer, load_effects
from features.scoring.forest import Forest
from features.scoring.model_files import find_file
from features.scoring.tree_text import read_text
from features.vocabulary import Channel
from serving.decision.rules import Arm
from serving.scorers.booster import BoosterScorer
from serving.scorers.model_card import ModelCard


@dataclass(frozen=True)
class ChannelScorer:
    """Chance of a response, per arm; and where decisions were logged to learn from, what each arm gains over nothing."""

    card: ModelCard
    arms: tuple[Arm, ...]
    boosters: tuple[BoosterScorer, ...]
    effects: EffectScorer | None = None

    @property
    def personal(self) -> bool:
        """Whether what an arm does differs between customers."""
        return self.effects is not None and self.effects.personal

    @cached_property
    def _forest(self) -> Forest:
        return Forest.joined([booster.forest for booster in self.boosters])

    def probabilities(self, signals: Float32Array) -> FloatArray:
        """Signals (n, F) to (n, arms)."""
        return self._forest.predict(signals)

    def gains(self, signals: Float32Array) -> FloatArray:
        """Signals (n, F) to gains over nothing (n, arms); NaN where none is known."""
        if self.effects is None:
            return np.full((len(signals), len(self.arms)), np.nan)
        gains = np.full((len(signals), len(self.arms)), np.nan)
        here, there = self._in_effects
        gains[:, here] = self.effects.gains(signals)[:, there]
        return gains

    @cached_property
    def _in_effects(self) -> tuple[list[int], list[int]]:
        """The arms that the effects know: their places here, and there."""
        known = {} if self.effects is None else {name: i for i, name in enumerate(self.effects.arms)}
        both = [(i, known[arm.name]) for i, arm in enumerate(self.arms) if arm.name in known]
        return [here for here, _ in both], [there for _, there in both]


def load_best_channel(card: ModelCard, folder: Path, where: str) -> ChannelScorer:
    """The scorer of a model's files; `where` names the model. Raises StoreError where the files are not as expected."""
    described = find_file(folder, "arms.json", where)
    arms = tuple(_arm(row) for row in json.loads(described.read_text(encoding="utf-8")))
    boosters = tuple(
        BoosterScorer(read_text(find_file(folder, f"{escape(arm.name)}.txt", where)), where) for arm in arms
    )
    return ChannelScorer(card, arms, boosters, load_effects(folder, where))


def _arm(row: Mapping[str, Any]) -> Arm:
    hours = row.get("hours")
    return Arm(
        name=str(row["arm"]),
        channel=Channel(row["channel"]),
        cost=float(row.get("cost") or 0.0),
        hours=None if hours is None else (int(hours[0]), int(hours[1])),
    )
