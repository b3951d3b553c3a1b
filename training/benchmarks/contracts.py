"""A table of contracts in, the report out: the blend beside logistic regression and LightGBM's defaults, by repeated folds.

Every figure is the mean over the repeats; in each repeat every row is predicted once, by a model that did not see its
customer.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import lightgbm as lgb
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import expit
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold
from sklearn.preprocessing import StandardScaler

from features.arrays import FloatArray
from features.errors import InputError
from features.evaluation.resampling import Metric, average, resample
from features.vocabulary import Task
from training.benchmarks.report import BenchmarkReport
from training.data.frames import CUSTOMER_IDS, customers_or_rows, plain_name
from training.evaluation.metrics import CHURN
from training.models.churn.contract import ContractConfig, Encoded, fit_contracts
from training.task import Progress

LABEL_NAMES: Final = ("churn", "churned", "label", "exited", "attrition", "left")
"""What a churn column is called where nobody says, whatever the case."""
_POSITIVE: Final = frozenset({"1", "1.0", "yes", "true", "churned", "y", "t"})
_NEGATIVE: Final = frozenset({"0", "0.0", "no", "false", "stayed", "n", "f"})
_N_MAX_LEVELS: Final = 50
_ROW_IDS: Final = ("rownumber", "rowid", "unnamed:0")
OURS: Final = "model"
PRIMARY: Final = "log_loss"


@dataclass(frozen=True)
class Contracts:
    """A row per contract: its columns, whether it churned (n,), and whose it is (n,); most customers have one."""

    columns: pd.DataFrame
    labels: FloatArray
    customers: NDArray[np.object_]


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
    """Stratified folds of customers, repeated. Intervals resample customers, all rows and repeats of each together.

    Raises InputError when the table has no usable churn column or a class has fewer customers than there are folds.
    """
    config = config or ContractConfig()
    contracts = read_contracts(table, label)
    labels = contracts.labels
    customers = contracts.customers
    n_customers, n_churners, n_stayers = (len(set(customers[rows])) for rows in (labels >= 0, labels == 1, labels == 0))
    if min(n_churners, n_stayers) < n_folds * config.inner_folds:
        raise InputError(
            f"{source} has {n_churners} churners among {n_customers} customers.",
            repair=f"Give at least {n_folds * config.inner_folds} of each.",
        )
    data = encode(contracts.columns)
    if not data.names:
        raise InputError(f"{source} has no column to learn from.", repair="Give columns beside the id and the label.")
    repeats: dict[str, list[FloatArray]] = {OURS: [], "logistic": [], "lightgbm_defaults": []}
    seconds = {"fit": 0.0, "predict": 0.0}
    for repeat in range(n_repeats):
        held = {name: np.empty(len(labels)) for name in repeats}
        for fold, (train, test) in enumerate(_folds(labels, customers, n_folds, seed + repeat)):
            started = time.perf_counter()
            held[OURS][test] = fit_predict(data, labels, train, test, config, seed + repeat, customers)
            seconds["fit"] += time.perf_counter() - started
            held["logistic"][test] = _logistic(data, labels, train, test)
            held["lightgbm_defaults"][test] = _lightgbm(data, labels, train, test)
            progress(f"churn: repeat {repeat + 1} of {n_repeats}, fold {fold + 1} of {n_folds}")
        for name, scores in held.items():
            repeats[name].append(scores)
    tables, gains = _measure(labels, customers, repeats, seed)
    return BenchmarkReport(
        task=Task.CHURN,
        metrics=tables.pop(OURS),
        baselines=tables,
        gains=gains,
        seconds=seconds,
        protocol={
            "kind": "contractual: one row per customer"
            if n_customers == len(labels)
            else "contractual: rows of customers",
            "folds_by": "customer",
            "folds": n_folds,
            "repeats": n_repeats,
            "positive": "the churn column says yes",
            "columns": len(data.names),
        },
        rows={"customers": n_customers, "rows": len(labels), "churned": int(labels.sum())},
        seed=seed,
    )


def is_contract_table(columns: Sequence[str], label: str | None = None) -> bool:
    """Whether a file with these columns is a table of contracts rather than a log."""
    return label is not None or ("occurred_at" not in columns and _label_column(columns) is not None)


def read_contracts(table: pd.DataFrame, label: str | None = None) -> Contracts:
    """Split a table into columns, label and customer. Raises InputError for a label that is missing or not yes/no."""
    name = label or _label_column(list(table.columns))
    if name is None or name not in table.columns:
        raise InputError(
            f"There is no churn column {label or 'churn'!r}.", repair=f"Name one of: {', '.join(table.columns)}."
        )
    words = table[name].astype(str).str.strip().str.lower()
    unknown = sorted(set(words) - _POSITIVE - _NEGATIVE)
    if unknown or words.isin(_POSITIVE).nunique() < 2:
        what = f"holds {unknown[0]!r}" if unknown else "has one value only"
        raise InputError(f"The churn column {name!r} {what}.", repair="Write yes and no, or 1 and 0, one per customer.")
    rest = [column for column in table.columns if column != name]
    ids = sorted(
        (column for column in rest if plain_name(column) in CUSTOMER_IDS),
        key=lambda c: CUSTOMER_IDS.index(plain_name(c)),
    )
    customers = customers_or_rows(table[ids[0]] if ids else pd.Series(None, index=table.index, dtype=object))
    left_out = [name, *ids, *(column for column in rest if plain_name(column) in _ROW_IDS)]
    return Contracts(
        table.drop(columns=left_out), words.isin(_POSITIVE).to_numpy().astype(np.float64), customers.to_numpy(object)
    )


def encode(columns: pd.DataFrame) -> Encoded:
    """Numbers stay numbers, words become one column per level; names, free text and constants are left out.

    Text of which almost all is a number (a blank among amounts) is a number with gaps.
    """
    numeric, levels, names, level_names = [], [], [], []
    for name in columns.columns:
        column = columns[name]
        numbers = pd.to_numeric(column, errors="coerce").astype(float)
        distinct = column.nunique()
        if distinct < 2:
            continue
        if numbers.notna().mean() > 0.95 and distinct > 2:
            numeric.append(numbers.to_numpy())
            names.append(str(name))
        elif distinct <= _N_MAX_LEVELS:
            words = column.astype(str)
            for level in sorted(words.unique()):
                levels.append((words == level).to_numpy(float))
                level_names.append(f"{name}={level}")
    empty = np.zeros((len(columns), 0))
    return Encoded(
        np.column_stack(numeric) if numeric else empty,
        np.column_stack(levels) if levels else empty,
        (*names, *level_names),
    )


def fit_predict(
    data: Encoded,
    labels: FloatArray,
    train: NDArray[np.intp],
    test: NDArray[np.intp],
    config: ContractConfig,
    seed: int,
    customers: NDArray[np.object_] | None = None,
) -> FloatArray:
    """Probabilities (m,) of the rows `test`, everything learned and chosen on the rows `train`.

    `customers` (n,) are whose all rows are; without them every row is a customer.
    """
    known = labels[train]
    whose = np.arange(len(train)).astype(object) if customers is None else customers[train]
    folds = np.empty(len(train), dtype=np.int64)
    for number, (_, held) in enumerate(_folds(known, whose, config.inner_folds, seed)):
        folds[held] = number
    return fit_contracts(data.rows(train), known, folds, config, seed).probability(data.rows(test).flat)


def _folds(
    labels: FloatArray, customers: NDArray[np.object_], n_folds: int, seed: int
) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Train and test rows of each fold, with about equal shares of churners; no customer is on both sides."""
    if len(set(customers)) == len(customers):
        return StratifiedKFold(n_folds, shuffle=True, random_state=seed).split(labels, labels)
    return StratifiedGroupKFold(n_folds, shuffle=True, random_state=seed).split(labels, labels, customers.astype(str))


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
    tables = {
        name: {metric: sampled_mean.metric() for metric, sampled_mean in values.items()}
        for name, values in means.items()
    }
    ours = means[OURS][PRIMARY]
    gains = {name: values[PRIMARY].minus(ours).metric() for name, values in means.items() if name != OURS}
    return tables, gains


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


def _label_column(columns: Sequence[str]) -> str | None:
    return next((name for name in columns if str(name).strip().lower() in LABEL_NAMES), None)
