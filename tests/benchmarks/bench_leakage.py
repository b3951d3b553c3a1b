"""What three leaks would have promised on somebody's log, beside what the honest protocol finds: trees of one size, four ways.

    python tests/benchmarks/bench_leakage.py --events FILE --cutoff 2011-09-10 --horizon-days 90

`rows at random`     past snapshots are split at random: a customer's other snapshots are on both sides.
`customers apart`    past snapshots are split by customer: the same weeks, and what happened in them, are on both sides.
`windows overlap`    fitted on snapshots before the cutoff whose label windows reach beyond it, measured at the cutoff.
`in time`            fitted on snapshots whose windows end by the cutoff, measured at the cutoff: the honest one.
"""

import argparse
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import lightgbm as lgb
import numpy as np
from numpy.typing import NDArray

from features.arrays import FloatArray, IntArray
from features.moments import utc
from features.vocabulary import Columns
from training.benchmarks.churn import BOOSTER, log_config
from training.benchmarks.report import MemoryStates, parquet, timeline_of
from training.data.frames import read_frame
from training.data.training_set import TrainingSet
from training.evaluation.metrics import BINARY, bootstrap
from training.models.boosted import parameters, predict
from training.models.churn.blend import N_FOLDS, customer_folds
from training.models.churn.train import snapshots

N_TREES = 100
METRICS = ("auc", "log_loss")


@dataclass(frozen=True)
class Scored:
    """What one way of measuring finds: labels, scores and customers, each (n,)."""

    labels: FloatArray
    scores: FloatArray
    customers: NDArray[np.object_]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=Path, required=True)
    parser.add_argument("--cutoff", required=True)
    parser.add_argument("--horizon-days", type=float, required=True)
    asked = parser.parse_args()
    timeline = timeline_of(read_frame(asked.events), asked.events)
    start = timeline[Columns.OCCURRED_AT].to_pandas().min().to_pydatetime()
    cutoff = utc(asked.cutoff)
    config = log_config(start, cutoff, asked.horizon_days, timeline[Columns.CUSTOMER_ID].to_pandas().nunique())
    store = MemoryStates(timeline)
    reaching = cutoff + timedelta(days=asked.horizon_days - config.step_days)
    with parquet(timeline) as path:
        honest = snapshots(path, store, start, cutoff, config, lambda _: None)
        late = snapshots(path, store, start, reaching, config, lambda _: None).known
    known, test = honest.known, honest.test
    if known is None or late is None:
        raise SystemExit("The log is too short before the cutoff.")
    past = late.select((late.entities[Columns.AS_OF] < cutoff).to_numpy())
    ways = {
        "rows at random": across(known, np.random.default_rng(0).integers(0, N_FOLDS, len(known))),
        "customers apart": across(known, customer_folds(known.entities[Columns.CUSTOMER_ID])),
        "windows overlap": scored(past, test),
        "in time": scored(known, test),
    }
    print(f"{len(known):,} past rows, {len(test):,} at the cutoff, {N_TREES} trees")
    print(f"{'':<18}" + "".join(f"{metric + ', 95 %':<32}" for metric in METRICS) + "churned")
    for name, found in ways.items():
        figures = [str(bootstrap(BINARY[metric](found.labels, found.scores), found.customers)) for metric in METRICS]
        print(f"{name:<18}" + "".join(f"{figure:<32}" for figure in figures) + f"{found.labels.mean():.1%}")


def across(rows: TrainingSet, folds: IntArray) -> Scored:
    """Every row scored by trees that saw the other folds."""
    scores = np.empty(len(rows))
    for fold in range(N_FOLDS):
        scores[folds == fold] = scored(rows.select(folds != fold), rows.select(folds == fold)).scores
    return Scored(rows.labels, scores, rows.entities[Columns.CUSTOMER_ID].to_numpy())


def scored(past: TrainingSet, asked: TrainingSet) -> Scored:
    """Trees fitted on `past`, asked about `asked`."""
    data = lgb.Dataset(past.features, past.labels, feature_name=list(past.feature_names))
    booster = lgb.train(parameters(BOOSTER, 0, past.feature_names), data, num_boost_round=N_TREES)
    return Scored(asked.labels, predict(booster, asked.features), asked.entities[Columns.CUSTOMER_ID].to_numpy())


if __name__ == "__main__":
    main()
