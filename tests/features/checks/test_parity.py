"""Batch and live give the same features: on both real sources that come as files, and in a simulated world told badly."""

import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from features.build import fold_to_parquet
from features.checks.parity import check_parity
from features.ingest import ingest
from features.log.engines import open_log
from features.log.event_log import EventLog
from features.offline.timeline import build_timeline
from features.settings import Settings
from features.simulator.world import WorldConfig, simulate

DATA_DIR = Path(os.environ.get("OMNI_DATA_DIR", Path(__file__).parents[4] / "shared" / "data"))
FILES = {
    "online-retail-2": DATA_DIR / "online_retail_2" / "online_retail_II.parquet",
    "starbucks-offers": DATA_DIR / "starbucks_offers",
}


def fold(settings: Settings, log: EventLog) -> None:
    n_events = build_timeline(log, settings, lambda _: None)
    fold_to_parquet(settings, n_events, lambda _: None)


@pytest.mark.parametrize("source", FILES)
@pytest.mark.skipif(not DATA_DIR.is_dir(), reason="the published files are not here: set OMNI_DATA_DIR to their folder")
def test_real_files(settings: Settings, source: str) -> None:
    ingest(source, settings, sample=0.02, path=FILES[source])
    log = open_log(settings)
    fold(settings, log)
    log.close()
    report = check_parity(settings, customers=12, seed=4, progress=lambda _: None)
    assert (report.customers, report.different, report.values > 10_000) == (12, 0, True)


def test_a_simulated_world_with_late_repeated_and_merged_customers(settings: Settings) -> None:
    """Every tenth event comes at the very end, every fifth twice, and visitors log in after having been anonymous."""
    table = simulate(WorldConfig(n_customers=60, n_days=40, seed=5)).events
    rng = np.random.default_rng(3)
    late = rng.random(table.num_rows) < 0.1
    order = np.concatenate([np.flatnonzero(~late), rng.permutation(np.flatnonzero(late))])
    again = rng.choice(order, len(order) // 5)
    log = open_log(settings)
    for rows in (*np.array_split(order, 7), again):
        log.append(table.take(pa.array(rows)))
    assert log.count() == table.num_rows
    fold(settings, log)
    log.close()
    report = check_parity(settings, customers=24, seed=1, progress=lambda _: None)
    assert (report.customers, report.put_together, report.different) == (24, 10, 0)
    assert report.products > 100
