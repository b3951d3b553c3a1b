"""Registered champions in, small scorers out: native LightGBM and ONNX on one thread, no pyfunc in the request path."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Final, cast

import lightgbm
import numpy as np

from features.arrays import Float32Array, FloatArray
from features.errors import MissingError, StoreError
from features.scoring.churn import SCORE_FILE, ChurnScore, spread
from features.scoring.contract import ContractScore, read_score
from features.scoring.effects import EffectScorer, load_effects
from features.scoring.forest import Forest
from features.scoring.model_files import find_file, find_optional
from features.scoring.next_product import ProductFiles
from features.scoring.win_back import SCORE_FILE as WIN_BACK_FILE
from features.scoring.win_back import WinBackScore
from features.signals import SIGNAL_NAMES
from features.vocabulary import Channel, Task
from serving.decision.rules import Arm
from serving.schemas import ModelInfo
from serving.scorers.model_card import ModelCard
from serving.scorers.next_product import ProductScorer
from serving.scorers.win_back import WinBackScorer

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
        found = self._booster.predict(signals[:, self._columns], pred_contrib=True, num_threads=1)
        return cast(FloatArray, found)[:, :-1]


@dataclass(frozen=True)
class ChurnScorer:
    """Chance of no purchase in the next `horizon_days`, or of a contract that is over by then; NaN for who has none.

    Versions from before the blend have no `score`: trees alone.
    """

    card: ModelCard
    booster: BoosterScorer
    horizon_days: float | None
    score: ChurnScore | ContractScore | None = None
    more: tuple["ChurnScorer", ...] = ()
    """Scorers of other horizons."""

    @property
    def of_contracts(self) -> bool:
        """Whether it is about contracts that end, not about customers who buy when they like."""
        return isinstance(self.score, ContractScore)

    def horizons(self, signals: Float32Array, probability: float) -> dict[float, float]:
        """Horizon to chance for one customer (n = 1), shortest first.

        A longer silence is never the likelier one, and a contract that is over stays so.
        """
        chances = {scorer.horizon_days or 0.0: float(scorer.probability(signals)[0]) for scorer in self.more}
        if self.horizon_days is not None:
            chances[self.horizon_days] = probability
        days = sorted(chances)
        own = days.index(self.horizon_days) if self.horizon_days in chances else 0
        after, before = (max, min) if self.of_contracts else (min, max)
        for at in range(own + 1, len(days)):
            chances[days[at]] = after(chances[days[at]], chances[days[at - 1]])
        for at in range(own - 1, -1, -1):
            chances[days[at]] = before(chances[days[at]], chances[days[at + 1]])
        return {horizon: chances[horizon] for horizon in days}

    def probability(self, signals: Float32Array) -> FloatArray:
        """Signals (n, F) to (n,)."""
        if self.score is None:
            return self.booster.probability(signals)
        return self.score.probability(signals, self.booster.raw(signals))

    def contributions(self, signals: Float32Array) -> FloatArray:
        """What every signal adds to the log-odds, (n, F); about 5 ms a row."""
        trees = spread(self.booster.names, self.booster.contributions(signals))
        return trees if self.score is None else self.score.contributions(signals, trees)

    def expectations(self, signals: Float32Array) -> tuple[FloatArray, FloatArray | None] | None:
        """Expected purchases and revenue (n,) within the horizon; None where the model does not know."""
        if not isinstance(self.score, ChurnScore):
            return None
        return self.score.expected_purchases(signals), self.score.expected_revenue(signals)


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
        found = self.effects.gains(signals)
        known = {name: i for i, name in enumerate(self.effects.arms)}
        blank = np.full(len(signals), np.nan)
        return np.column_stack([found[:, known[arm.name]] if arm.name in known else blank for arm in self.arms])


Scorer = ChurnScorer | ChannelScorer | ProductScorer | WinBackScorer


@dataclass(frozen=True)
class Bundle:
    """The models that answer together; swapped whole."""

    churn: ChurnScorer | None = None
    channel: ChannelScorer | None = None
    product: ProductScorer | None = None
    problems: Mapping[Task, str] = field(default_factory=dict)
    win_back: WinBackScorer | None = None

    def need_churn(self) -> ChurnScorer:
        """The churn model; raises MissingError with the command that makes it."""
        if self.churn is None:
            raise self._missing(Task.CHURN)
        return self.churn

    def need_channel(self) -> ChannelScorer:
        """The best-channel model; raises MissingError with the command that makes it."""
        if self.channel is None:
            raise self._missing(Task.BEST_CHANNEL)
        return self.channel

    def need_product(self) -> ProductScorer:
        """The next-product model; raises MissingError with the command that makes it."""
        if self.product is None:
            raise self._missing(Task.NEXT_PRODUCT)
        return self.product

    def need_win_back(self) -> WinBackScorer:
        """The win-back model; raises MissingError with the command that makes it."""
        if self.win_back is None:
            raise self._missing(Task.WIN_BACK)
        return self.win_back

    def card(self, task: Task) -> ModelCard | None:
        """The card of a task's model."""
        scorer = {
            Task.CHURN: self.churn,
            Task.BEST_CHANNEL: self.channel,
            Task.NEXT_PRODUCT: self.product,
            Task.WIN_BACK: self.win_back,
        }[task]
        return scorer.card if scorer is not None else None

    def infos(self) -> list[ModelInfo]:
        """One line per task, ready or not."""
        return [self._info(task) for task in Task]

    def _info(self, task: Task) -> ModelInfo:
        card = self.card(task)
        if card is None:
            return ModelInfo(task=task, ready=False, problem=str(self._missing(task)))
        return ModelInfo(
            task=task,
            ready=True,
            version=card.version,
            feature_service=card.feature_service,
            trained_at=card.trained_at or None,
            run_id=card.run_id or None,
            problem=self.problems.get(task),
        )

    def _missing(self, task: Task) -> MissingError:
        problem = self.problems.get(task)
        if problem:
            return MissingError(problem)
        return MissingError(f"There is no champion for {task.value} yet.", repair=f"Run `omni train {task.value}`.")


