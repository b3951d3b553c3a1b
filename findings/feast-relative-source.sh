#!/usr/bin/env bash
# Feast 0.67.0: a relative FileSource is looked for in the repository by one offline store, in the working folder by another.
#
# Expected before running: `FileSource(path="data/sales.parquet")` is taken from the repository, as feature_store.yaml's own
# relative paths are, whatever the offline store.
# Seen: `apply` and the offline store `dask` take it from the repository; `duckdb` takes it from wherever the process runs.
# A notebook in another folder fails at best; where that folder has a file of the same name, as copies of one project do, it
# answers with the other project's values, without a word.
# Whoever defines a source for DuckDB gives its whole path, and applies again after the folder has moved.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check 'feast[duckdb]==0.67.0' duckdb==2.0.1 pandas==2.3.3

cd "$folder"
FEAST_USAGE=False "$folder/venv/bin/python" -W ignore - <<'PYTHON' 2> >(grep -v -e nanobind -e leaked -e skipped >&2)
import os
import sys
from datetime import datetime, timedelta, timezone
from importlib.metadata import version
from pathlib import Path

import pandas as pd
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, ValueType
from feast.types import Int64

EXPECTED = {
    ("dask", "live"): "live's value", ("dask", "copy"): "live's value", ("dask", "empty"): "live's value",
    ("duckdb", "live"): "live's value", ("duckdb", "copy"): "copy's value", ("duckdb", "empty"): "no file",
}  # fmt: skip
OF = {1: "live's value", 2: "copy's value"}
start, home, seen = datetime(2026, 1, 1, tzinfo=timezone.utc), Path.cwd(), {}

for value, name in ((1, "live"), (2, "copy")):
    (home / name / "data").mkdir(parents=True)
    rows = pd.DataFrame({"shop": ["s1"], "event_timestamp": [start], "sold": [value]})
    rows.to_parquet(home / name / "data" / "sales.parquet")
(home / "empty").mkdir()

for engine in ("dask", "duckdb"):
    os.chdir(home / "live")
    Path("feature_store.yaml").write_text(
        f"project: p\nprovider: local\nregistry: {engine}.db\nentity_key_serialization_version: 3\n"
        f"online_store: {{type: sqlite, path: {engine}-online.db}}\noffline_store: {{type: {engine}}}\n"
    )
    shop = Entity(name="shop", join_keys=["shop"], value_type=ValueType.STRING)
    source = FileSource(name="sales", path="data/sales.parquet", timestamp_field="event_timestamp")
    view = FeatureView(
        name="sales", entities=[shop], ttl=timedelta(days=9), schema=[Field(name="sold", dtype=Int64)], source=source
    )
    FeatureStore(repo_path=".").apply([shop, view])
    asked = pd.DataFrame({"shop": ["s1"], "event_timestamp": [start + timedelta(days=1)]})
    for name in ("live", "copy", "empty"):
        os.chdir(home / name)
        try:
            found = FeatureStore(repo_path=str(home / "live")).get_historical_features(asked, ["sales:sold"]).to_df()
            seen[engine, name] = OF[int(found["sold"].iloc[0])]
        except Exception:
            seen[engine, name] = "no file"

print("feast", version("feast"), "duckdb", version("duckdb"))
for (engine, name), answer in seen.items():
    print(f"repository live, {engine}, process in {name}: {answer}")
sys.exit(seen != EXPECTED)
PYTHON
