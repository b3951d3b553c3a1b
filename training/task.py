"""The contract of a task: what a model's training function takes, and what it hands back."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from features.arrays import FloatArray
from features.evaluation.resampling import Metric
from features.settings import Settings
from features.vocabulary import Columns, Task

if TYPE_CHECKING:
    from features.store.feature_store import Store
    from training.run import Run

Progress = Callable[[str], None]
"""Takes one line of text for the person who waits."""


@dataclass(frozen=True)
class TrainContext:
    """Everything a training function may use; nothing else is read from the outside."""

    settings: Settings
    store: "Store"
    config: Any
    run: "Run"
    seed: int
    progress: Progress


@dataclass(frozen=True)
class PolicyEvidence:
    """What a policy earns in each of n logged decisions that it was not learned from, as the gates compare two versions.

    `scores` (n,) are doubly robust, of the customers `groups` (n,); `logged` (n,) is what the decisions really earned.
    `rival` takes the folder of another version's files and answers its scores of the same decisions, or None where that
    version chooses by no effects. `refusal` says why the log cannot tell, or nothing; without `learned` this version
    chooses by no effects itself.
    """

    learned: bool
    refusal: str
    groups: NDArray[np.str_]
    scores: FloatArray
    logged: FloatArray
    rival: Callable[[Path], FloatArray | None]


@dataclass(frozen=True)
class TrainedModel:
    """A fitted model, measured on a test period that neither fitting nor calibration saw.

    `metrics` are the model's own, `baselines` maps a simple method's name to the same metrics, `seconds` and `rows`
    say where time and data went, `metadata` goes into the model's file. `log_model` writes the model into the run and
    answers its URI. `evaluation` has one line per test row, with `key` (the same for the same row in another run),
    `customer_id`, `label`, `score` and `part` (e.g. an arm): with it two versions are compared in pairs. For ranking
    metrics, which are means over customers, `score` is the metric's value in that row and `label` is missing.
    `rescore` takes the folder of another version's model files and answers its scores on the same rows, in order.
    `gains` maps a baseline's name to the paired difference of the primary metric, model minus baseline. `policy` is there
    where a model chooses between ways of acting.
    """

    task: Task
    metrics: Mapping[str, Metric]
    baselines: Mapping[str, Mapping[str, Metric]]
    seconds: Mapping[str, float]
    rows: Mapping[str, int]
    metadata: Mapping[str, Any]
    log_model: "Callable[[Run], str]"
    evaluation: pd.DataFrame | None = None
    rescore: Callable[[Path], FloatArray] | None = None
    gains: Mapping[str, Metric] = field(default_factory=dict)
    policy: PolicyEvidence | None = None


def evaluation_table(
    entities: pd.DataFrame, labels: FloatArray | None, scores: FloatArray, part: str, keys: pd.Series | None = None
) -> pd.DataFrame:
    """Test rows (n,) as TrainedModel.evaluation wants them; `labels` are left out where a score is a metric's value.

    `keys` (n,) are made of the customer and the moment where not given.
    """
    customers = entities[Columns.CUSTOMER_ID]
    return pd.DataFrame(
        {
            "key": customers + "@" + entities[Columns.AS_OF].astype(str) if keys is None else keys,
            Columns.CUSTOMER_ID: customers,
            "label": np.nan if labels is None else labels,
            "score": scores,
            "part": part,
        }
    )
