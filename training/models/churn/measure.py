"""Past snapshots, a test snapshot and its scores in, metrics, baselines, paired gains and slices out."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

import numpy as np
from numpy.typing import NDArray

from features.arrays import BoolArray, FloatArray
from features.evaluation.resampling import Metric, Sampled, Statistic, resample
from features.scoring.churn import ChurnScore, summary
from features.vocabulary import CHANNELS, Channel, Columns
from training.data.training_set import TrainingSet
from training.evaluation.metrics import BINARY, CHURN, binary_metrics
from training.models.boosted import logistic_scores
from training.models.churn.bg_nbd_fit import fit_rates
from training.models.churn.revenue import measure_revenue

PRIMARY: Final = "log_loss"
RECENCY: Final = ("days_since_occasion",)
RFM: Final = ("days_since_occasion", "n_occasions", "occasions_90d", "spend_90d", "spend_365d")
_SLICE_METRICS: Final = ("auc", "log_loss", "ece")
_MIN_SLICE_ROWS: Final = 100
_MIN_SLICE_CLASS: Final = 10
_N_SLICE_BOOTSTRAP: Final = 200


@dataclass(frozen=True)
class ChurnData:
    """Snapshots at past cutoffs whose label windows end by `cutoff` (None where the log is too short), the test
    snapshot at `cutoff`, and where the log begins.
    """

    known: TrainingSet | None
    test: TrainingSet
    cutoff: datetime
    start: datetime
    horizon_days: float


@dataclass(frozen=True)
class Measured:
    """The model's metrics, the baselines', the paired gains over each on the primary metric, and the slices'."""

    metrics: dict[str, Metric]
    baselines: dict[str, dict[str, Metric]]
    gains: dict[str, Metric]
    slices: dict[str, dict[str, Metric]]


def measure(data: ChurnData, scores: FloatArray, seed: int, score: ChurnScore) -> Measured:
    """Everything on the test snapshot; the baselines are fitted on the same rows as the model.

    `scores` (n,) are the chances of churn; `score` says what is expected to be spent.
    """
    report = measure_scores(data.test, scores, baseline_scores(data), seed)
    groups = data.test.entities[Columns.CUSTOMER_ID].to_numpy()
    revenue, rivals = measure_revenue(score, data.test, groups, seed)
    return replace(report, metrics={**report.metrics, **revenue}, baselines={**report.baselines, **rivals})


def measure_scores(test: TrainingSet, scores: FloatArray, baselines: Mapping[str, FloatArray], seed: int) -> Measured:
    """Chances of churn (n,) and those of simple ways on the test snapshot."""
    labels, groups = test.labels, test.entities[Columns.CUSTOMER_ID].to_numpy()
    everybody = {"": scores, **baselines}
    statistics = {
        (name, metric): make(labels, values) for name, values in everybody.items() for metric, make in CHURN.items()
    }
    sampled = _resample(statistics, groups, seed)
    metrics = {name: {metric: sampled[name, metric].metric() for metric in CHURN} for name in everybody}
    ours = sampled["", PRIMARY]
    return Measured(
        metrics=metrics.pop(""),
        baselines=metrics,
        gains={name: sampled[name, PRIMARY].minus(ours).metric() for name in metrics},
        slices=measure_slices(test, scores, seed),
    )


def baseline_scores(data: ChurnData) -> Mapping[str, FloatArray]:
    """Test scores (n,) of: everybody the same, recency alone, a logistic regression on log-RFM, BG/NBD.

    BG/NBD needs no labels; the others are left out where the past holds no churner or no returner.
    """
    rates = fit_rates(summary(data.test.features))
    scores = {"bg_nbd": rates.silence_probability(summary(data.test.features), data.horizon_days)}
    known = data.known
    if known is None or not 0 < known.labels.sum() < len(known):
        return scores
    return {
        "base_rate": np.full(len(data.test), known.labels.mean()),
        "recency": logistic_scores((known.columns(RECENCY), known.labels), data.test.columns(RECENCY)),
        "log_rfm": logistic_scores((known.columns(RFM), known.labels), data.test.columns(RFM)),
        **scores,
    }


def measure_slices(test: TrainingSet, scores: FloatArray, seed: int) -> dict[str, dict[str, Metric]]:
    """Metrics by 'slice.level' (e.g. 'tenure.short'); slices too small for a figure are left out."""
    customers = test.entities[Columns.CUSTOMER_ID].to_numpy()
    slices = {}
    for name, rows in slice_rows(test).items():
        y = test.labels[rows]
        if len(y) < _MIN_SLICE_ROWS or min(y.sum(), (1 - y).sum()) < _MIN_SLICE_CLASS:
            continue
        slices[name] = binary_metrics(
            y,
            scores[rows],
            customers[rows],
            n_bootstrap=_N_SLICE_BOOTSTRAP,
            seed=seed,
            metrics={metric: BINARY[metric] for metric in _SLICE_METRICS},
        )
    return slices


def slice_rows(test: TrainingSet) -> dict[str, BoolArray]:
    """Which rows (n,) belong to each third of tenure and of value, and to each mix of channels bought on."""
    slices: dict[str, BoolArray] = {}
    for name, signal, words in (
        ("tenure", "days_since_first_purchase", ("short", "middle", "long")),
        ("value", "spend_365d", ("low", "middle", "high")),
    ):
        values = test.column(signal)
        if not np.isfinite(values).any() or np.nanmin(values) == np.nanmax(values):
            continue
        third = np.searchsorted(np.nanquantile(values, [1 / 3, 2 / 3]), values, side="left")
        slices |= {f"{name}.{word}": third == i for i, word in enumerate(words)}
    bought = {channel: test.column(f"purchases_{channel.value}_90d") > 0.01 for channel in CHANNELS}
    store = bought[Channel.STORE]
    online = np.any([rows for channel, rows in bought.items() if channel is not Channel.STORE], axis=0)
    if online.any():
        slices |= {
            "channels.store_only": store & ~online,
            "channels.online_only": online & ~store,
            "channels.both": store & online,
        }
    return slices


def _resample(
    statistics: Mapping[tuple[str, str], Statistic], groups: NDArray[np.object_], seed: int
) -> dict[tuple[str, str], Sampled]:
    names = {f"{name}|{metric}": (name, metric) for name, metric in statistics}
    draws = resample({key: statistics[pair] for key, pair in names.items()}, groups, seed=seed)
    return {names[key]: sampled for key, sampled in draws.items()}
