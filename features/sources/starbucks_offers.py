"""A month of offers, views and purchases of a coffee shop's app users comes in; cross-channel events go out.

Simulated by its publisher: 17,000 customers, 10 offers sent in 6 waves, 306,534 rows of transcript. What each row
becomes, and why:

Time. The transcript counts hours (0 to 714) from a start that it does not name. The youngest member joined on
    2018-07-26, so the hours are counted from START, the day after at 00:00 UTC: a choice, not a fact.
offer received (76,277) -> one `send` for each channel that the offer goes out by, since the file does not say by
    which the customer got it: web, email, mobile (-> app) and social. campaign_id is the offer; its type, reward,
    difficulty and days are properties. E-mail is in every set, so channel effects are confounded with the offer.
offer viewed (57,725) -> `open`. On which channel is not told: the first of app, social, web, email that the offer
    went out by, a choice that gives one open for one view.
offer completed (33,579, of which 397 repeat a row word for word) -> `outcome` on that same channel with the reward
    as value. A customer can complete one offer twice in an hour (it was sent twice), so the repeats are events of
    their own and get a running number.
transaction (138,953) -> `purchase` on channel store without a product: the value is that of the basket.
profile (17,000) -> `profile` on channel app, on the day of joining. Age 118 stands for "not told" in the file (2,175
    customers, the same who told neither gender nor income) and is left out.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from features.errors import InputError
from features.sources.batch import SourceBatch, read_query, sampled, to_event_table
from features.sql import connect

START: Final = "2018-07-27 00:00:00+00"
"""Hour 0 of the transcript."""
_FILES: Final = ("portfolio", "profile", "transcript")
_BATCH_ROWS: Final = 200_000


def load(path: Path | None, sample: float | None = None) -> Iterator[SourceBatch]:
    """Batches of the folder `path` with portfolio, profile and transcript.parquet; `sample` keeps a share of customers."""
    if path is None or not all((path / f"{name}.parquet").is_file() for name in _FILES):
        raise InputError(
            f"{path} does not hold {', '.join(f'{name}.parquet' for name in _FILES)}.",
            repair="Pass --path with the folder that does.",
        )
    portfolio, profile, transcript = (pq.read_table(path / f"{name}.parquet") for name in _FILES)
    yield from convert(portfolio, profile, transcript, sample)


def convert(
    portfolio: pa.Table, profile: pa.Table, transcript: pa.Table, sample: float | None = None
) -> Iterator[SourceBatch]:
    """Batches from the three tables as they are published."""
    profile = profile.filter(sampled(profile.column("id"), sample))
    # the row number tells repeats apart in a way that does not change from one reading to the next
    transcript = transcript.append_column("row", pa.array(range(transcript.num_rows), pa.int64()))
    transcript = transcript.filter(sampled(transcript.column("person"), sample))
    connection = connect()
    for name, table in (("portfolio", portfolio), ("profile", profile), ("transcript", transcript)):
        connection.register(name, table)
    yield _batch(connection, _PROFILES, profile.num_rows)
    for query, event in (
        (_SENDS, "offer received"),
        (_VIEWS, "offer viewed"),
        (_PURCHASES, "transaction"),
        (_COMPLETIONS, "offer completed"),
    ):
        yield _batch(connection, query, pc.sum(pc.equal(transcript.column("event"), event)).as_py() or 0)
    connection.close()


def _batch(connection: duckdb.DuckDBPyConnection, query: str, rows_total: int) -> SourceBatch:
    table = read_query(connection, query)
    columns = {name: table.column(name) for name in table.column_names}
    return SourceBatch(to_event_table(columns, table.num_rows), rows_total=rows_total)


_OFFERS: Final = """
offers AS (
    SELECT id AS offer_id, [CASE c WHEN 'mobile' THEN 'app' ELSE c END FOR c IN channels] AS sent_by,
           to_json({offer_type: offer_type, reward: reward, difficulty: difficulty, days: duration})::VARCHAR AS properties
    FROM portfolio),
shown AS (
    SELECT *, [c FOR c IN ['app', 'social', 'web', 'email'] IF list_contains(sent_by, c)][1] AS seen_on FROM offers)"""
_WHEN: Final = f"TIMESTAMPTZ '{START}' + to_hours(time_h::INTEGER) AS occurred_at"

_PROFILES: Final = """
SELECT 'sb:profile:' || id AS event_id, strptime(became_member_on, '%Y%m%d')::TIMESTAMP AT TIME ZONE 'UTC' AS occurred_at,
       'profile' AS kind, 'app' AS channel, id AS customer_id,
       nullif(json_merge_patch('{}', to_json({gender: gender, age: nullif(age, 118), income: income}))::VARCHAR, '{}')
           AS properties
FROM profile ORDER BY occurred_at, event_id"""

_SENDS: Final = f"""
WITH {_OFFERS}
SELECT 'sb:send:' || person || ':' || time_h || ':' || offer_id || ':' || channel AS event_id, {_WHEN},
       'send' AS kind, channel, person AS customer_id, offer_id AS campaign_id, properties
FROM (SELECT transcript.*, unnest(sent_by) AS channel, properties FROM transcript JOIN offers USING (offer_id)
      WHERE event = 'offer received')
ORDER BY occurred_at, event_id"""

_VIEWS: Final = f"""
WITH {_OFFERS}
SELECT 'sb:open:' || person || ':' || time_h || ':' || offer_id AS event_id, {_WHEN},
       'open' AS kind, seen_on AS channel, person AS customer_id, offer_id AS campaign_id, properties
FROM transcript JOIN shown USING (offer_id) WHERE event = 'offer viewed' ORDER BY occurred_at, event_id"""

_COMPLETIONS: Final = f"""
WITH {_OFFERS}
SELECT 'sb:outcome:' || person || ':' || time_h || ':' || offer_id || ':' || turn AS event_id, {_WHEN},
       'outcome' AS kind, seen_on AS channel, person AS customer_id, offer_id AS campaign_id,
       reward AS value, 'USD' AS currency, properties
FROM (SELECT *, row_number() OVER (PARTITION BY person, time_h, offer_id ORDER BY row) AS turn
      FROM transcript WHERE event = 'offer completed')
JOIN shown USING (offer_id) ORDER BY occurred_at, event_id"""

_PURCHASES: Final = f"""
SELECT 'sb:purchase:' || person || ':' || time_h || ':' || turn AS event_id, {_WHEN},
       'purchase' AS kind, 'store' AS channel, person AS customer_id, amount AS value, 'USD' AS currency
FROM (SELECT *, row_number() OVER (PARTITION BY person, time_h ORDER BY row) AS turn
      FROM transcript WHERE event = 'transaction')
ORDER BY occurred_at, event_id"""
