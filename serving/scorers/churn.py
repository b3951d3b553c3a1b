"""The churn model as a scorer: signals in; chances per horizon, expected purchases and revenue, contributions out.

A prospect, who never bought, has neither churn nor expectations: NaN.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from features.arrays import BoolArray, Float32Array, FloatArray
from features.errors import ModelError
from features.online.live import LiveState
from features.scoring.churn import SCORE_FILE, ChurnScore, prospects
from features.scoring.churn_kernel import CompiledChurn
from features.scoring.contract import ContractScore, read_score, under_contract
from features.scoring.model_files import find_all, find_file, find_optional
from features.scoring.tree_text import read_text
from features.state.batch import StateBatch
from serving.schemas import Status
from serving.scorers.booster import BoosterScorer
from serving.scorers.model_card import ModelCard


@dataclass(frozen=True)
class ChurnScorer:
    """Chance of no purchase in the next `horizon_days`, or of a contract that is over by then; NaN for who has none.

    Of purchases nobody is asked who never bought (NaN), unless the model counts other activity too.

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
        """Horizon to chance for one customer (n = 1), shortest first."""
        return {
            days: float(chances[0]) for days, chances in self.many_horizons(signals, np.array([probability])).items()
        }

    def many_horizons(self, signals: Float32Array, probability: FloatArray) -> dict[float, FloatArray]:
        """Horizon to chances (n,), shortest first, where the served one has those.

        A longer silence is never the likelier one, and a contract that is over stays so.
        """
        chances = {scorer.horizon_days or 0.0: scorer.probability(signals) for scorer in self.more}
        if self.horizon_days is not None:
            chances[self.horizon_days] = probability
        days = sorted(chances)
        served = days.index(self.horizon_days) if self.horizon_days in chances else 0
        after, before = (np.maximum, np.minimum) if self.of_contracts else (np.minimum, np.maximum)
        for at in range(served + 1, len(days)):
            chances[days[at]] = after(chances[days[at]], chances[days[at - 1]])
        for at in range(served - 1, -1, -1):
            chances[days[at]] = before(chances[days[at]], chances[days[at + 1]])
        return {horizon: chances[horizon] for horizon in days}

    def probability(self, signals: Float32Array) -> FloatArray:
        """Signals (n, F) to (n,)."""
        if self.score is None:
            return _of_buyers(self.booster.probability(signals), signals)
        if self._compiled is None:
            return self.score.probability(signals, self.booster.raw(signals))
        return self._compiled.chances(signals, self.booster.raw(signals))

    def asked(self, signals: Float32Array) -> BoolArray:
        """Of which customers with signals (n, F) there is a chance at all (n,); of the others it is NaN."""
        if isinstance(self.score, ContractScore):
            return under_contract(signals)
        if self.score is not None and not self.score.buyers_only:
            return np.ones(len(signals), np.bool_)
        return ~prospects(signals)

    def chances(self, signals: Float32Array) -> FloatArray:
        """Signals (n, F) to (n,), like `probability`. Raises ModelError where it gives no number and should."""
        chances = self.probability(signals)
        if np.isnan(chances).any() and np.isnan(chances[self.asked(signals)]).any():
            raise ModelError(
                f"{self.card.name} gives a chance that is no number.",
                repair="Go back: omni rollback churn, or train again.",
            )
        return chances

    def contributions(self, signals: Float32Array) -> FloatArray:
        """What every signal adds to the log-odds, (n, F)."""
        trees = self.booster.contributions(signals)
        return trees if self.score is None else self.score.contributions(signals, trees)

    def expectations(self, signals: Float32Array) -> tuple[FloatArray, FloatArray | None] | None:
        """Expected purchases and revenue (n,) within the horizon, NaN of prospects; None where the model does not know."""
        return None if self._compiled is None else self._compiled.expectations(signals)

    @cached_property
    def _compiled(self) -> CompiledChurn | None:
        return CompiledChurn(self.score) if isinstance(self.score, ChurnScore) else None


def status_of(live: LiveState) -> Status:
    """Whether they ever bought or had a contract; nothing is guessed there, so it is said of who refused profiling too."""
    return statuses_of(live.state)[0]


def statuses_of(states: StateBatch) -> list[Status]:
    """`status_of` of n customers."""
    is_customer = np.isfinite(states.scalar("last_occasion")) | (states.scalar("n_contracts") > 0)
    return ["customer" if known else "prospect" for known in is_customer.tolist()]


def load_churn(card: ModelCard, metadata: Mapping[str, Any], folder: Path, where: str) -> ChurnScorer:
    """The scorer of a model's files; `where` names the model. Raises StoreError where the files are not as expected."""
    booster = BoosterScorer(read_text(find_file(folder, "model.lgb", where)), where)
    horizon = metadata.get("horizon_days", dict(metadata.get("config") or {}).get("horizon_days"))
    file = find_optional(folder, SCORE_FILE)
    score = None if file is None else read_score(file.read_text(encoding="utf-8"))
    more = tuple(_horizon(card, file, where) for file in find_all(folder, "horizon_*.json"))
    return ChurnScorer(card, booster, None if horizon is None else float(horizon), score, more)


def _of_buyers(values: FloatArray, signals: Float32Array) -> FloatArray:
    """Values (n,), NaN of those with signals (n, F) who never bought."""
    return np.where(prospects(signals), np.nan, values)


def _horizon(card: ModelCard, file: Path, where: str) -> ChurnScorer:
    """Another horizon of a churn model, from its two files."""
    score = read_score(file.read_text(encoding="utf-8"))
    booster = BoosterScorer(read_text(file.with_suffix(".lgb")), where)
    return ChurnScorer(card, booster, score.horizon_days, score)


def cannot_leave(live: LiveState) -> dict[str, Any]:
    """What is said where churn is asked of who never bought; nothing where it is null for another reason."""
    if status_of(live) == "customer":
        return {}
    return {"reason": "never bought", "note": "not a customer yet: who never bought cannot leave"}
