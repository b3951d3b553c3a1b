"""What a file does not say of a product changes nothing, and writers at the same time lose nothing."""

import json
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from features.errors import InputError
from features.ingest import IngestReport, ingest
from features.settings import Settings
from features.sources.batch import PRODUCT_SCHEMA
from features.sources.product_table import merge_products

LATER = datetime(2030, 1, 1, tzinfo=UTC)
KNOWN = {
    "product_id": "milk",
    "category": "dairy",
    "brand": "Alm",
    "price": 1.5,
    "attributes": '{"withdrawn": true, "fat": 3.5}',
    "available_from": LATER,
    "name": "Milk",
    "currency": None,
}
MAPPING = """
{clear}
[columns]
occurred_at = "when"
customer_id = "who"
product_id = "what"
[constants]
kind = "view"
channel = "web"
[products]
{products}
"""


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """A home that knows milk."""
    settings.products_path.parent.mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist([KNOWN], PRODUCT_SCHEMA), settings.products_path)
    return settings


def bring(settings: Settings, text: str, products: str = "", clear: str = "") -> IngestReport:
    """Ingest views; the columns are when, who, what and those that `text` names."""
    header, *lines = text.strip().splitlines()
    rows = [f"2024-05-01T00:00:{row:02},{line}" for row, line in enumerate(lines)]
    home = settings.home
    (home / "rows.csv").write_text("\n".join([f"when,who,{header}", *(row.replace(",", "Z,a,", 1) for row in rows)]))
    (home / "map.toml").write_text(MAPPING.format(products=products, clear=clear))
    return ingest(str(home / "rows.csv"), settings, mapping=home / "map.toml")


def products(settings: Settings) -> dict[str, dict[str, Any]]:
    return {row["product_id"]: row for row in pq.read_table(settings.products_path).to_pylist()}


def test_a_file_with_only_names_changes_only_names(settings: Settings) -> None:
    report = bring(settings, "what,n\nmilk,Whole milk\ntea,Tea", 'name = "n"')
    assert report.products == 2
    assert products(settings)["milk"] == {**KNOWN, "name": "Whole milk"}
    assert products(settings)["tea"] == {**dict.fromkeys(KNOWN), "product_id": "tea", "name": "Tea"}


@pytest.mark.parametrize("blank", ["", " ", "NULL", "nan"])
def test_blanks_change_nothing(settings: Settings, blank: str) -> None:
    mapping = 'name = "n"\ncategory = "c"\nbrand = "b"\nprice = "p"'
    bring(settings, f"what,n,c,b,p\nmilk,{blank},{blank},{blank},{blank}", mapping)
    assert products(settings)["milk"] == KNOWN


def test_of_a_files_rows_the_last_that_says_something_counts(settings: Settings) -> None:
    bring(settings, "what,n,c\nmilk,A,x\nmilk,B,\nmilk,,y\nmilk,,", 'name = "n"\ncategory = "c"')
    assert products(settings)["milk"] == {**KNOWN, "name": "B", "category": "y"}


