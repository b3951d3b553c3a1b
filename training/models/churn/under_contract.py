"""The log's contracts in, the chance that each running one is over at the horizon out: `omni train churn`, kind "contract".

At risk at a cutoff is who is under contract then; churned is who is under none at the horizon. Learned on snapshots at past
cutoffs whose windows end by the test cutoff, with settings and calibration from customers left out of each fit, and
measured on one last snapshot of everybody under contract. Who joined after a cutoff is in no row of it, and a contract that
runs beyond the end of the log counts in the windows that are over and in no other, so nothing is censored into a label.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import lightgbm as lgb
import numpy as np

from features.arrays import Float32Array, FloatArray
from features.errors import InputError
from features.scoring.contract import ContractScore
from features.signals import signal_index
from features.vocabulary import Columns, Task
from training.data.contracts import contract_entities, contract_span
from training.data.splits import shorter
from training.data.training_set import TrainingSet, build_training_set
from training.models.boosted import logistic_scores, predict
from training.models.churn.blend import MIN_ROWS_OF_A_CLASS, customer_folds
from training.models.churn.config import ChurnConfig
from training.models.churn.contract import Encoded, fit_contracts
from training.models.churn.measure import ChurnData, Measured, measure_scores
from training.task import TrainContext

MAX_PAST_ROWS: Final = 30_000
"""More rows than these mean fewer past cutoffs, the latest ones."""
AGE: Final = ("contract_days", "contract_days_left")


@dataclass(frozen=True)
class ContractBlend:
    """The score's arithmetic and its trees, as `training.models.churn.blend.Blend` for purchases."""

    score: ContractScore
    booster: lgb.Booster
    history: tuple[float, ...] = ()

    def probability(self, features: Float32Array) -> FloatArray:
        """All signals (n, F) to the chance that the contract is over at the horizon (n,); NaN without a contract."""
        return self.score.probability(features, predict(self.booster, self._columns(features), raw=True))

    def _columns(self, features: Float32Array) -> Float32Array:
        return features[:, signal_index(tuple(self.booster.feature_name()))]


def contract_snapshots(
    ctx: TrainContext, cutoffs: Callable[[datetime, datetime, ChurnConfig], list[datetime]]
) -> ChurnData:
    """Everybody under contract at the last cutoff and at the past ones that `cutoffs` names.

    Raises InputError where the log holds no contract, or too few that ended, or is too short.
    """
    config: ChurnConfig = ctx.config
    span = contract_span(ctx.settings.timeline_path)
    cutoff = span.end - timedelta(days=config.horizon_days)
    past = cutoffs(span.start, cutoff, config) if cutoff > span.start else []
    if not past:
        raise InputError(
            f"The contracts are known from {span.start:%Y-%m-%d} to {span.end:%Y-%m-%d}: too short for a test and a past "
            f"window of {config.horizon_days:g} days each.",
            repair=shorter((span.end - span.start) / timedelta(days=1), 3),
        )
    ctx.progress(f"churn: contracts at {len(past)} past cutoffs")
    entities = contract_entities(ctx.settings.timeline_path, [*past, cutoff], config.horizon_days)
    at = entities[Columns.AS_OF]
    later = at.map(at[at < cutoff].value_counts().sort_index(ascending=False).cumsum())
    entities = entities[(at == cutoff) | (later <= MAX_PAST_ROWS) | (at == past[-1])].reset_index(drop=True)
    whole = build_training_set(
        entities,
        Task.CHURN,
        ctx.store,
        f"{span.start.isoformat()}/{cutoff.isoformat()}/contracts",
        progress=ctx.progress,
    )
    as_of = whole.entities[Columns.AS_OF]
    known, test = whole.select((as_of < cutoff).to_numpy()), whole.select((as_of == cutoff).to_numpy())
    few = int(min(known.labels.sum(), (1 - known.labels).sum()))
    if not len(test) or few < MIN_ROWS_OF_A_CLASS:
        raise InputError(
            f"{int(known.labels.sum())} of {len(known)} contracts were over at the horizon, in the past windows, and "
            f"{len(test)} run at {cutoff:%Y-%m-%d}.",
            repair=f"Bring at least {MIN_ROWS_OF_A_CLASS} that ended and that went on, or set a longer horizon_days.",
        )
    ctx.progress(f"churn: {len(known):,} past rows, {test.labels.mean():.1%} of the {len(test):,} test contracts ended")
    return ChurnData(known, test, cutoff, span.start, config.horizon_days)


def fit_contract_blend(data: ChurnData, config: ChurnConfig, seed: int) -> ContractBlend:
    """The blend of splines and small trees, its settings chosen on customers left out; sees no label of the test."""
    known = _known(data)
    columns = _encoded(known, config.contract_signals)
    folds = customer_folds(known.entities[Columns.CUSTOMER_ID])
    model = fit_contracts(columns, known.labels, folds, config.contract, seed, named=True)
    usual = model.additive.parts(columns.numeric).mean(axis=0)
    score = ContractScore(
        config.horizon_days, model.additive, model.share, model.slope, model.shift, tuple(usual.tolist())
    )
    return ContractBlend(score, model.booster, model.curve)


def measure_contracts(data: ChurnData, scores: FloatArray, signals: Sequence[str], seed: int) -> Measured:
    """The chances (n,) on the test snapshot beside everybody the same, the age of the contract, and a plain regression."""
    known, test = _known(data), data.test
    baselines = {"base_rate": np.full(len(test), known.labels.mean())}
    for name, columns in (("contract_age", AGE), ("logistic", tuple(signals))):
        baselines[name] = logistic_scores((known.columns(columns), known.labels), test.columns(columns))
    return measure_scores(test, scores, baselines, seed)


def _known(data: ChurnData) -> TrainingSet:
    assert data.known is not None  # contract_snapshots gives none without
    return data.known


def _encoded(rows: TrainingSet, signals: Sequence[str]) -> Encoded:
    return Encoded(rows.columns(signals).astype(np.float64), np.zeros((len(rows), 0)), tuple(signals))
