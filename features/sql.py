"""Limits in, a DuckDB connection in UTC out; values and files in, pieces of SQL that are safely written out."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from features.errors import InputError
from features.vocabulary import DAY_US, EventKind

if TYPE_CHECKING:
    import duckdb


def connect(
    memory_limit: str | None = None, *, threads: int | None = None, temp_directory: Path | None = None
) -> "duckdb.DuckDBPyConnection":
    """A connection in UTC, whatever the machine's zone; beyond its memory it works on disk.

    What is not given is DuckDB's own choice: most of the machine's memory, all its cores.
    """
    import duckdb  # 20 MiB, and many only write SQL

    limits = {"memory_limit": memory_limit, "threads": threads, "temp_directory": temp_directory}
    connection = duckdb.connect(config={name: str(value) for name, value in limits.items() if value is not None})
    connection.execute("SET TimeZone = 'UTC'")  # not in the config: the extension that knows zones is loaded later
    return connection


def connect_bounded() -> "duckdb.DuckDBPyConnection":
    """A connection on two threads and 1.5 GB."""
    return connect("1500MB", threads=2)


def scan(path: Path | str, numbered: bool = False) -> str:
    """A Parquet file, or a pattern of several, as a table; `numbered` adds the column file_row_number."""
    return f"read_parquet({sql_text(path)}{', file_row_number = true' if numbered else ''})"


def sql_list(values: Sequence[str]) -> str:
    """Texts as IN takes them between its brackets."""
    return ", ".join(sql_text(value) for value in values)


def sql_text(value: Any) -> str:
    """A value as quoted text."""
    return "'" + str(value).replace("'", "''") + "'"


def sql_days(days: float | None) -> str:
    """A length of time; none for None."""
    return f"to_microseconds({round((days or 0) * DAY_US)})"


def sql_name(column: str) -> str:
    """A column or property name that may stand in SQL as it is. Raises InputError for another."""
    if not column.isidentifier():
        raise InputError(f"{json.dumps(column)} is not a column or property name.", repair="Mend the arm's config.")
    return column


def sql_refusal(alias: str = "") -> str:
    """The condition that an event is a customer's no to messages: an unsubscribe of a product is a contract's end."""
    prefix = f"{alias}." if alias else ""
    return f"({prefix}kind = '{EventKind.UNSUBSCRIBE}' AND coalesce({prefix}product_id, '') = '')"


def sql_contact(channel: str, kind: str, properties: Mapping[str, Sequence[str]]) -> str:
    """The condition that an event of the timeline is such a contact: each property holds one of its values."""
    holds = (
        f"json_extract_string(properties, '$.{sql_name(key)}') IN ({sql_list(values)})"
        for key, values in properties.items()
    )
    return " AND ".join([f"channel = {sql_text(channel)}", f"kind = {sql_text(kind)}", *holds])
