"""Values in, pieces of DuckDB's SQL over the timeline out, safely written; and a connection with bounded means."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb

from features.errors import InputError


def connect() -> duckdb.DuckDBPyConnection:
    """A connection in UTC on two threads, which works on disk beyond 1.5 GB."""
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'; SET threads = 2; SET memory_limit = '1500MB'")
    return connection


def scan(timeline: Path) -> str:
    """The Parquet file as a table."""
    return f"read_parquet({sql_text(str(timeline))})"


def sql_days(days: float | None) -> str:
    """A length of time; none for None."""
    return f"to_microseconds({round((days or 0) * 86_400_000_000)})"


def sql_list(values: Sequence[str]) -> str:
    """Texts as IN takes them between its brackets."""
    return ", ".join(sql_text(value) for value in values)


def sql_text(value: Any) -> str:
    """A value as quoted text."""
    return "'" + str(value).replace("'", "''") + "'"


def sql_name(column: str) -> str:
    """A column or property name that may stand in SQL as it is. Raises InputError for another."""
    if not column.isidentifier():
        raise InputError(f"{json.dumps(column)} is not a column or property name.", repair="Mend the arm's config.")
    return column
