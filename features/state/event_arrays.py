"""Events as a table in, the columns of numbers that the fold reads out."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from features.arrays import BoolArray, FloatArray, IntArray
from features.events.contact_points import identified_column
from features.events.hashing import hash_texts
from features.events.payload import detail_column, order_column
from features.state import layout
from features.state.layout import EventArrays
from features.vocabulary import CHANNEL_CODES, CONTACT_KINDS, KIND_CODES, KINDS, Columns, EventKind

PRODUCT_CODE_BITS: Final = 48
_FEW: Final = 32
"""Up to so many events are taken from Arrow value by value."""
_DECISION: Final = KIND_CODES[EventKind.DECISION]
_DECIDED_KINDS: Final = (*CONTACT_KINDS, EventKind.CLICK, EventKind.OUTCOME)
_IS_DECIDED: Final = np.isin(np.arange(len(KINDS)), [KIND_CODES[kind] for kind in _DECIDED_KINDS])
"""Kinds that are about what a decision was about, where they name one."""
_NO_EVENTS: Final = EventArrays(
    time=np.zeros(0),
    kind=np.zeros(0, np.int8),
    channel=np.zeros(0, np.int8),
    product=np.zeros(0, np.int64),
    quantity=np.zeros(0),
    value=np.zeros(0),
    seq=np.zeros(0, np.int64),
    detail=np.zeros(0),
    written=np.zeros(0, np.int8),
    order=np.zeros(0, np.int64),
    campaign=np.zeros(0, np.int64),
    decision=np.zeros(0, np.int64),
    identified=np.zeros(0, np.int64),
    brought_back=np.zeros(0),
)


class Contact(NamedTuple):
    """A contact, an answer to one, or a decision that one may name: when (microseconds since the epoch), how, about what."""

    occurred_us: int
    kind: str
    channel: str
    product_id: str | None
    campaign_id: str | None
    decision_id: str | None
    seq: int


def product_code(product_ids: Sequence[str | None]) -> IntArray:
    """Product ids as positive 48-bit hashes, shape (n,): stable over processes and machines, 0 for a missing id.

    States hold six bytes a product. Of a million products two share a code with a chance of 0.2 %, of 100,000 of 0.002 %.
    """
    distinct = list(dict.fromkeys(product_ids))  # of many events, many are about the same products
    texts = ["" if not value or value != value else str(value) for value in distinct]
    positive = (hash_texts(texts) >> np.uint64(64 - PRODUCT_CODE_BITS)).astype(np.int64)
    codes = np.where([bool(text) for text in texts], np.maximum(positive, 1), 0)
    if len(distinct) == len(product_ids):
        return codes
    code_of = dict(zip(distinct, codes.tolist(), strict=True))
    return np.fromiter(map(code_of.__getitem__, product_ids), np.int64, len(product_ids))


def event_arrays(events: pa.Table) -> EventArrays:
    """Event columns as the kernel wants them, in the table's order.

    Needs occurred_at, kind, channel, quantity and value, and product_code or product_id; takes seq, and detail, order_code or
    properties, identified or identifiers, where they are there.
    """
    n = events.num_rows
    if n <= _FEW:
        return _few_arrays(events)
    if Columns.PRODUCT_CODE in events.column_names:
        product = events[Columns.PRODUCT_CODE].to_numpy().astype(np.int64, copy=False)
    else:
        product = event_codes(events, Columns.PRODUCT_ID)
    seq = events[Columns.SEQ].to_numpy() if Columns.SEQ in events.column_names else np.zeros(n)
    micros = events[Columns.OCCURRED_AT].cast(pa.timestamp("us", tz="UTC")).cast(pa.int64()).to_numpy()
    return EventArrays(
        time=micros / 1e6,
        kind=_codes(events[Columns.KIND], KIND_CODES),
        channel=_codes(events[Columns.CHANNEL], CHANNEL_CODES),
        product=np.ascontiguousarray(product),
        quantity=_floats(events[Columns.QUANTITY]),
        value=_floats(events[Columns.VALUE]),
        seq=seq.astype(np.int64),
        detail=_details(events),
        written=_written(events),
        order=_orders(events),
        campaign=event_codes(events, Columns.CAMPAIGN_ID),
        decision=event_codes(events, Columns.DECISION_ID),
        identified=_identified(events),
        brought_back=np.zeros(events.num_rows),
    )


def contact_arrays(contacts: Sequence[Contact]) -> EventArrays:
    """Contacts (m,) of one customer as columns; what they do not tell is empty."""
    if not contacts:
        return _NO_EVENTS
    moments, kinds, channels, products, campaigns, decisions, seqs = zip(*contacts, strict=True)
    n = len(contacts)
    return _NO_EVENTS._replace(
        time=np.array(moments, np.int64) / 1e6,
        kind=np.array([KIND_CODES[kind] for kind in kinds], np.int8),
        channel=np.array([CHANNEL_CODES[channel] for channel in channels], np.int8),
        product=product_code(products),
        quantity=np.full(n, np.nan),
        value=np.full(n, np.nan),
        seq=np.array(seqs, np.int64),
        detail=np.full(n, np.nan),
        written=np.full(n, layout.WRITTEN, np.int8),
        order=np.zeros(n, np.int64),
        campaign=product_code(campaigns),
        decision=product_code(decisions),
        identified=np.zeros(n, np.int64),
        brought_back=np.zeros(n),
    )


def named_by_decisions(events: EventArrays, customers: IntArray | None = None) -> EventArrays:
    """`events`, sorted by customer, with the product and campaign of the decision that contacts and their answers name.

    That is where they name no product of their own, and the decision is not of a later moment.
    `customers` (m,) are numbers of each event's customer, and may be left out where there is one.
    """
    wanting, decided = np.flatnonzero(nameless(events)), np.flatnonzero(decides(events))
    if not len(wanting) or not len(decided):
        return events
    names, place = np.unique(events.decision, return_inverse=True)
    keys = place if customers is None else customers * len(names) + place
    decided = decided[np.argsort(keys[decided], kind="stable")]
    at = np.minimum(np.searchsorted(keys[decided], keys[wanting]), len(decided) - 1)
    decision = decided[at]
    fits = (keys[decision] == keys[wanting]) & (events.time[decision] <= events.time[wanting])
    rows, decision = wanting[fits], decision[fits]
    product, campaign = events.product.copy(), events.campaign.copy()
    product[rows] = events.product[decision]
    campaign[rows] = np.where(campaign[rows] == 0, events.campaign[decision], campaign[rows])
    return events._replace(product=product, campaign=campaign)


def decides(events: EventArrays) -> BoolArray:
    """Which events are decisions about a product or campaign, under a name that a message may have (m,)."""
    about_something = (events.product != 0) | (events.campaign != 0)
    return np.asarray((events.kind == _DECISION) & (events.decision != 0) & about_something)


def nameless(events: EventArrays) -> BoolArray:
    """Which contacts, and answers to them, name a decision but not what it was about (m,)."""
    return np.asarray(_IS_DECIDED[events.kind] & (events.product == 0) & (events.decision != 0))


def event_codes(events: pa.Table, name: str) -> IntArray:
    """The codes of a column of ids, 0 where there is none; hashed once for every id, as many events have the same."""
    if name not in events.column_names or events[name].null_count == events.num_rows:
        return np.zeros(events.num_rows, np.int64)
    if events.num_rows <= _FEW:
        return np.array([_one_code(value) if value else 0 for value in events[name].to_pylist()], dtype=np.int64)
    encoded = pc.dictionary_encode(events[name].cast(pa.string()).combine_chunks())
    codes = np.append(product_code(encoded.dictionary.to_pylist()), 0)
    return np.asarray(codes[encoded.indices.fill_null(len(codes) - 1).to_numpy()])


def _few_arrays(events: pa.Table) -> EventArrays:
    """`event_arrays` by way of Python values: for a few events that takes a tenth of what Arrow's functions take."""
    if events.num_rows == 0:
        return _NO_EVENTS
    names = events.column_names

    def values(name: str) -> list[Any]:
        column: list[Any] = events.column(name).to_pylist()
        return column

    if Columns.PRODUCT_CODE in names:
        product = values(Columns.PRODUCT_CODE)
    else:
        product = [_one_code(product_id) if product_id else 0 for product_id in values(Columns.PRODUCT_ID)]
    return EventArrays(
        time=events.column(Columns.OCCURRED_AT).to_numpy().astype("datetime64[us]").astype(np.int64) / 1e6,
        kind=np.array([KIND_CODES[kind] for kind in values(Columns.KIND)], dtype=np.int8),
        channel=np.array([CHANNEL_CODES[channel] for channel in values(Columns.CHANNEL)], dtype=np.int8),
        product=np.array(product, dtype=np.int64),
        quantity=np.array(values(Columns.QUANTITY), dtype=np.float64),  # None becomes NaN
        value=np.array(values(Columns.VALUE), dtype=np.float64),
        seq=np.array(values(Columns.SEQ) if Columns.SEQ in names else [0] * len(product), dtype=np.int64),
        detail=_details(events),
        written=_written(events),
        order=_orders(events),
        campaign=event_codes(events, Columns.CAMPAIGN_ID),
        decision=event_codes(events, Columns.DECISION_ID),
        identified=_identified(events),
        brought_back=np.zeros(events.num_rows),
    )


