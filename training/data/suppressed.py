"""A home's settings in; the same with a timeline without whoever is on the suppression list out: they teach no model."""

import tempfile
from collections.abc import Collection, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from features.log.engines import has_log, open_log
from features.settings import Settings
from features.vocabulary import Columns


def suppressed_customers(settings: Settings) -> list[str]:
    """Who is on the suppression list, by the log's names of them."""
    if not has_log(settings):
        return []
    with closing(open_log(settings)) as log:
        return sorted(log.suppressions().customers())


@contextmanager
def without_suppressed(settings: Settings) -> Iterator[Settings]:
    """Settings to train with; the timeline without them lies in the home for as long as that takes."""
    names = suppressed_customers(settings) if settings.timeline_path.exists() else []
    if not names:
        yield settings
        return
    run = settings.home / "run"
    run.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="learnt-", dir=run) as folder:
        timeline = Path(folder) / settings.timeline_path.name
        _copy_without(settings.timeline_path, timeline, names)
        yield replace(settings, other_timeline=timeline)


def _copy_without(source: Path, target: Path, names: Collection[str]) -> None:
    """The rows of a timeline in their order, but for these customers'."""
    left_out = pa.array(names, pa.string())
    file = pq.ParquetFile(source)
    with pq.ParquetWriter(target, file.schema_arrow) as writer:
        for batch in file.iter_batches():
            customer = batch.column(batch.schema.get_field_index(Columns.CUSTOMER_ID)).cast(pa.string())
            writer.write_batch(batch.filter(pc.invert(pc.is_in(customer, value_set=left_out))))
