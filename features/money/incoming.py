"""JSON events come in; the good ones go out, with values in the home's currency, and what is wrong with the others."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import pyarrow as pa

from features.events.placeholders import Placeholders
from features.events.rows import EventRow, parse_rows
from features.events.rules import NOBODY
from features.events.schema import Rejection, parse_table
from features.money.home import HomeCurrency
from features.vocabulary import Columns


def parse_few(
    items: Sequence[Mapping[str, Any]], now: datetime, currency: HomeCurrency, nobody: Placeholders = NOBODY
) -> tuple[pa.Table | list[EventRow], list[Rejection]]:
    """`parse_valued` with the events as rows, but for those of which some are of other currencies, or of large values."""
    rows, rejections = parse_rows(items, now, nobody)
    return (rows, rejections) if currency.leaves(rows) else parse_valued(items, now, currency, nobody)


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
