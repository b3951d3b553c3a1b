"""Somebody's log and a cutoff, or a table of contracts, in; the report of the churn model beside its baselines out."""

import logging
import math
import time
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from features.errors import InputError
from features.vocabulary import Columns, EventKind, Task
from training.benchmarks.contracts import benchmark_contracts, is_contract_table
from training.benchmarks.report import BenchmarkReport, MemoryStates, parquet, timeline_of
from training.benchmarks.survival import compare_horizons
from training.data.frames import read_frame
from training.evaluation.metrics import ece_by_chance
from training.models.boosted import BoosterConfig
from training.models.churn.config import ChurnConfig
from training.models.churn.measure import measure
from training.models.churn.train import fit_purchases, snapshots
from training.task import Progress

logger = logging.getLogger(__name__)

MAX_PAST_ROWS: Final = 100_000
"""About how many rows a fit looks at; more customers mean fewer past cutoffs."""
MAX_CUTOFFS: Final = 20
BOOSTER: Final = BoosterConfig(num_leaves=8, min_data_in_leaf=100, l2=10.0, feature_fraction=0.5, patience=30)


def benchmark(
    events: Path,
    cutoff: datetime | None = None,
    horizon_days: float | None = None,
    *,
    label: str | None = None,
    more_horizons_days: Sequence[float] = (),
    seed: int = 0,
    progress: Progress = lambda _: None,
) -> BenchmarkReport:
    """A log by one cutoff in global time, a table of contracts by repeated folds.

    With `more_horizons_days` one survival model is compared with a model per horizon, under `horizons` of the report. A
    file without `occurred_at` but with a yes/no column called churn (or named by `label`) is a table of contracts.
    Raises InputError when the file does not fit, or a log comes without cutoff and horizon.
    """
    frame = read_frame(events)
    if is_contract_table(list(frame.columns), label):
        return benchmark_contracts(frame, events, label=label, seed=seed, progress=progress)
    timeline = timeline_of(frame, events)
    if cutoff is None or horizon_days is None:
        raise InputError(
            f"{events} is a log of events: the moment of prediction is not known.",
            repair="Pass --cutoff DATE and --horizon-days N.",
        )
    started = time.perf_counter()
    moments = timeline[Columns.OCCURRED_AT].to_pandas()
    if moments.empty:
        raise InputError(f"{events} holds no event.", repair="Give a file with rows that name a customer and a moment.")
    if not moments.min() < cutoff or not moments.max() >= cutoff:
        raise InputError(
            f"{events} spans {moments.min():%Y-%m-%d} to {moments.max():%Y-%m-%d}; the cutoff is {cutoff:%Y-%m-%d}.",
            repair="Choose a cutoff inside the data, with at least one horizon after it.",
        )
    start = moments.min().to_pydatetime()
    whole = bool(moments.max() >= cutoff + timedelta(days=horizon_days) - timedelta(days=1))
    if not whole:
        logger.warning(
            "The log ends on %s, before the horizon does: customers who bought after that count as churned.",
            f"{moments.max():%Y-%m-%d}",
        )
    config = log_config(start, cutoff, horizon_days, timeline[Columns.CUSTOMER_ID].to_pandas().nunique())
    store = MemoryStates(timeline)
    with parquet(timeline) as path:
        data = snapshots(path, store, start, cutoff, config, progress)
        features_s = time.perf_counter() - started
        blend = fit_purchases(data, config, seed, progress)
        fit_s = time.perf_counter() - started - features_s
        horizons = {}
        if more_horizons_days:
            n = len(set(data.test.entities[Columns.CUSTOMER_ID]))
            configs = [config, *(log_config(start, cutoff, days, n) for days in more_horizons_days)]
            horizons = compare_horizons(path, store, start, cutoff, configs, blend, seed, progress)
    compared_s = time.perf_counter() - started - features_s - fit_s
    scores = blend.probability(data.test.features)
    predict_s = time.perf_counter() - started - features_s - fit_s - compared_s
    report = measure(data, scores, seed, blend.score)
    past = [] if data.known is None else sorted(data.known.entities[Columns.AS_OF].unique())
    return BenchmarkReport(
        task=Task.CHURN,
        metrics=report.metrics,
        baselines=report.baselines,
        gains=report.gains,
        seconds={"features": features_s, "fit": fit_s, "predict": predict_s},
        protocol={
            "cutoff": cutoff.isoformat(),
            "horizon_days": horizon_days,
            "population": "every customer seen before the cutoff",
            "positive": "no purchase in [cutoff, cutoff + horizon)",
            "training_cutoffs": [moment.isoformat() for moment in past],
            "window_complete": whole,
        },
        rows={
            "events": len(moments),
            "left_out": len(frame) - len(moments),
            "train": 0 if data.known is None else len(data.known),
            "test": len(data.test),
            "trees": blend.booster.num_trees(),
        },
        seed=seed,
        details={
            "ece_by_chance": ece_by_chance(scores),
            "slices": report.slices,
            **({"horizons": horizons} if horizons else {}),
            "mix": dict(zip(("trees", "linear", "bg_nbd"), blend.score.mix, strict=True)),
        },
    )


def log_config(start: datetime, cutoff: datetime, horizon_days: float, n_customers: int) -> ChurnConfig:
    """Settings that follow from the log's length and size alone: nothing is left to tune by hand.

    Cutoffs are a quarter of a horizon apart, or further where that would be more than fit, in whole days where the
    horizon has some; a quarter of a horizon is the warm-up.
    """
    most = max(4, min(MAX_CUTOFFS, MAX_PAST_ROWS // max(n_customers, 1)))
    room = (cutoff - start) / timedelta(days=1) - 1.25 * horizon_days
    step = max(horizon_days / 4, room / most, 0.5)
    return ChurnConfig(
        horizon_days=horizon_days,
        step_days=math.ceil(step) if step >= 1 else step,
        warmup_days=horizon_days / 4,
        max_cutoffs=most,
        active_within_days=None,
        activity_kinds=(EventKind.PURCHASE,),
        booster=BOOSTER,
    )
