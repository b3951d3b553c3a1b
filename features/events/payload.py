"""What an event says beside its columns comes in; one number goes out that holds what the fold takes, or what is wrong.

A `profile` event may carry {"consent": {"email": true, "sms": false}, "profiling": false, "preferred_channel": "sms"}, a
`feedback` event {"rating": 4}, a `subscribe` event that begins a contract {"ends_at": "2025-06-30"}; a `purchase` and its
`return` may name their {"order_id": "A-17"}. Other properties are kept with the event and change no state. Of anything else
that a customer does in a store the number is the store's code.
"""

import json
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from features.arrays import FloatArray, IntArray
from features.events.hashing import hash_texts
from features.events.values import MAX_NUMBER
from features.vocabulary import CHANNEL_CODES, CUSTOMER_KINDS, Columns, EventKind

BITS_PER_ANSWER: Final = 2
NO, YES = 1, 2
"""An answer in a profile's number; 0 where the event does not say."""
PREFERENCE_SHIFT: Final = 44
"""Where the preferred channel lies, four bits: its code + 1, or NO_PREFERENCE; 0 where the event does not say."""
NO_PREFERENCE: Final = 15
PROFILING_SHIFT: Final = 48
"""Where the answer about profiling lies; first of all lie the channels' answers, in the order of their codes."""
TELLING_KINDS: Final = (EventKind.PROFILE.value, EventKind.FEEDBACK.value, EventKind.SUBSCRIBE.value)
"""Kinds whose properties the fold looks into."""
PLACED_KINDS: Final = tuple(kind for kind in CUSTOMER_KINDS if kind.value not in TELLING_KINDS)
"""Kinds of which the fold takes the store."""
ORDER_ID: Final = "order_id"
"""The property by which a return finds what it takes back."""
CONVERTED_FROM: Final = "converted_from"
"""The property that keeps an amount as it came, with its currency and the rate, where it was converted (features/money)."""
OTHERS_ID: Final = "consent:"
"""How the event id begins under which a customer has what somebody else said for their address (identity/addresses.py)."""
OF_OTHERS: Final = -1.0
"""The number of such an event: it consents or refuses, and is nothing that this customer did."""
OTHERS_PATTERN: Final = rf"^{OTHERS_ID}[0-9a-f]{{16}}:[0-9]+$"
"""How all of it looks."""
_CONSENT_KINDS: Final = (EventKind.SUBSCRIBE.value, EventKind.UNSUBSCRIBE.value)
_ORDER_KINDS: Final = (EventKind.PURCHASE.value, EventKind.RETURN.value)
_EXACT: Final = 2.0**53
"""From here on a fraction number stands for several whole ones, and so for no order."""
_HASH_BITS_DROPPED: Final = 11
"""Of 64: what is left is a whole number that a float holds exactly."""


def read_detail(kind: str, properties: Mapping[str, Any] | None) -> float | str:
    """The number for the fold, NaN where there is nothing to say; or (as text) the reason why it cannot be read."""
    if not properties:
        return math.nan
    if kind == EventKind.PROFILE:
        return _read_profile(properties)
    if kind == EventKind.FEEDBACK and properties.get("rating") is not None:
        rating = properties["rating"]
        if isinstance(rating, bool) or not isinstance(rating, int | float) or not abs(rating) <= MAX_NUMBER:
            return 'holds a rating that is no number, or too large: write it like {"rating": 4}.'
        return float(rating)
    if kind == EventKind.SUBSCRIBE and properties.get("ends_at") is not None:
        return _read_moment(properties["ends_at"])
    return math.nan


@lru_cache(maxsize=65_536)
def store_code(store_id: str) -> float:
    """A store's id as a whole number: the same everywhere and always."""
    return float(hash_texts([store_id])[0] >> np.uint64(_HASH_BITS_DROPPED))


def detail_column(events: pa.Table) -> FloatArray:
    """The number of every row of a table with kind, properties (JSON text) and, where there are some, stores, shape (n,)."""
    details = _stores(events)
    _mark_others(events, details)
    if Columns.PROPERTIES not in events.column_names:
        return details
    properties = events[Columns.PROPERTIES]
    if properties.null_count == events.num_rows:
        return details
    is_payload_kind = pc.is_in(events[Columns.KIND].cast(pa.string()), value_set=pa.array(TELLING_KINDS))
    rows = np.flatnonzero(pc.and_(is_payload_kind, properties.is_valid()).to_numpy())
    kinds, texts = (events[name].take(pa.array(rows)).to_pylist() for name in (Columns.KIND, Columns.PROPERTIES))
    for row, kind, text in zip(rows, kinds, texts, strict=True):
        detail = read_detail(kind, json.loads(text))
        details[row] = detail if isinstance(detail, float) else np.nan
    return details


