"""A simulated world whose customers differ, its timeline as a file, and what training needs to read it."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from features.offline.timeline import ORDER, timeline_rows
from features.simulator.world import World, WorldConfig, simulate
from training.benchmarks.report import MemoryStates
from training.task import TrainContext


def differing_world(n_customers: int) -> World:
    """Seventy days of customers who answer differently, every decision drawn by chance."""
    return simulate(
        WorldConfig(
            n_customers=n_customers,
            n_days=70,
            seed=4,
            anonymous_share=0.0,
            heterogeneity=2.0,
            predictability=1.0,
            exploration=1.0,
        )
    )


def write_timeline(world: World, folder: Path) -> Path:
    """The world's events as `timeline.parquet` in the folder."""
    events = world.events
    table = events.append_column("seq", pa.array(np.arange(events.num_rows))).append_column(
        "resolved_customer_id", events["customer_id"]
    )
    path = folder / "timeline.parquet"
    pq.write_table(timeline_rows(table).sort_by([(name, "ascending") for name in ORDER]), path)
    return path


def context_of(timeline: Path) -> TrainContext:
    """States from the timeline itself, nothing logged."""
    return TrainContext(
        SimpleNamespace(timeline_path=timeline),  # type: ignore[arg-type]
        MemoryStates(pq.read_table(timeline)),  # type: ignore[arg-type]
        None, None, 0, lambda _: None,  # type: ignore[arg-type]
    )  # fmt: skip
