"""An ingest that keeps nothing: what it tells is what the ingest then does."""

from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from features.cli import register
from features.ingest import dry_run, ingest
from features.settings import Settings

ORDERS = """order_id,date,email,sku,qty,price,currency
1,2024-01-02T10:00:00Z,a@example.org,x,1,5.00,EUR
1,2024-01-02T10:00:00Z,a@example.org,y,2,2.50,EUR
2,2024-02-03T10:00:00Z,,x,1,5.00,EUR
3,2024-02-04T10:00:00Z,b@example.org,x,1,7.00,USD
"""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.from_env({"OMNI_HOME": str(tmp_path / "home"), "OMNI_CURRENCY": "EUR"})


def test_nothing_is_kept_and_the_same_comes_of_it_afterwards(tmp_path: Path, settings: Settings) -> None:
    file = tmp_path / "orders.csv"
    file.write_text(ORDERS)
    told = dry_run("orders", settings, path=file)
    assert not settings.home.exists()
    assert (told.events, told.rejected, told.by_month["2024-01"].value) == (2, 2, {"EUR": 10.0})
    done = ingest("orders", settings, path=file)
    assert (done.appended, done.rejected) == (told.events, told.rejected)


def test_what_only_rejected_rows_say_of_products_is_of_no_use(tmp_path: Path, settings: Settings) -> None:
    mapping, file = tmp_path / "mapping.toml", tmp_path / "future.csv"
    mapping.write_text(
        '[columns]\noccurred_at = "at"\ncustomer_id = "who"\nproduct_id = "sku"\n'
        '[constants]\nkind = "view"\nchannel = "web"\n[products]\nname = "name"\n'
    )
    file.write_text("at,who,sku,name\n2999-01-01T00:00:00Z,ada,cup,Cup\n")
    told = dry_run(str(file), settings, mapping=mapping)
    done = ingest(str(file), settings, mapping=mapping)
    assert (told.rejected, told.products, told.nothing_usable) == (1, 0, True)
    assert (done.rejected, done.products, done.nothing_usable) == (1, 0, True)


def test_a_later_export_is_told_with_what_came_before(tmp_path: Path, settings: Settings) -> None:
    header = (
        "Name,Email,Financial Status,Currency,Created at,Lineitem quantity,Lineitem name,Lineitem price,Cancelled at"
    )
    row = "#1,a@example.org,paid,EUR,2024-01-02 10:00:00 +0000,1,Cup,5.00,"
    file = tmp_path / "export.csv"
    file.write_text(f"{header}\n{row}\n")
    assert ingest("shopify-orders", settings, path=file).appended == 1
    file.write_text(f"{header}\n{row}2024-01-03 10:00:00 +0000\n")
    assert sorted(dry_run("shopify-orders", settings, path=file).by_kind) == ["purchase", "return"]
    assert ingest("shopify-orders", settings, path=file).appended == 1
    again = ingest("shopify-orders", settings, path=file)
    assert (again.appended, again.conflicts) == (0, 0)


def test_the_commands_keep_nothing_and_say_what_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMNI_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    app = typer.Typer()
    register(app)
    run = CliRunner().invoke
    (tmp_path / "orders.csv").write_text(ORDERS)
    shown = run(app, ["mapping", "suggest", "orders.csv"])
    assert shown.exit_code == 0
    assert (tmp_path / "mapping.toml").read_text() in shown.output
    again = run(app, ["mapping", "suggest", "orders.csv", "--json"])
    assert '"mapping": null' in again.output
    assert run(app, ["ingest", "orders.csv", "--mapping", "mapping.toml", "--dry-run"]).exit_code == 0
    (tmp_path / "bad.csv").write_text("event_id,occurred_at,kind,channel\n1,yesterday,visit,web\n")
    assert run(app, ["ingest", "bad.csv", "--dry-run"]).exit_code == 1
    assert run(app, ["ingest", "orders.csv", "--table", "stock", "--dry-run"]).exit_code != 0
    assert not (tmp_path / "home" / "events.db").exists()
