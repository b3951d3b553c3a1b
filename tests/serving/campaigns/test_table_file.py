"""Tables as files: the ending says which, a wrong one is refused before anything is computed, a CSV runs no formula."""

import csv
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from features.errors import InputError
from features.settings import Settings
from serving.campaigns import audience, bulk
from serving.campaigns.table_file import check_out, table_writer

SCHEMA = pa.schema([("customer_id", pa.string()), ("pscore", pa.float64()), ("reasons", pa.list_(pa.string()))])
ROWS = [
    {"customer_id": "ada", "pscore": 0.5, "reasons": ["worth 1.20", "not post: it's late, and dark"]},
    {"customer_id": "=1+1", "pscore": None, "reasons": []},
]


def written(out: Path) -> Path:
    with table_writer(out, SCHEMA) as writer:
        for row in ROWS:
            writer.write_table(pa.Table.from_pylist([row], schema=SCHEMA))
    return out


def test_parquet_and_csv_hold_the_same(tmp_path: Path) -> None:
    assert pq.read_table(written(tmp_path / "a.parquet")).to_pylist() == ROWS
    with written(tmp_path / "a.CSV").open(newline="") as file:
        first, second = csv.DictReader(file)
    assert (first["customer_id"], float(first["pscore"]), json.loads(first["reasons"])) == tuple(ROWS[0].values())
    assert (second["customer_id"], second["pscore"], second["reasons"]) == ("'=1+1", "", "[]")


@pytest.mark.parametrize("name", ["a.json", "a", "a.parquet.gz"])
def test_another_ending_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match=r"neither in \.parquet nor in \.csv"):
        check_out(tmp_path / name)


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "a.csv").mkdir()
    with pytest.raises(InputError, match="is a folder"):
        check_out(tmp_path / "a.csv")


def test_both_commands_look_at_out_and_where_first(tmp_path: Path) -> None:
    empty = Settings.from_env({"OMNI_HOME": str(tmp_path / "home")})  # holds nothing: else they would complain of that
    with pytest.raises(InputError, match="ends neither"):
        bulk.decide_all(empty, tmp_path / "x.txt")
    with pytest.raises(InputError, match="ends neither"):
        audience.export_audience(empty, "true", tmp_path / "x.txt")
    with pytest.raises(InputError, match="cannot be read"):
        audience.export_audience(empty, "churn >", tmp_path / "x.csv")
    assert not (tmp_path / "home").exists()
