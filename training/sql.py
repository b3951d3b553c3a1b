"""Lengths of time and names in, pieces of DuckDB's SQL over the timeline out; and a connection that leaves learners room."""

import json

import duckdb

from features.errors import InputError
from features.sql import connect


def connect_bounded() -> duckdb.DuckDBPyConnection:
    """A connection on two threads and 1.5 GB."""
    return connect("1500MB", threads=2)


def sql_days(days: float | None) -> str:
    """A length of time; none for None."""
    return f"to_microseconds({round((days or 0) * 86_400_000_000)})"


def sql_name(column: str) -> str:
    """A column or property name that may stand in SQL as it is. Raises InputError for another."""
    if not column.isidentifier():
        raise InputError(f"{json.dumps(column)} is not a column or property name.", repair="Mend the arm's config.")
    return column