def load_scorer(card: ModelCard, metadata: Mapping[str, Any], folder: Path) -> Scorer:
    """Load a model's files from a local folder; `metadata` is what training wrote into MLmodel.

    Raises StoreError where the files are not as expected.
    """
    where = f"Model {card.task.value} version {card.version}"
    match card.task:
        case Task.CHURN:
            booster = BoosterScorer(lightgbm.Booster(model_file=str(find_file(folder, "model.lgb", where))), where)
            horizon = metadata.get("horizon_days", dict(metadata.get("config") or {}).get("horizon_days"))
            file = find_optional(folder, SCORE_FILE)
            score = None if file is None else read_score(file.read_text(encoding="utf-8"))
            more = tuple(_horizon(card, file, where) for file in sorted(folder.rglob("horizon_*.json")))
            return ChurnScorer(card, booster, None if horizon is None else float(horizon), score, more)
        case Task.BEST_CHANNEL:
            described = find_file(folder, "arms.json", where)
            arms = tuple(_arm(row) for row in json.loads(described.read_text(encoding="utf-8")))
            boosters = tuple(
                BoosterScorer(lightgbm.Booster(model_file=str(find_file(folder, f"{arm.name}.txt", where))), where)
                for arm in arms
            )
            return ChannelScorer(card, arms, boosters, load_effects(folder, where))
        case Task.NEXT_PRODUCT:
            return ProductScorer(card, ProductFiles.load(folder, where))
        case Task.WIN_BACK:
            file = find_file(folder, WIN_BACK_FILE, where)
            return WinBackScorer(card, WinBackScore.from_json(file.read_text(encoding="utf-8"), where))


def _horizon(card: ModelCard, file: Path, where: str) -> ChurnScorer:
    """Another horizon of a churn model, from its two files."""
    score = read_score(file.read_text(encoding="utf-8"))
    booster = BoosterScorer(lightgbm.Booster(model_file=str(file.with_suffix(".lgb"))), where)
    return ChurnScorer(card, booster, score.horizon_days, score)


def _arm(row: Mapping[str, Any]) -> Arm:
    hours = row.get("hours")
    return Arm(
        name=str(row["arm"]),
        channel=Channel(row["channel"]),
        cost=float(row.get("cost") or 0.0),
        hours=None if hours is None else (int(hours[0]), int(hours[1])),
    )
