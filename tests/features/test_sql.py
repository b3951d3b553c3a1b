"""Connections that speak UTC, files whose names would break a query, and moments as people write them."""

from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from features.errors import InputError
from features.moments import utc
from features.sql import connect, scan, sql_list


def test_a_connection_is_in_utc_and_keeps_its_limits(tmp_path: Path) -> None:
    with connect("700MB", threads=1, temp_directory=tmp_path) as connection:
        found = connection.execute(
            "SELECT current_setting('TimeZone'), current_setting('threads'), current_setting('temp_directory')"
        ).fetchone()
    assert found == ("UTC", 1, str(tmp_path))


def test_a_file_with_a_quote_in_its_name_is_read(tmp_path: Path) -> None:
    path = tmp_path / "ana's shop.parquet"
    pq.write_table(pa.table({"a": [3, 4]}), path)
    with connect() as connection:
        assert connection.execute(f"FROM {scan(path)}").fetchall() == [(3,), (4,)]
        assert connection.execute(f"SELECT file_row_number FROM {scan(path, numbered=True)}").fetchall() == [(0,), (1,)]
        assert connection.execute(f"SELECT 'o''hare' IN ({sql_list(['o' + chr(39) + 'hare'])})").fetchall() == [(True,)]


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2018-01-01", datetime(2018, 1, 1, tzinfo=UTC)),
        ("2018-01-01T12:00+02:00", datetime(2018, 1, 1, 10, tzinfo=UTC)),
        ("2018-01-01T12:00Z", datetime(2018, 1, 1, 12, tzinfo=UTC)),
    ],
)
def test_a_moment_without_a_zone_is_in_utc(text: str, moment: datetime) -> None:
    assert utc(text) == moment
    assert utc(text).tzinfo is UTC


def test_what_is_no_moment_says_how_to_write_one() -> None:
    with pytest.raises(InputError, match=r"'yesterday' is not a date\. Write it as 2018-01-01"):
        utc("yesterday")
