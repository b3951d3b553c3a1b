"""Limits in, a DuckDB connection in UTC out; values and files in, pieces of SQL that are safely written out."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb


def connect(
    memory_limit: str | None = None, *, threads: int | None = None, temp_directory: Path | None = None
) -> duckdb.DuckDBPyConnection:
    """A connection in UTC, whatever the machine's zone; beyond its memory it works on disk.

    What is not given is DuckDB's own choice: most of the machine's memory, all its cores.
    """
    limits = {"memory_limit": memory_limit, "threads": threads, "temp_directory": temp_directory}
    connection = duckdb.connect(config={name: str(value) for name, value in limits.items() if value is not None})
    connection.execute("SET TimeZone = 'UTC'")  # not in the config: the extension that knows zones is loaded later
    return connection


def scan(path: Path | str, numbered: bool = False) -> str:
    """A Parquet file, or a pattern of several, as a table; `numbered` adds the column file_row_number."""
    return f"read_parquet({sql_text(path)}{', file_row_number = true' if numbered else ''})"


def sql_list(values: Sequence[str]) -> str:
    """Texts as IN takes them between its brackets."""
    return ", ".join(sql_text(value) for value in values)


def sql_text(value: Any) -> str:
    """A value as quoted text."""
    return "'" + str(value).replace("'", "''") + "'"
