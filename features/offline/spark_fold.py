"""The sorted timeline comes in; Feast's offline sources go out as folders of part files, folded by Spark's executors.

Each executor runs `fold_to_files`, the function of the embedded build, on whole customers, and writes the files itself,
so that not a bit differs and no row passes through the JVM a second time. The driver moves only the files of attempts
that succeeded, so a task that Spark repeats leaves nothing behind. Driver and executors need the same Python
environment and `OMNI_HOME` on a file system that all of them see under the same path.
"""

import atexit
import os
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

import pyarrow as pa

from features.console import Progress
from features.errors import MissingError
from features.offline import parts
from features.offline.state_files import FOLD_COLUMNS, FoldCount, fold_to_files, whole_customers
from features.settings import Settings
from features.state.layout import WRITTEN
from features.vocabulary import Columns

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

EVENTS_PER_PARTITION: Final = 5_000_000
"""Spark sorts and folds the timeline in partitions of about this many events; one partition is one core's task."""
_BATCH_ROWS: Final = 200_000
_REPORT_SCHEMA: Final = "part string, events long, customers long, state_rows long, last_event_us long"


def spark_conf(settings: Settings) -> dict[str, str]:
    """What Omni asks of a Spark session; everything else is the cluster's own configuration."""
    conf = {
        "spark.app.name": "omni",
        "spark.master": settings.spark_master,
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.execution.arrow.pyspark.enabled": "true",
        "spark.sql.execution.arrow.maxRecordsPerBatch": str(_BATCH_ROWS),
        "spark.driver.maxResultSize": "4g",
        "spark.ui.showConsoleProgress": "false",
        "spark.log.level": "ERROR",
    }
    if settings.spark_master.startswith("local"):
        here = {"spark.driver.host": "127.0.0.1", "spark.driver.bindAddress": "127.0.0.1"}
        conf |= {"spark.ui.enabled": "false", "spark.driver.memory": "2g", "spark.sql.shuffle.partitions": "4", **here}
    return conf


def session(settings: Settings) -> "SparkSession":
    """The running Spark session, or a new one on `settings.spark_master`.

    Raises MissingError where pyspark is not installed or Spark does not start.
    """
    if find_spec("pyspark") is None:
        raise MissingError("OMNI_OFFLINE_STORE is spark, but pyspark is not installed.", repair="Run: make spark")
    from pyspark import SparkConf
    from pyspark.errors import PySparkRuntimeError
    from pyspark.sql import SparkSession

    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)  # the executors' Python; Spark reads it from nowhere else
    if settings.spark_master.startswith("local"):
        os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")  # listen to nobody outside
    conf, is_new = SparkConf().setAll(list(spark_conf(settings).items())), SparkSession.getActiveSession() is None
    try:
        spark: SparkSession = SparkSession.builder.config(conf=conf).getOrCreate()
    except PySparkRuntimeError as error:
        raise MissingError(
            f"Spark does not start on {settings.spark_master}: {error}.",
            repair="Install Java 17 or set JAVA_HOME to it, and check OMNI_SPARK_MASTER.",
        ) from error
    if is_new:
        atexit.register(spark.stop)
    return spark


def fold_with_spark(settings: Settings, n_events: int, progress: Progress) -> FoldCount:
    """Fold the timeline into Feast's offline sources, on all cores of the cluster."""
    spark = session(settings)
    n_parts = max(spark.sparkContext.defaultParallelism, -(-n_events // EVENTS_PER_PARTITION))
    targets = settings.customer_state_path, settings.customer_products_path
    attempts = settings.timeline_path.with_name("attempts")
    staged = [target.with_suffix(".part") for target in targets]
    for folder in (attempts, *staged):
        parts.discard(folder)
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
        parts.replace(folder, target)
    parts.discard(attempts)
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
