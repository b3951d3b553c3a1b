"""Best channel's figures: scores of the test contacts in; metrics per arm and over all, beside simple methods', out."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd

from features.arrays import FloatArray
from features.evaluation.resampling import Metric, Sampled, average, resample
from features.vocabulary import Columns
from training.data.training_set import TrainingSet
from training.evaluation.metrics import BINARY, LOWER_IS_BETTER
from training.models.best_channel.data import PRIOR_RATE, ArmData
from training.models.boosted import logistic_scores, shrunk_rate
from training.task import evaluation_table

PRIMARY: Final = "log_loss"
RFM: Final = ("days_since_occasion", "n_occasions", "occasions_90d", "spend_90d", "basket_lines")
N_BOOTSTRAP: Final = 300


@dataclass(frozen=True)
class Measured:
    """Metrics per arm (`auc/<arm>`) and their means over the arms (`auc`); the same for every baseline."""

    metrics: dict[str, Metric]
    baselines: dict[str, dict[str, Metric]]
    gains: dict[str, Metric]


def measure(data: Sequence[ArmData], scores: Sequence[FloatArray], seed: int) -> Measured:
    """Everything on the test contacts, customers resampled over all arms at once."""
    ours = _sampled(data, scores, seed)
    rivals = {name: _sampled(data, rival, seed) for name, rival in baseline_scores(data).items()}
    sign = -1.0 if PRIMARY in LOWER_IS_BETTER else 1.0
    gains: dict[str, Metric] = {}
    for name, rival in rivals.items():
        for metric in [key for key in ours if key.split("/")[0] == PRIMARY]:
            gain = ours[metric].minus(rival[metric])
            label = name if metric == PRIMARY else f"{name}/{metric.split('/')[1]}"
            gains[label] = Sampled(sign * gain.point, sign * gain.draws).metric()
    return Measured(
        metrics={key: value.metric() for key, value in ours.items()},
        baselines={name: {key: value.metric() for key, value in rival.items()} for name, rival in rivals.items()},
        gains=gains,
    )


def baseline_scores(data: Sequence[ArmData]) -> dict[str, list[FloatArray]]:
    """Test scores per arm of the simple methods, fitted on training and validation rows together.

    The arm's rate for everybody; the customer's record of answering the channel, which "most engaged channel" features
    go by; a logistic regression on log-RFM and that record.
    """
    found: dict[str, list[FloatArray]] = {"base_rate": [], "most_engaged": [], "log_rfm": []}
    for part in data:
        known = part.train.joined(part.valid)
        channel = part.config.channel.value
        record = (f"response_rate_{channel}", f"days_since_response_{channel}")
        found["base_rate"].append(np.full(len(part.test), shrunk_rate(known.labels, PRIOR_RATE, 1.0)))
        found["most_engaged"].append(_logistic(part, known, record[:1]))
        found["log_rfm"].append(_logistic(part, known, (*RFM, *record)))
    return found


def evaluation(data: Sequence[ArmData], scores: Sequence[FloatArray]) -> pd.DataFrame:
    """The test contacts of all arms as TrainedModel.evaluation wants them."""
    tables = []
    for part, score in zip(data, scores, strict=True):
        contacts, name = part.test.entities, part.config.name
        tables.append(evaluation_table(contacts, part.test.labels, score, name, name + "@" + contacts["key"]))
    return pd.concat(tables, ignore_index=True)


def _sampled(data: Sequence[ArmData], scores: Sequence[FloatArray], seed: int) -> dict[str, Sampled]:
    groups = np.concatenate([part.test.entities[Columns.CUSTOMER_ID].to_numpy(str) for part in data])
    ends = np.cumsum([len(part.test) for part in data])
    statistics = {}
    for part, score, end in zip(data, scores, ends, strict=True):
        rows = slice(int(end) - len(part.test), int(end))
        for name, make in BINARY.items():
            inner = make(part.test.labels, score)
            statistics[f"{name}/{part.config.name}"] = lambda w, rows=rows, inner=inner: inner(w[rows])
    found = resample(statistics, groups, n_bootstrap=N_BOOTSTRAP, seed=seed)
    overall = {name: average([found[f"{name}/{part.config.name}"] for part in data]) for name in BINARY}
    return {**overall, **found}


def _logistic(part: ArmData, known: TrainingSet, names: Sequence[str]) -> FloatArray:
    if len(np.unique(known.labels)) < 2:
        return np.full(len(part.test), shrunk_rate(known.labels, PRIOR_RATE, 1.0))
    return logistic_scores((known.columns(names), known.labels), part.test.columns(names))
