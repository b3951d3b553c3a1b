"""One customer's rows of the timeline, wherever the groups of rows are cut."""

import itertools
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from features.offline.timeline import TIMELINE_SCHEMA
from features.offline.timeline_rows import TimelineRows
from features.state.fold import customer_arrays


@pytest.mark.parametrize("group_rows", [1, 2, 3, 100])
def test_a_customer_who_lies_across_groups_is_whole(tmp_path: Path, group_rows: int) -> None:
    names = ["ada", "ada", "ada", "bob", "cy", "cy", "zoe"]
    rows = [
        {"customer_id": name, "seq": seq, "kind": "view", "channel": "web", "product_code": 0}
        for seq, name in enumerate(names)
    ]
    table = pa.Table.from_pylist(rows, schema=TIMELINE_SCHEMA)
    pq.write_table(table, tmp_path / "timeline.parquet", row_group_size=group_rows)
    timeline = TimelineRows(tmp_path / "timeline.parquet")

    for name in (*sorted(set(names)), "ada", "nobody"):
        assert timeline.of(name).seq.tolist() == [seq for seq, owner in enumerate(names) if owner == name]


def test_it_is_what_the_fold_makes_of_the_rows(tmp_path: Path) -> None:
    events = [
        {
            "customer_id": f"c{i % 5}",
            "seq": i,
            "kind": kind,
            "channel": channel,
            "campaign_id": campaign,
            "value": value,
        }
        for i, (kind, channel, campaign, value) in enumerate(
            itertools.product(
                ["purchase", "send", "click", "decision"], ["web", "email"], ["spring", None], [2.5, None]
            )
        )
    ]
    for i, row in enumerate(events):  # many at the same moment, in an order that does not count
        row |= {
            "occurred_at": datetime(2024, 1, 1, i % 3, tzinfo=UTC),
            "product_code": i % 7,
            "decision_id": f"d{i % 4}",
        }
    events.sort(key=lambda row: (row["customer_id"], row["occurred_at"]))
    table = pa.Table.from_pylist(events, schema=TIMELINE_SCHEMA)
    pq.write_table(table, tmp_path / "timeline.parquet", row_group_size=10)
    timeline = TimelineRows(tmp_path / "timeline.parquet")

    for name in ("c0", "c1", "c2", "c3", "c4"):
        expected = customer_arrays(table.filter(pc.equal(table["customer_id"], name)))
        for field, values in timeline.of(name)._asdict().items():
            assert values.dtype == getattr(expected, field).dtype, field
            np.testing.assert_array_equal(values, getattr(expected, field), err_msg=field)
