"""JSON events come in; a table of the good ones goes out, with values in the home's currency, and what is wrong with others."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import pyarrow as pa

from features.events.placeholders import Placeholders
from features.events.rules import NOBODY
from features.events.schema import Rejection, parse_table
from features.money.home import HomeCurrency
from features.vocabulary import Columns


def parse_valued(
    items: Sequence[Mapping[str, Any]], now: datetime, currency: HomeCurrency, nobody: Placeholders = NOBODY
) -> tuple[pa.Table, list[Rejection]]:
    """`parse_table` with values in the home's currency; those that cannot be brought there are refused as well."""
    table, rejections = parse_table(items, now, nobody)
    screened = currency.screen(table)
    if not screened.problems:
        return screened.table, rejections
    bad = {rejection.index for rejection in rejections}
    places = [index for index in range(len(items)) if index not in bad]
    event_ids = table[Columns.EVENT_ID].to_pylist()
    refused = [Rejection(places[row], *problem, event_ids[row]) for row, problem in screened.problems.items()]
    return screened.table, sorted([*rejections, *refused], key=lambda rejection: rejection.index)
