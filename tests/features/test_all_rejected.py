"""The end of `omni ingest`: exit 1 where no row was of use, with the commonest reasons; products and pieces counted once."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from features.ingest import ingest
from features.rejects import without_values
from features.settings import Settings
from omni import app

GOOD = {"event_id": "g", "occurred_at": "2024-01-01T10:00:00Z", "kind": "visit", "channel": "web", "customer_id": "ada"}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("OMNI_HOME", str(tmp_path / "home"))
    return tmp_path


def lines(folder: Path, *rows: dict[str, object]) -> Path:
    file = folder / "events.jsonl"
    file.write_text("\n".join(json.dumps(row) for row in rows))
    return file


def test_nothing_of_use_is_exit_1_with_the_three_commonest_reasons(home: Path) -> None:
    bad = [{**GOOD, "event_id": f"k{n}", "kind": f"look {n}"} for n in range(4)]
    bad += [{**GOOD, "event_id": f"c{n}", "channel": "fax"} for n in range(3)]
    bad += [{**GOOD, "event_id": f"t{n}", "occurred_at": "soon"} for n in range(2)]
    bad += [{**GOOD, "event_id": "p", "kind": "purchase"}]
    found = CliRunner().invoke(app, ["ingest", str(lines(home, *bad)), "--json"])
    assert found.exit_code == 1
    report = json.loads(found.stdout)
    assert (report["rows"], report["events"], report["rejected"]) == (10, 0, 10)
    assert list(report["rejected_reasons"].values()) == [4, 3, 2]
    assert [reason.partition(":")[0] for reason in report["rejected_reasons"]] == ["kind", "channel", "occurred_at"]
    assert "every row of" in found.stderr and "kind:" in found.stderr


def test_one_good_row_is_enough(home: Path) -> None:
    found = CliRunner().invoke(
        app, ["ingest", str(lines(home, GOOD, {**GOOD, "event_id": "b", "kind": "?"})), "--json"]
    )
    assert found.exit_code == 0
    assert json.loads(found.stdout)["rejected"] == 1
    again = CliRunner().invoke(app, ["ingest", str(lines(home, GOOD)), "--json"])
    assert (again.exit_code, json.loads(again.stdout)["duplicates"]) == (0, 1)


def test_a_reason_is_counted_without_the_value_in_question() -> None:
    assert without_values("is 'ada@example.org', which is no number") == without_values("is 'bob', which is no number")
    assert without_values("lies 12.5 days ahead") == without_values("lies 3 days ahead")


def test_a_product_of_many_batches_counts_once(home: Path) -> None:
    sale = {**GOOD, "kind": "purchase", "product_id": "tea", "value": 4.0, "name": "Tea", "category": "drinks"}
    table = pa.Table.from_pylist([{**sale, "event_id": f"e{n}"} for n in range(6)])
    pq.write_table(table, home / "sales.parquet", row_group_size=2)
    mapping = home / "mapping.toml"
    names = ("event_id", "occurred_at", "kind", "channel", "customer_id", "product_id", "value")
    columns = "".join(f'{name} = "{name}"\n' for name in names)
    mapping.write_text(f'[columns]\n{columns}[products]\nname = "name"\ncategory = "category"\n')
    settings = Settings.from_env({"OMNI_HOME": str(home / "home")})
    report = ingest(str(home / "sales.parquet"), settings, mapping=mapping)
    assert (report.appended, report.products) == (6, 1)