def test_it_is_the_same_over_several_batches(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("features.sources.readers.delimited._BLOCK_BYTES", 64)
    bring(
        settings,
        "what,n,c\nmilk,A,x\nmilk,B,\nmilk,,y\nmilk,,",
        'name = "n"\ncategory = "c"',
        'clear = ["name", "brand"]',
    )
    assert products(settings)["milk"] == {**KNOWN, "name": "B", "category": "y", "brand": None}


def test_clear_empties_what_it_names(settings: Settings) -> None:
    bring(settings, "what,n\nmilk,\ntea,Tea", 'name = "n"', 'clear = ["name", "price", "attributes"]')
    assert products(settings)["milk"] == {**KNOWN, "name": None, "price": None, "attributes": None}
    bring(settings, "what\nmilk", "", 'clear = ["category", "brand", "available_from"]')
    assert products(settings)["milk"] == {**dict.fromkeys(KNOWN), "product_id": "milk"}
    assert products(settings)["tea"]["name"] == "Tea"


@pytest.mark.parametrize(
    ("clear", "words"),
    [('clear = ["colour"]', "clear"), ('clear = "price"', "clear"), ('clear = ["product_id"]', "clear")],
)
def test_clear_names_fields_of_a_product(settings: Settings, clear: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        bring(settings, "what\nmilk", "", clear)


def test_rejected_rows_say_nothing_of_their_product(settings: Settings) -> None:
    text = "what,n,p\nmilk,Good,2\nmilk,Bad price,cheap\ntea,Tea,much"
    report = bring(settings, text, 'name = "n"\nprice = "p"')
    assert (report.rejected_by_field, report.products) == ({"price": 2}, 1)
    assert products(settings) == {"milk": {**KNOWN, "name": "Good", "price": 2.0}}
    bring(settings, "what,n\n" + "m" * 300 + ",Too long an id", 'name = "n"')
    assert list(products(settings)) == ["milk"]


def test_rows_of_nobody_say_nothing_of_their_product(settings: Settings) -> None:
    (settings.home / "identity.toml").write_text('more_placeholders = ["walk-in"]\n')
    text = "when,who,what,n\n" + "".join(
        f"2024-05-0{day}T00:00:00Z,{who},{what},{name}\n"
        for day, who, what, name in (
            (1, "a", "tea", "Tea"),
            (2, "undefined", "tea", "Wrong"),
            (3, "Walk-In", "pot", "Pot"),
        )
    )
    (settings.home / "rows.csv").write_text(text)
    (settings.home / "map.toml").write_text(MAPPING.format(products='name = "n"', clear=""))
    report = ingest(str(settings.home / "rows.csv"), settings, mapping=settings.home / "map.toml")
    assert (report.appended, report.rejected_by_field, report.products) == (1, {"customer_id": 2}, 1)
    assert products(settings)["tea"]["name"] == "Tea" and "pot" not in products(settings)


def test_attributes_are_merged_key_by_key(settings: Settings) -> None:
    said = {**dict.fromkeys(KNOWN), "product_id": "milk", "attributes": '{"fat": 1.5, "organic": true}'}
    merge_products(settings.products_path, pa.Table.from_pylist([said], PRODUCT_SCHEMA))
    merged = products(settings)["milk"]
    assert json.loads(merged["attributes"]) == {"withdrawn": True, "fat": 1.5, "organic": True}
    assert {**merged, "attributes": None} == {**KNOWN, "attributes": None}


def test_a_table_of_ones_own_keeps_its_other_columns(settings: Settings) -> None:
    own = pa.table({"product_id": [7, 8], "price": pa.array([1, 2]), "shelf": ["a", "b"]})
    pq.write_table(own, settings.products_path)
    bring(settings, "what,n\n8,Eight\n9,Nine", 'name = "n"')
    rows = products(settings)
    assert [(row["product_id"], row["price"], row["name"], row["shelf"]) for row in rows.values()] == [
        ("7", 1.0, None, "a"),
        ("8", 2.0, "Eight", "b"),
        ("9", None, "Nine", None),
    ]


@pytest.mark.parametrize(
    ("own", "words"),
    [
        (pa.table({"product_id": ["a"], "price": ["12 apples"]}), "row 0: price is '12 apples'"),
        (pa.table({"id": ["a"]}), "it has no column product_id"),
        (None, "cannot be merged with"),
    ],
)
def test_a_table_that_cannot_be_read_is_named_and_left(settings: Settings, own: pa.Table | None, words: str) -> None:
    if own is None:
        settings.products_path.write_bytes(b"half of a file")
    else:
        pq.write_table(own, settings.products_path)
    before = settings.products_path.read_bytes()
    with pytest.raises(InputError, match=words):
        bring(settings, "what,n\nmilk,Milk", 'name = "n"')
    assert settings.products_path.read_bytes() == before


def bring_one(env: dict[str, str], folder: str, name: str) -> int:
    """One ingest of one product, in a process of its own."""
    file, mapping = Path(folder) / f"{name}.csv", Path(folder) / f"{name}.toml"
    file.write_text(f"when,who,what,n\n2024-05-01T00:00:00Z,a,{name},Product {name}\n")
    mapping.write_text(MAPPING.format(products='name = "n"', clear=""))
    return ingest(str(file), Settings.from_env(env), mapping=mapping).appended


@pytest.mark.parametrize("engine", ["sqlite", "postgres"])
def test_eight_rounds_of_four_ingests_at_once_lose_no_product(
    tmp_path: Path, engine: str, request: pytest.FixtureRequest
) -> None:
    env = {"OMNI_HOME": str(tmp_path / "home")}
    if engine == "postgres":
        new_postgres: Callable[[], str] = request.getfixturevalue("new_postgres")
        env["OMNI_EVENT_LOG"] = new_postgres()
    names = [f"p{number:02}" for number in range(32)]
    with ProcessPoolExecutor(4, get_context("spawn")) as pool:
        for start in range(0, 32, 4):
            rounds = [pool.submit(bring_one, env, str(tmp_path), name) for name in names[start : start + 4]]
            assert [done.result() for done in rounds] == [1, 1, 1, 1]
    table = pq.read_table(Settings.from_env(env).products_path)
    assert table["product_id"].to_pylist() == names
    assert table["name"].to_pylist() == [f"Product {name}" for name in names]
