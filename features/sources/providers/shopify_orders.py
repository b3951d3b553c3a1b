"""Shopify's export of orders comes in (CSV, in one file or in parts); purchases and returns go out, an event a line.

The export is read twice: first for its newest moment, at which refunds count that have no moment of their own, then for its
orders. What the log holds of an order already is asked, so that a later export adds only what is new. What an order means is
in `shopify_lines.py`.
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import groupby
from typing import Any, Final

import numpy as np
import pyarrow as pa

from features.errors import InputError
from features.events.rules import Problem
from features.formats.reading import Fields, UnreadableError, moment, number, text
from features.sources.batch import PRODUCT_SCHEMA, SourceBatch, to_product_table
from features.sources.providers.outcomes import Outcome, to_batch
from features.sources.providers.shopify_lines import NAME, NEEDED, TIMES, Landed, Row, read_order
from features.sources.readers import BATCH_ROWS, RawRows, ReadOptions, read_rows
from features.sources.readers.rows import no_rejected
from features.vocabulary import Columns

logger = logging.getLogger(__name__)

OPTIONS: Final = ReadOptions(multiline=True)
"""Notes may go over several lines."""


@dataclass
class _Export:
    """What is read with each order, and what only the whole export shows."""

    seen_until: datetime
    landed: Landed
    products: dict[str, dict[str, Any]] = field(default_factory=dict)
    unequal: list[str] = field(default_factory=list)


@dataclass
class _Chunk:
    """Rows of whole orders, and what each of them came to."""

    numbers: list[int] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)

    def raw(self, rejected: pa.Table) -> RawRows:
        return RawRows(np.array(self.numbers, np.int64), rejected, items=self.rows, typed=False)


def load(path: str | None, sample: float | None, landed: Landed) -> Iterator[SourceBatch]:
    """Batches of the export at `path`; `landed` says which ids the log holds that begin with a text, and their values."""
    place = path or ""
    export = _Export(_newest(place), landed)
    rejected: list[pa.Table] = []
    chunk = _Chunk()
    for name, group in groupby(_numbered(place, rejected), key=lambda numbered: numbered[1][NAME]):
        numbers, rows = zip(*group, strict=True)
        chunk.numbers += numbers
        chunk.rows += rows
        chunk.outcomes += _outcomes(name, rows, export)
        if len(chunk.rows) >= BATCH_ROWS:
            yield to_batch(chunk.raw(_taken(rejected)), chunk.outcomes, sample)
            chunk = _Chunk()
    last = to_batch(chunk.raw(_taken(rejected)), chunk.outcomes, sample)
    yield replace(last, products=_products(export))
    if export.unequal:
        logger.warning(
            "The lines of %d orders do not add up to their subtotals (%s is the first); they are kept as they are written.",
            len(export.unequal),
            export.unequal[0],
        )


def _newest(place: str) -> datetime:
    """The newest moment in the export. Raises InputError where it is not one."""
    moments: list[datetime] = []
    for raw in read_rows(place, OPTIONS):
        missing = [name for name in NEEDED if name not in raw.names]
        if missing:
            raise InputError(
                f"{place} has no column {missing[0]!r}: it is no export of orders from Shopify.",
                repair="Export orders from the admin as CSV; or bring another file with --mapping.",
            )
        for column in TIMES:
            if column in raw.names:
                moments += _moments(set(raw.values(column)), column)
    return max(moments, default=datetime.now(UTC))


def _moments(texts: set[str | None], column: str) -> Iterator[datetime]:
    for written in texts:
        if written:
            try:
                yield moment(written, column)
            except UnreadableError:
                continue  # told where the order is read


def _numbered(place: str, rejected: list[pa.Table]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Rows with their numbers; what could not be read goes into `rejected`."""
    for raw in read_rows(place, OPTIONS):
        rejected.append(raw.rejected)
        yield from zip(raw.numbers.tolist(), raw.objects(), strict=True)


def _taken(rejected: list[pa.Table]) -> pa.Table:
    """All that was rejected since it was asked last."""
    table = pa.concat_tables(rejected) if rejected else no_rejected()
    rejected.clear()
    return table


def _outcomes(name: str, rows: Sequence[Row], export: _Export) -> list[Outcome]:
    """What each row of an order means; where one of them cannot be read, none is: half an order is a wrong one."""
    if not name:
        return [Outcome(problems=[Problem(NAME, "is blank: a line says which order it is of.")]) for _ in rows]
    try:
        order = read_order(rows, export.seen_until, export.landed)
    except UnreadableError as error:
        return [Outcome(problems=[error.problem]) for _ in rows]
    if order.skipped is not None:
        return [Outcome(skipped=[order.skipped]) for _ in rows]
    if not order.adds_up:
        export.unequal.append(name)
    for row, events in zip(rows, order.rows, strict=True):
        _note_product(row, events, export)
    return [Outcome(events=list(events)) for events in order.rows]


def _note_product(row: Row, events: Sequence[Fields], export: _Export) -> None:
    """What a line says of its product; of an export, newest first, its first word counts."""
    product_id = events[0].get(Columns.PRODUCT_ID) if events else None
    if product_id is not None and product_id not in export.products:
        export.products[product_id] = {
            Columns.NAME: text(row.get("Lineitem name"), "Lineitem name"),
            Columns.BRAND: text(row.get("Vendor"), "Vendor"),
            Columns.PRICE: number(row.get("Lineitem price"), "Lineitem price"),
            Columns.CURRENCY: events[0].get(Columns.CURRENCY),
        }


def _products(export: _Export) -> pa.Table | None:
    if not export.products:
        return None
    said = {
        name: pa.array([product[name] for product in export.products.values()], PRODUCT_SCHEMA.field(name).type)
        for name in (Columns.NAME, Columns.BRAND, Columns.PRICE, Columns.CURRENCY)
    }
    ids = pa.array(list(export.products), pa.string())
    return to_product_table({Columns.PRODUCT_ID: ids, **said}, len(ids))