def _details(events: pa.Table) -> FloatArray:
    if Columns.DETAIL in events.column_names:
        return _floats(events[Columns.DETAIL])
    return detail_column(events)


def _orders(events: pa.Table) -> IntArray:
    if Columns.ORDER_CODE in events.column_names:
        return np.array(events[Columns.ORDER_CODE].fill_null(0).to_numpy(), dtype=np.int64)
    return order_column(events)


def _identified(events: pa.Table) -> IntArray:
    if Columns.IDENTIFIED in events.column_names:
        return np.array(events[Columns.IDENTIFIED].fill_null(0).to_numpy(), dtype=np.int64)
    return identified_column(events)


def _written(events: pa.Table) -> NDArray[np.int8]:
    if Columns.WRITTEN in events.column_names:
        return np.asarray(events[Columns.WRITTEN].to_numpy(), dtype=np.int8)
    return np.full(events.num_rows, layout.WRITTEN, dtype=np.int8)


@lru_cache(maxsize=100_000)
def _one_code(product_id: str) -> int:
    return int(product_code([product_id])[0])


def _codes(column: pa.ChunkedArray, codes: dict[str, int]) -> NDArray[np.int8]:
    if not pa.types.is_dictionary(column.type):
        column = pc.dictionary_encode(column.cast(pa.string()))
    encoded = column.combine_chunks()
    lookup = np.array([codes[value] for value in encoded.dictionary.to_pylist()], dtype=np.int8)
    return lookup[encoded.indices.to_numpy()] if len(lookup) else np.zeros(0, dtype=np.int8)


def _floats(column: pa.ChunkedArray) -> FloatArray:
    return np.array(column.cast(pa.float64()).fill_null(np.nan).to_numpy())
