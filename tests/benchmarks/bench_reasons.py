"""Do the reasons of a churn prediction stay the same when the model is fitted again on other customers like them?

    python tests/benchmarks/bench_reasons.py --events FILE --cutoff 2017-12-01 --horizon-days 30 --refits 8
    OMNI_HOME=HOME python tests/benchmarks/bench_reasons.py --cutoff 2017-12-01 --horizon-days 30

Without a file it is the timeline of OMNI_HOME. The model is fitted once on all customers and then on bootstrap samples of
them (customers drawn with replacement, with all their past). Each refit explains the same customers at the cutoff, and its
strongest topics are compared with those of the first fit: how many of them it names again, whether it names the same one
first, and whether those point the same way. Beside it the same for single signals, which topics are there to steady.
"""

import argparse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from features.arrays import FloatArray
from features.moments import utc
from features.settings import Settings
from features.signals import signal_names
from features.vocabulary import Columns
from serving.churn_reasons import signal_topics
from training.benchmarks.churn import log_config
from training.benchmarks.report import MemoryStates, parquet, timeline_of
from training.data.frames import read_frame
from training.models.churn.blend import Blend
from training.models.churn.measure import ChurnData
from training.models.churn.train import fit, snapshots

TOP = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=Path)
    parser.add_argument("--cutoff", required=True)
    parser.add_argument("--horizon-days", type=float, required=True)
    parser.add_argument("--customers", type=int, default=1_000, help="at most so many; more take longer")
    parser.add_argument("--refits", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    rng = np.random.default_rng(asked.seed)
    if asked.events is None:
        timeline = pq.read_table(Settings.from_env().timeline_path)
    else:
        timeline = timeline_of(read_frame(asked.events), asked.events)
    customers = np.array(pc.unique(timeline[Columns.CUSTOMER_ID]).to_pylist())
    chosen = rng.permutation(customers)[: asked.customers]
    timeline = timeline.filter(pc.is_in(timeline[Columns.CUSTOMER_ID], pa.array(chosen)))
    start = timeline[Columns.OCCURRED_AT].to_pandas().min().to_pydatetime()
    config = log_config(start, utc(asked.cutoff), asked.horizon_days, len(chosen))
    with parquet(timeline) as path:
        data = snapshots(path, MemoryStates(timeline), start, utc(asked.cutoff), config, lambda _: None)
    first = fit(data, config, asked.seed)
    refits = [fit(one, config, asked.seed) for one in resampled(data, asked.refits, rng)]
    print(f"{len(data.test):,} customers explained, {asked.refits} refits, the {TOP} strongest reasons of each")
    print(f"{'':<10}{'named again':>22}{'same one first':>24}{'same direction':>24}")
    for name, of in (("topics", topic_effects), ("signals", signal_effects)):
        ours = of(first, data)
        found = np.array([agreement(ours, of(refit, data)) for refit in refits])
        figures = [
            f"{mean:.1%} ({low:.1%} to {high:.1%})"
            for mean, low, high in zip(found.mean(0), found.min(0), found.max(0), strict=True)
        ]
        print(f"{name:<10}" + "".join(f"{figure:>24}" for figure in figures))
    print("mean over the refits (least to most of them)")


def resampled(data: ChurnData, times: int, rng: np.random.Generator) -> Iterator[ChurnData]:
    """The past and the present of customers drawn with replacement."""
    names = data.test.entities[Columns.CUSTOMER_ID].to_numpy(str)
    past = {} if data.known is None else data.known.entities.groupby(Columns.CUSTOMER_ID).indices
    for _ in range(times):
        drawn = rng.integers(0, len(names), len(names))
        known = data.known
        if known is not None:
            rows = np.concatenate([past.get(names[at], np.zeros(0, np.int64)) for at in drawn])
            known = replace(
                known,
                entities=known.entities.iloc[rows].reset_index(drop=True),
                features=known.features[rows],
                labels=known.labels[rows],
            )
        yield replace(data, known=known, test=replace(data.test, features=data.test.features[drawn]))


def signal_effects(blend: Blend, data: ChurnData) -> FloatArray:
    """What each signal adds to the log-odds of each customer at the cutoff, (n, F)."""
    trees = np.asarray(blend.booster.predict(data.test.features, pred_contrib=True))[:, :-1]
    return blend.score.contributions(data.test.features, trees)


def topic_effects(blend: Blend, data: ChurnData) -> FloatArray:
    """The same by topic, (n, topics): the sums that the reasons of an answer are made of."""
    topics, of_signal = signal_topics(signal_names())
    return signal_effects(blend, data) @ np.eye(len(topics))[of_signal]


def agreement(ours: FloatArray, theirs: FloatArray) -> tuple[float, float, float]:
    """Of the TOP strongest of each row (n, k): the share named by both, the share of rows with the same first, and the share
    of ours that point the same way in theirs.
    """
    one, other = (np.argsort(-np.abs(effects), axis=1, kind="stable")[:, :TOP] for effects in (ours, theirs))
    again = (one[:, :, None] == other[:, None, :]).any(axis=2)
    rows = np.arange(len(ours))[:, None]
    direction = np.sign(ours[rows, one]) == np.sign(theirs[rows, one])
    return float(again.mean()), float((one[:, 0] == other[:, 0]).mean()), float(direction.mean())


if __name__ == "__main__":
    main()
