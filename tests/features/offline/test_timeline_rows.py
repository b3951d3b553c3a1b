"""One customer's rows of the timeline, wherever the groups of rows are cut."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from features.offline.state_files import FOLD_COLUMNS
from features.offline.timeline import TIMELINE_SCHEMA
from features.offline.timeline_rows import TimelineRows


@pytest.mark.parametrize("group_rows", [1, 2, 3, 100])
def test_a_customer_who_lies_across_groups_is_whole(tmp_path: Path, group_rows: int) -> None:
    names = ["ada", "ada", "ada", "bob", "cy", "cy", "zoe"]
    rows = [{"customer_id": name, "seq": seq, "kind": "view"} for seq, name in enumerate(names)]
    table = pa.Table.from_pylist(rows, schema=TIMELINE_SCHEMA)
    pq.write_table(table, tmp_path / "timeline.parquet", row_group_size=group_rows)
    timeline = TimelineRows(tmp_path / "timeline.parquet")

    for name in (*sorted(set(names)), "ada", "nobody"):
        found = timeline.of(name)
        assert found["seq"].to_pylist() == [seq for seq, owner in enumerate(names) if owner == name]
        assert found.column_names == list(FOLD_COLUMNS)
