"""The models that answer together: champions' files in, one scorer per task out, swapped whole.

Native LightGBM and ONNX on one thread; no pyfunc in the request path.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from features.errors import MissingError
from features.scoring.model_files import find_file
from features.scoring.next_product import ProductFiles
from features.scoring.win_back import SCORE_FILE, WinBackScore
from features.vocabulary import Task
from serving.schemas import ModelInfo
from serving.scorers.best_channel import ChannelScorer, load_best_channel
from serving.scorers.churn import ChurnScorer, load_churn
from serving.scorers.model_card import ModelCard
from serving.scorers.next_product import ProductScorer
from serving.scorers.win_back import WinBackScorer

Scorer = ChurnScorer | ChannelScorer | ProductScorer | WinBackScorer


LOADING: Final = "The models are being loaded: try again in a few seconds."
"""What is told of a model before the registry has been looked at; whether there is one is not known then."""


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

    def problem(self, task: Task) -> str:
        """Why a task has no model, and the command that makes it."""
        return str(self._missing(task))

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
            return load_churn(card, metadata, folder, where)
        case Task.BEST_CHANNEL:
            return load_best_channel(card, folder, where)
        case Task.NEXT_PRODUCT:
            return ProductScorer(card, ProductFiles.load(folder, where))
        case Task.WIN_BACK:
            file = find_file(folder, SCORE_FILE, where)
            return WinBackScorer(card, WinBackScore.from_json(file.read_text(encoding="utf-8"), where))
