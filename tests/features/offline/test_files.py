"""Sources in one file or in a folder of part files, and the setting that chooses who writes them."""

from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from features.errors import MissingError, SettingsError
from features.offline import files, spark_session
from features.settings import Settings


def write(path: Path, *values: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"a": list(values)}), path)
    return path


def scan(path: Path) -> list[int]:
    return [a for (a,) in duckdb.sql(f"SELECT a FROM read_parquet('{files.scan_path(path)}') ORDER BY a").fetchall()]


def test_a_file_and_a_folder_are_scanned_alike(tmp_path):
    write(tmp_path / "folder" / "part-1.parquet", 3)
    write(tmp_path / "folder" / "part-2.parquet", 1, 2)

    assert scan(tmp_path / "folder") == [1, 2, 3]
    assert scan(write(tmp_path / "one.parquet", 4)) == [4]


@pytest.mark.parametrize("new_is_folder", [True, False])
@pytest.mark.parametrize("old_is_folder", [True, False, None])
def test_the_new_source_takes_the_place_of_the_old_one(tmp_path, old_is_folder, new_is_folder):
    new, target = tmp_path / "new", tmp_path / "target.parquet"
    if old_is_folder is not None:
        write(target / "part-old.parquet" if old_is_folder else target, 1)
    write(new / "part-new.parquet" if new_is_folder else new, 2)

    files.replace(new, target)

    assert scan(target) == [2]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["target.parquet"]


def test_what_a_killed_process_left_is_in_nobodys_way(tmp_path):
    write(tmp_path / "target.old" / "part.parquet", 1)
    write(tmp_path / "target.parquet" / "part.parquet", 2)

    files.replace(write(tmp_path / "new" / "part.parquet", 3).parent, tmp_path / "target.parquet")

    assert scan(tmp_path / "target.parquet") == [3]
    assert not (tmp_path / "target.old").exists()


def test_another_part_is_another_stamp(tmp_path):
    folder = write(tmp_path / "folder" / "part-1.parquet", 1).parent
    before = files.stamp(folder)
    assert files.stamp(folder) == before

    write(folder / "part-2.parquet", 2)

    assert files.stamp(folder) != before


def test_the_offline_store_is_a_setting():
    assert Settings.from_env({}).offline_store == "duckdb"
    chosen = Settings.from_env({"OMNI_OFFLINE_STORE": "spark", "OMNI_SPARK_MASTER": "spark://head:7077"})
    assert (chosen.offline_store, spark_session.spark_conf(chosen)["spark.master"]) == ("spark", "spark://head:7077")
    with pytest.raises(SettingsError, match="OMNI_OFFLINE_STORE is 'hive'"):
        Settings.from_env({"OMNI_OFFLINE_STORE": "hive"})


def test_a_spark_on_this_machine_listens_to_nobody_else():
    conf = spark_session.spark_conf(Settings.from_env({"OMNI_SPARK_MASTER": "local[2]"}))

    assert (conf["spark.driver.bindAddress"], conf["spark.ui.enabled"]) == ("127.0.0.1", "false")
    assert "spark.driver.host" not in spark_session.spark_conf(Settings.from_env({"OMNI_SPARK_MASTER": "yarn"}))


def test_without_pyspark_the_way_to_it_is_named(monkeypatch, settings):
    monkeypatch.setattr("features.offline.spark_session.find_spec", lambda _: None)

    with pytest.raises(MissingError, match="make spark"):
        spark_session.session(settings)
