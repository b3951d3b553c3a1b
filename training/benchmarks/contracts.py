"""A table of contracts in, the report out: the blend beside logistic regression and LightGBM's defaults, by repeated folds.

Every figure is the mean over the repeats; in each repeat every row is predicted once, by a model that did not see it.
"""

import time
from pathlib import Path
from typing import Final

import lightgbm as lgb
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import expit
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from sklearn.preprocessing import StandardScaler

from features.arrays import FloatArray
from features.errors import InputError
from features.vocabulary import Task
from training.benchmarks.contract_model import ContractConfig, Encoded, encode, fit_predict, read_contracts
from training.benchmarks.report import BenchmarkReport
from training.evaluation.metrics import CHURN, Metric, average, resample
from training.task import Progress

OURS: Final = "model"
PRIMARY: Final = "log_loss"


def benchmark_contracts(
    table: pd.DataFrame,
    source: Path,
    *,
    label: str | None = None,
    config: ContractConfig | None = None,
    n_folds: int = 5,
    n_repeats: int = 3,
    seed: int = 0,
    progress: Progress = lambda _: None,
) -> BenchmarkReport:
    """Stratified folds, repeated. Intervals resample customers, the repeats of one customer together.

    Raises InputError when the table has no usable churn column or a class has fewer rows than there are folds.
    """
    config = config or ContractConfig()
    contracts = read_contracts(table, label)
    labels = contracts.labels
    if min(labels.sum(), (1 - labels).sum()) < n_folds * config.inner_folds:
        raise InputError(
            f"{source} has {int(labels.sum())} churners among {len(labels)} customers.",
            repair=f"Give at least {n_folds * config.inner_folds} of each.",
        )
    data = encode(contracts.columns)
    if not data.names:
        raise InputError(f"{source} has no column to learn from.", repair="Give columns beside the id and the label.")
    repeats: dict[str, list[FloatArray]] = {OURS: [], "logistic": [], "lightgbm_defaults": []}
    seconds = {"fit": 0.0, "predict": 0.0}
    for repeat in range(n_repeats):
        held = {name: np.empty(len(labels)) for name in repeats}
        folds = StratifiedKFold(n_folds, shuffle=True, random_state=seed + repeat)
        for fold, (train, test) in enumerate(folds.split(labels, labels)):
            started = time.perf_counter()
            held[OURS][test] = fit_predict(data, labels, train, test, config, seed + repeat)
            seconds["fit"] += time.perf_counter() - started
            held["logistic"][test] = _logistic(data, labels, train, test)
            held["lightgbm_defaults"][test] = _lightgbm(data, labels, train, test)
            progress(f"churn: repeat {repeat + 1} of {n_repeats}, fold {fold + 1} of {n_folds}")
        for name, scores in held.items():
            repeats[name].append(scores)
    found, gains = _measure(labels, contracts.customers, repeats, seed)
    return BenchmarkReport(
        task=Task.CHURN,
        metrics=found.pop(OURS),
        baselines=found,
        gains=gains,
        seconds=seconds,
        protocol={
            "kind": "contractual: one row per customer",
            "folds": n_folds,
            "repeats": n_repeats,
            "positive": "the churn column says yes",
            "columns": len(data.names),
        },
        rows={"customers": len(labels), "churned": int(labels.sum())},
        seed=seed,
    )


def _measure(
    labels: FloatArray, customers: NDArray[np.object_], repeats: dict[str, list[FloatArray]], seed: int
) -> tuple[dict[str, dict[str, Metric]], dict[str, Metric]]:
    statistics = {
        f"{name} {metric} {repeat}": make(labels, scores)
        for name, runs in repeats.items()
        for repeat, scores in enumerate(runs)
        for metric, make in CHURN.items()
    }
    sampled = resample(statistics, customers, seed=seed)
    means = {
        name: {metric: average([sampled[f"{name} {metric} {i}"] for i in range(len(runs))]) for metric in CHURN}
        for name, runs in repeats.items()
    }
    found = {name: {metric: one.metric() for metric, one in values.items()} for name, values in means.items()}
    ours = means[OURS][PRIMARY]
    gains = {name: values[PRIMARY].minus(ours).metric() for name, values in means.items() if name != OURS}
    return found, gains


def _logistic(data: Encoded, labels: FloatArray, train: NDArray[np.intp], test: NDArray[np.intp]) -> FloatArray:
    rows = np.column_stack([np.nan_to_num(data.numeric), data.levels])
    scaler = StandardScaler().fit(rows[train])
    model = LogisticRegression(max_iter=1000).fit(scaler.transform(rows[train]), labels[train])
    return np.asarray(model.predict_proba(scaler.transform(rows[test]))[:, 1])


def _lightgbm(data: Encoded, labels: FloatArray, train: NDArray[np.intp], test: NDArray[np.intp]) -> FloatArray:
    rows = data.flat
    parameters = {"objective": "binary", "verbosity": -1, "num_threads": 1}
    booster = lgb.train(parameters, lgb.Dataset(rows[train], labels[train]), 100)
    return np.asarray(expit(np.asarray(booster.predict(rows[test], raw_score=True), dtype=np.float64)))
