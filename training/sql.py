"""Lengths of time, names and contacts in, pieces of DuckDB's SQL over the timeline out; a connection that leaves room."""

import json
from collections.abc import Mapping, Sequence

import duckdb

from features.errors import InputError
from features.sql import connect, sql_list, sql_text


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


def sql_contact(channel: str, kind: str, properties: Mapping[str, Sequence[str]]) -> str:
    """The condition that an event of the timeline is such a contact: each property holds one of its values."""
    holds = (
        f"json_extract_string(properties, '$.{sql_name(key)}') IN ({sql_list(values)})"
        for key, values in properties.items()
    )
    return " AND ".join([f"channel = {sql_text(channel)}", f"kind = {sql_text(kind)}", *holds])
