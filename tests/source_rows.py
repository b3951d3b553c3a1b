"""The rows that a source's batches hold, and where the published files lie."""

import os
from pathlib import Path
from typing import Any

import pytest

from features.events.schema import validate_table
from features.sources.batch import SourceBatch

DATA_DIR = Path(os.environ.get("OMNI_DATA_DIR", Path(__file__).parents[2] / "shared" / "data"))
needs_data = pytest.mark.skipif(
    not (DATA_DIR / "starbucks_offers").is_dir(),
    reason="the published files are not here: set OMNI_DATA_DIR to their folder",
)


def collect(batches: Any) -> tuple[list[dict[str, Any]], list[dict[str, Any]], list[SourceBatch]]:
    """Valid events, rejected rows, and the batches themselves; no event of a built-in source may break a rule."""
    events, rejected, kept = [], [], []
    for batch in batches:
        good, bad = validate_table(batch.events)
        assert bad.num_rows == 0, bad.to_pylist()[0]
        events += good.to_pylist()
        rejected += [] if batch.rejected is None else batch.rejected.to_pylist()
        kept.append(batch)
    return events, rejected, kept
