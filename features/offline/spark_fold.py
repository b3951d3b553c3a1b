"""The fold on Spark: the sorted timeline in, Feast's offline sources out, as folders of part files that executors write.

Each executor runs `fold_to_files`, the function of the embedded build, on whole customers, and writes the files itself,
so that not a bit differs and no row passes through the JVM a second time. The driver moves only the files of attempts
that succeeded, so a task that Spark repeats leaves nothing behind. Driver and executors need the same Python
environment and `OMNI_HOME` on a file system that all of them see under the same path.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

import pyarrow as pa

from features.console import Progress
from features.offline import files
from features.offline.spark_session import session
from features.offline.state_files import FOLD_COLUMNS, FoldCount, fold_to_files, whole_customers
from features.settings import Settings
from features.state.layout import WRITTEN
from features.vocabulary import Columns

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

EVENTS_PER_PARTITION: Final = 5_000_000
"""Spark sorts and folds the timeline in partitions of about this many events; one partition is one core's task."""
_REPORT_SCHEMA: Final = "part string, events long, customers long, state_rows long, last_event_us long"


def fold_with_spark(settings: Settings, n_events: int, progress: Progress) -> FoldCount:
    """Fold the timeline into Feast's offline sources, on all cores of the cluster."""
    spark = session(settings)
    n_parts = max(spark.sparkContext.defaultParallelism, -(-n_events // EVENTS_PER_PARTITION))
    targets = settings.customer_state_path, settings.customer_products_path
    attempts = settings.timeline_path.with_name("attempts")
    staged = [target.with_suffix(".part") for target in targets]
    for folder in (attempts, *staged):
        files.discard(folder)
        folder.mkdir(parents=True)
    progress(f"folding {n_events:,} events on {settings.spark_master}, in {n_parts:,} parts")
    timeline = (
        _timeline(spark, settings)
        .repartition(n_parts, Columns.CUSTOMER_ID)
        .sortWithinPartitions(Columns.CUSTOMER_ID, Columns.EPOCH, Columns.OCCURRED_AT, Columns.EVENT_ID)
    )
    done = FoldCount()
    for row in timeline.mapInArrow(_Fold(str(attempts)), _REPORT_SCHEMA).collect():
        done += FoldCount(row.events, row.customers, row.state_rows, row.last_event_us)
        for number, folder in enumerate(staged):
            os.replace(_attempt_file(attempts, row.part, number), folder / f"part-{row.part}.parquet")
    for folder, target in zip(staged, targets, strict=True):
        files.replace(folder, target)
    files.discard(attempts)
    progress(f"{done.events:,} of {n_events:,} events folded, {done.state_rows:,} states")
    return done


def _timeline(spark: "SparkSession", settings: Settings) -> "DataFrame":
    """What is folded: the timeline, but of customers who were put together from several their epochs."""
    from pyspark.sql.functions import lit

    columns = (*FOLD_COLUMNS, Columns.EVENT_ID)
    timeline = spark.read.parquet(f"file://{settings.timeline_path}").select(
        *columns, lit(0).cast("long").alias(Columns.EPOCH), lit(WRITTEN).cast("byte").alias(Columns.WRITTEN)
    )
    if not settings.epochs_path.exists():
        return timeline
    epochs = spark.read.parquet(f"file://{settings.epochs_path}").select(*columns, Columns.EPOCH, Columns.WRITTEN)
    put_together = epochs.select(Columns.CUSTOMER_ID).distinct()
    return timeline.join(put_together, Columns.CUSTOMER_ID, "left_anti").unionByName(epochs)


class _Fold:
    """The fold of one partition, as Spark ships it to an executor."""

    def __init__(self, folder: str) -> None:
        self._folder = folder

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        part, done = uuid4().hex, FoldCount()
        states, products = (_attempt_file(Path(self._folder), part, number) for number in range(2))
        for counted in fold_to_files(whole_customers(batches), states, products):
            done = counted
        report: dict[str, Any] = {"part": part, **vars(done)}
        yield pa.RecordBatch.from_pylist([report])


def _attempt_file(folder: Path, part: str, number: int) -> Path:
    return folder / f"{part}-{number}.parquet"
