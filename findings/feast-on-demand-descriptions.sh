#!/usr/bin/env bash
# Feast 0.67.0: an on-demand view whose field has a description or a tag is refused, as if the field were not there.
#
# Expected before running: `Field(description=…, tags=…)` documents a field of an on-demand view as it does one of a feature view.
# Seen: `apply` runs the function once, makes fields of what comes out, and looks for the stated ones among them; these have
# no description and no tags, so a field that says anything differs: "Explicitly specified features […] not found in inferred
# list of features", with the field itself printed as missing. A feature view takes the same field.
# Whoever wants named features with meanings says them elsewhere, or keeps Feast from inferring the view's fields.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check feast==0.67.0 pandas==2.3.3

cd "$folder"
FEAST_USAGE=False "$folder/venv/bin/python" -W ignore - <<'PYTHON'
import sys
from datetime import datetime, timedelta, timezone
from importlib.metadata import version
from pathlib import Path

import pandas as pd
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, ValueType
from feast.on_demand_feature_view import OnDemandFeatureView
from feast.transformation.pandas_transformation import PandasTransformation
from feast.types import Float64

SAID = {"nothing": {}, "a description": {"description": "money"}, "a tag": {"tags": {"group": "money"}}}
EXPECTED = {"nothing": (True, True), "a description": (True, False), "a tag": (True, False)}
TEXT = "def double(rows):\n    import pandas as pd\n    return pd.DataFrame({'doubled': rows['spent'] * 2})\n"

Path("feature_store.yaml").write_text(
    "project: p\nprovider: local\nregistry: registry.db\nentity_key_serialization_version: 3\n"
    "online_store: {type: sqlite, path: online.db}\noffline_store: {type: file}\n"
)
moment = datetime(2026, 1, 1, tzinfo=timezone.utc)
pd.DataFrame({"shop": ["s1"], "event_timestamp": [moment], "spent": [1.0]}).to_parquet("spent.parquet")
source = FileSource(name="file", path=str(Path("spent.parquet").resolve()), timestamp_field="event_timestamp")
shop = Entity(name="shop", join_keys=["shop"], value_type=ValueType.STRING)
scope = {}
exec(TEXT, scope)


def is_taken(*views: object) -> bool:
    try:
        FeatureStore(repo_path=".").apply([shop, *views])
    except Exception as error:
        print(" ", type(error).__name__, str(error).splitlines()[0])
        return False
    return True


print("feast", version("feast"))
seen = {}
for what, said in SAID.items():
    spent = Field(name="spent", dtype=Float64, **said)
    view = FeatureView(name="spending", entities=[shop], ttl=timedelta(days=9), schema=[spent], source=source)
    on_demand = OnDemandFeatureView(
        name="double",
        sources=[view],
        schema=[Field(name="doubled", dtype=Float64, **said)],
        feature_transformation=PandasTransformation(udf=scope["double"], udf_string=TEXT),
    )
    seen[what] = is_taken(view), is_taken(view, on_demand)
    print(f"the field says {what}: feature view taken {seen[what][0]}, on-demand view taken {seen[what][1]}")
sys.exit(seen != EXPECTED)
PYTHON
