"""Nobody on the suppression list is learnt from or reported on; without a list the timeline is the home's own."""

from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from features.log.engines import open_log
from features.settings import Settings
from training.data.suppressed import without_suppressed
from training.report.scan import timeline_connection

DAY = datetime(2024, 1, 1, tzinfo=UTC)


@pytest.fixture
def home(tmp_path: Path) -> Settings:
    settings = Settings.from_env({"OMNI_HOME": str(tmp_path)})
    settings.timeline_path.parent.mkdir(parents=True)
    rows = {"customer_id": pa.array(["ada", "bob", "bob", "cleo"]).dictionary_encode(), "seq": [1, 2, 3, 4]}
    pq.write_table(pa.table(rows), settings.timeline_path)
    return settings


def test_the_timeline_to_learn_from_lacks_whom_the_list_names_and_nothing_else(home: Settings) -> None:
    with without_suppressed(home) as same:
        assert same is home
    with closing(open_log(home)) as log:
        log.suppressions().add(["bob", "nobody known"], "staff")
    with without_suppressed(home) as learnt:
        own, other = home.timeline_path, learnt.timeline_path
        assert own != other
        assert pq.read_table(other).to_pydict() == {"customer_id": ["ada", "cleo"], "seq": [1, 4]}
        assert pq.read_schema(other).equals(pq.read_schema(own))
    assert not other.exists()
    assert pq.read_table(home.timeline_path).num_rows == 4


def test_a_report_is_of_the_others(tmp_path: Path) -> None:
    timeline = tmp_path / "timeline.parquet"
    columns = {name: pa.array([None] * 2, pa.string()) for name in ("event_id", "channel", "kind", "session_id")}
    more = {"customer_id": ["ada", "bob"], "occurred_at": [DAY, DAY], "value": [1.0, 2.0], "properties": ["{}", "{}"]}
    pq.write_table(pa.table({**columns, **more}), timeline)
    for left_out, expected in (((), ["ada", "bob"]), (["bob"], ["ada"])):
        with timeline_connection(timeline, left_out) as connection:
            found = connection.execute("SELECT customer_id FROM timeline ORDER BY 1").fetchall()
            assert [customer_id for (customer_id,) in found] == expected
