"""The Spark session of the offline store: settings in, the running session, or a new one as Omni needs it, out."""

import atexit
import os
import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final

from features.errors import MissingError
from features.settings import Settings

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

_BATCH_ROWS: Final = 200_000
"""Rows that pass between Spark and Python at once."""


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
