"""The path of a CSV or Parquet file in, its rows out."""

from pathlib import Path
from typing import Final

import duckdb
import pandas as pd

from features.errors import InputError
from features.sql import connect

_CSV: Final = (".csv", ".gz", ".txt")


def read_frame(path: Path) -> pd.DataFrame:
    """A CSV or Parquet file as it is, times in UTC. Raises InputError for a file that cannot be read."""
    if not path.exists():
        raise InputError(f"{path} is not there.", repair="Give the path of a CSV or Parquet file.")
    reader = "read_csv" if path.suffix.lower() in _CSV else "read_parquet"
    with connect() as connection:
        try:
            return connection.execute(f"SELECT * FROM {reader}(?)", [str(path)]).df()
        except duckdb.Error as error:
            raise InputError(f"{path}: {str(error).splitlines()[0]}.", repair="Give a CSV or Parquet file.") from error
