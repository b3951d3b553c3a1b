"""Orders as shops export them: lines continued over rows, lines inside, lines in a file of their own; they add up."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from features.ingest import ingest
from features.log.engines import open_log
from features.settings import Settings
from tests.features.sources.layouts.brought_files import SALE, bring

CONTINUED = """
time_zone = "UTC"
event_id_from = ["no"]
line_of = "no"
carry_down = ["mail", "state", "at"]
within = "no"
[columns]
occurred_at = "at"
kind = "state"
product_id = "sku"
unit_price = "each"
order_discount = "off"
[identifiers]
email = "mail"
[constants]
channel = "web"
currency = "EUR"
[kinds]
done = "purchase"
[skip]
kind = ["draft"]
"""


def test_continued_rows_get_what_the_first_row_of_their_order_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (
        "no,mail,state,at,sku,each,off\nA,m@example.org,done,2025-01-01,tea,10,1\nA,,,,cup,20,\nA,,,,tea,10,\n"
        "B,o@example.org,draft,2025-01-02,tea,10,0\nB,,,,cup,20,\nC,,done,2025-01-03,tea,10,0\n"
    )
    for block_bytes in (2**20, 70):  # the second time an order goes on in the next block
        monkeypatch.setattr("features.sources.readers.delimited._BLOCK_BYTES", block_bytes)
        folder = tmp_path / str(block_bytes)
        folder.mkdir()
        report, events = bring(folder, "a.csv", text, CONTINUED)
        assert {no: row["value"] for no, row in events.items()} == {"A:1": 9.75, "A:2": 19.5, "A:3": 9.75}
        assert {dict(row["identifiers"])["email"] for row in events.values()} == {"m@example.org"}
        assert (report.skipped_by_word, report.rejected_by_field, report.rows) == ({"draft": 2}, {"customer_id": 1}, 6)


NESTED = """
explode = "lines"
scale = 0.01
event_id_from = ["id"]
[columns]
occurred_at = "at"
customer_id = "who.no"
product_id = "lines.sku"
quantity = "lines.n"
unit_price = "lines.cents"
discount = "lines.off"
order_discount = "off"
[constants]
kind = "purchase"
channel = "web"
currency = "EUR"
"""
ORDERS = [
    {"id": 1, "at": "2025-01-01T00:00:00Z", "who": {"no": "k"}, "off": 1000,
     "lines": [{"sku": s, "n": n, "cents": c, "off": 0} for s, n, c in (("a", 1, 1000), ("b", 2, 1000), ("c", 3, 1000))]},
    {"id": 2, "at": "2025-01-01T00:00:00Z", "who": {"no": "k"}, "off": 0, "lines": []},
    {"id": 3, "at": "2025-01-01T00:00:00Z", "who": {"no": "l"}, "off": 0,
     "lines": [{"sku": "a", "n": 1, "cents": 999, "off": 99}]},
]  # fmt: skip


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_lines_inside_orders_add_up_to_the_order(tmp_path: Path, kind: str) -> None:
    if kind == "jsonl":
        _, events = bring(tmp_path, "o.jsonl", ORDERS, NESTED)
    else:
        pq.write_table(pa.Table.from_pylist(ORDERS), tmp_path / "o.parquet")
        (tmp_path / "map.toml").write_text(NESTED)
        settings = Settings.from_env({"OMNI_HOME": str(tmp_path / "home")})
        ingest(str(tmp_path / "o.parquet"), settings, mapping=tmp_path / "map.toml")
        log = open_log(settings)
        events = {row["event_id"]: row for batch in log.read() for row in batch.to_pylist()}
        log.close()
    values = {no: row["value"] for no, row in events.items()}
    assert values == {"1:1": 8.33, "1:2": 16.67, "1:3": 25.0, "3:1": 9.0}
    assert sum(value for no, value in values.items() if no.startswith("1:")) == pytest.approx(50.0)


def test_a_second_file_gives_its_columns_to_the_rows_of_its_key(tmp_path: Path) -> None:
    (tmp_path / "orders.csv").write_text("order,who,at\n7,a,2025-01-01\n8,b,2025-01-02\n")
    text = "order,no,sku,paid\n7,1,tea,1\n8,2,cup,2\n9,3,pot,3\n"
    report, events = bring(tmp_path, "lines.csv", text, SALE, join=f"{tmp_path / 'orders.csv'}:order")
    assert {no: row["customer_id"] for no, row in events.items()} == {"1": "a", "2": "b"}
    assert report.rejected_by_field == {"order": 1}