def order_column(events: pa.Table) -> IntArray:
    """The code of the order of every row of a table with kind and properties (JSON text), 0 without one, shape (n,)."""
    codes = np.zeros(events.num_rows, np.int64)
    if Columns.PROPERTIES not in events.column_names or events[Columns.PROPERTIES].null_count == events.num_rows:
        return codes
    properties = events[Columns.PROPERTIES].cast(pa.string())
    named = pc.fill_null(pc.match_substring(properties, f'"{ORDER_ID}"'), False)
    of_kind = pc.is_in(events[Columns.KIND].cast(pa.string()), value_set=pa.array(_ORDER_KINDS))
    rows = np.flatnonzero(pc.and_(of_kind, named).to_numpy())
    for row, text in zip(rows, properties.take(pa.array(rows)).to_pylist(), strict=True):
        order = json.loads(text).get(ORDER_ID)
        name = "" if isinstance(order, bool) or not isinstance(order, str | int | float) else str(order).strip()
        if isinstance(order, float) and order.is_integer():  # a gap in a column of numbers makes 17 a 17.0
            name = str(int(order)) if abs(order) < _EXACT else ""
        codes[row] = (int(store_code(name)) or 1) if name else 0
    return codes


def _read_moment(written: object) -> float | str:
    """Seconds since the epoch of an ISO 8601 date or moment, in UTC where it names no zone; or the reason why not."""
    try:
        moment = datetime.fromisoformat(str(written))
    except ValueError:
        return 'holds an ends_at that is no moment: write it like {"ends_at": "2025-06-30"}.'
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _mark_others(events: pa.Table, details: FloatArray) -> None:
    """Put OF_OTHERS into `details` (n,) where somebody else said it."""
    if Columns.EVENT_ID not in events.column_names:
        return
    ids = events[Columns.EVENT_ID]
    rows = np.flatnonzero(pc.fill_null(pc.starts_with(ids, OTHERS_ID), False).to_numpy())
    if len(rows):
        some = events.select([Columns.EVENT_ID, Columns.KIND]).take(pa.array(rows))
        of_kind = pc.is_in(some[Columns.KIND].cast(pa.string()), value_set=pa.array(_CONSENT_KINDS))
        details[rows[pc.and_(of_kind, pc.match_substring_regex(some[Columns.EVENT_ID], OTHERS_PATTERN)).to_numpy()]] = (
            OF_OTHERS
        )


def _stores(events: pa.Table) -> FloatArray:
    """The code of the store that a customer did something in, NaN elsewhere."""
    codes = np.full(events.num_rows, np.nan)
    if Columns.STORE_ID not in events.column_names or events[Columns.STORE_ID].null_count == events.num_rows:
        return codes
    placed = pc.is_in(events[Columns.KIND].cast(pa.string()), value_set=pa.array([kind.value for kind in PLACED_KINDS]))
    rows = np.flatnonzero(pc.and_(placed, events[Columns.STORE_ID].is_valid()).to_numpy())
    stores = events[Columns.STORE_ID].take(pa.array(rows)).cast(pa.string()).combine_chunks().dictionary_encode()
    known = np.array([store_code(name) for name in stores.dictionary.to_pylist()])
    if len(rows):
        codes[rows] = known[stores.indices.to_numpy()]
    return codes


def _read_profile(properties: Mapping[str, Any]) -> float | str:
    consent, profiling = properties.get("consent"), properties.get("profiling")
    if consent is not None and not isinstance(consent, Mapping):
        return 'holds a consent that is no object: write it like {"consent": {"email": true}}.'
    packed = 0
    for channel, said in (consent or {}).items():
        if channel not in CHANNEL_CODES:
            return f"holds a consent to {str(channel)[:40]!r}, which is no channel: use {', '.join(CHANNEL_CODES)}."
        if not isinstance(said, bool):
            return f"holds a consent to {channel} that is neither true nor false."
        packed |= (YES if said else NO) << BITS_PER_ANSWER * CHANNEL_CODES[channel]
    if profiling is not None:
        if not isinstance(profiling, bool):
            return 'holds a profiling that is neither true nor false: write it like {"profiling": false}.'
        packed |= (YES if profiling else NO) << PROFILING_SHIFT
    if "preferred_channel" in properties:
        preferred = properties["preferred_channel"]
        if preferred is not None and (not isinstance(preferred, str) or preferred not in CHANNEL_CODES):
            return f"holds a preferred_channel that is none: use null or {', '.join(CHANNEL_CODES)}."
        packed |= (NO_PREFERENCE if preferred is None else CHANNEL_CODES[preferred] + 1) << PREFERENCE_SHIFT
    return float(packed) if packed else math.nan
