"""Arrays of things that happened in a simulated world in, one event table out, with identifiers appearing as in life."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from features.arrays import FloatArray, IntArray
from features.events.schema import EVENT_SCHEMA
from features.simulator.shop import N_PRODUCTS, N_STORES, product_id, store_id
from features.vocabulary import CHANNEL_CODES, CHANNELS, DAY_US, KIND_CODES, KINDS, Channel, Columns, EventKind, IdType

NONE: Final = -1
ID_TYPES: Final = (IdType.COOKIE, IdType.DEVICE, IdType.EMAIL, IdType.PHONE, IdType.LOYALTY_CARD)
COOKIE, DEVICE, EMAIL, PHONE, CARD = (1 << i for i in range(len(ID_TYPES)))
"""Which identifiers an event carries, as bits."""
CURRENCY: Final = "EUR"

_COLUMNS: Final = (
    "time_us",
    "who",
    "kind",
    "channel",
    "product",
    "quantity",
    "value",
    "store",
    "session",
    "decision",
    "ids",
    "named",
)
_MISSING: Final = {
    "product": NONE,
    "quantity": np.nan,
    "value": np.nan,
    "store": NONE,
    "session": NONE,
    "decision": NONE,
    "named": True,
}


@dataclass
class EventBuffer:
    """Rows as they come, in parts of equal-length arrays; numbers stand for customers, products, stores and decisions."""

    parts: dict[str, list[Any]] = field(default_factory=lambda: {name: [] for name in _COLUMNS})
    texts: dict[tuple[int, int], str] = field(default_factory=dict)
    """Properties (JSON) of the event of a kind code and a customer (profile) or decision (decision)."""
    n_sessions: int = 0

    def add(
        self,
        kind: EventKind,
        channel: Channel | IntArray,
        time_us: IntArray,
        who: IntArray,
        ids: int | IntArray,
        **columns: Any,
    ) -> None:
        """Events of one kind; a scalar stands for the same value in every row. See `_COLUMNS` for the names."""
        n = len(who)
        if n == 0:
            return
        code = CHANNEL_CODES[channel] if isinstance(channel, Channel) else channel
        values = {
            **_MISSING,
            **columns,
            "time_us": time_us,
            "who": who,
            "kind": KIND_CODES[kind],
            "channel": code,
            "ids": ids,
        }
        for name in _COLUMNS:
            self.parts[name].append(np.broadcast_to(np.asarray(values[name]), (n,)))

    def new_sessions(self, n: int) -> IntArray:
        """Numbers of n new visits."""
        first = self.n_sessions
        self.n_sessions += n
        return np.arange(first, first + n)

    def table(self, start: datetime, customer_ids: np.ndarray, cookies: np.ndarray) -> pa.Table:
        """Everything in the order of time (EVENT_SCHEMA). `cookies` (n,) says how often a customer's cookie changed."""
        columns = {name: np.concatenate(parts) if parts else np.zeros(0) for name, parts in self.parts.items()}
        order = np.argsort(columns["time_us"], kind="stable")
        c = {name: values[order] for name, values in columns.items()}
        who = c["who"].astype(np.int64)
        n = len(who)
        moment = np.datetime64(start.replace(tzinfo=None), "us") + c["time_us"].astype("timedelta64[us]")
        decision = _numbered("d-", c["decision"], 8)
        arrays = {
            Columns.EVENT_ID: _numbered("sim-", np.arange(1, n + 1), 9),
            Columns.OCCURRED_AT: pa.array(moment).cast(EVENT_SCHEMA.field(Columns.OCCURRED_AT).type),
            Columns.KIND: _named([kind.value for kind in KINDS], c["kind"]),
            Columns.CHANNEL: _named([channel.value for channel in CHANNELS], c["channel"]),
            Columns.CUSTOMER_ID: pc.if_else(pa.array(c["named"].astype(bool)), _named(list(customer_ids), who), None),
            Columns.IDENTIFIERS: identifier_maps(c["ids"].astype(np.int64), who, customer_ids, cookies),
            Columns.PRODUCT_ID: _named([product_id(i) for i in range(N_PRODUCTS)], c["product"]),
            Columns.QUANTITY: pa.array(c["quantity"].astype(np.float64), from_pandas=True),
            Columns.VALUE: pa.array(c["value"].astype(np.float64), from_pandas=True),
            Columns.CURRENCY: pc.if_else(pa.array(~np.isnan(c["value"].astype(np.float64))), CURRENCY, None),
            Columns.CAMPAIGN_ID: pc.if_else(decision.is_valid(), "always-on", None),
            Columns.DECISION_ID: decision,
            Columns.STORE_ID: _named([store_id(i) for i in range(N_STORES)], c["store"]),
            Columns.SESSION_ID: _numbered("s-", c["session"], 8),
            Columns.PROPERTIES: self._properties(c),
        }
        return pa.Table.from_arrays(
            [arrays[name].cast(EVENT_SCHEMA.field(name).type) for name in EVENT_SCHEMA.names], schema=EVENT_SCHEMA
        )

    def _properties(self, c: dict[str, Any]) -> pa.Array:
        kinds = c["kind"].astype(np.int64)
        texts = np.full(len(kinds), None, dtype=object)
        for kind, key in (
            (EventKind.PROFILE, "who"),
            (EventKind.DECISION, "decision"),
            (EventKind.FEEDBACK, "session"),
        ):
            rows = np.flatnonzero(kinds == KIND_CODES[kind])
            texts[rows] = [self.texts.get((KIND_CODES[kind], int(i))) for i in c[key][rows]]
        return pa.array(texts, pa.string())


def identifier_maps(bits: IntArray, who: IntArray, customer_ids: np.ndarray, cookies: np.ndarray) -> pa.Array:
    """The identifiers that each event carries, as a map column; null where it carries none."""
    has = np.stack([(bits >> i) & 1 for i in range(len(ID_TYPES))], axis=1).astype(bool)  # (n, types)
    rows, kinds = np.nonzero(has)
    offsets = np.concatenate([[0], np.cumsum(has.sum(axis=1))]).astype(np.int32)
    prefix = np.array(["ck-", "dv-", "", "+4900", "LC"], dtype=object)
    suffix = np.array(["", "", "@example.org", "", ""], dtype=object)
    plain = np.array([name.removeprefix("C") for name in customer_ids], dtype=object)
    values = prefix[kinds] + plain[who[rows]] + suffix[kinds]
    is_cookie = kinds == 0
    values[is_cookie] = values[is_cookie] + "-" + cookies[who[rows[is_cookie]]].astype(str).astype(object)
    keys = _named([kind.value for kind in ID_TYPES], kinds)
    maps = pa.MapArray.from_arrays(pa.array(offsets), keys, pa.array(values, pa.string()))
    return pc.if_else(pa.array(offsets[1:] > offsets[:-1]), maps, pa.nulls(len(bits), maps.type))


def _named(names: list[str], codes: np.ndarray) -> pa.Array:
    codes = codes.astype(np.int64)
    return pa.array(names, pa.string()).take(pa.array(codes, mask=codes < 0))


def _numbered(prefix: str, numbers: np.ndarray, width: int) -> pa.Array:
    numbers = numbers.astype(np.int64)
    text = pc.utf8_lpad(pa.array(numbers, mask=numbers < 0).cast(pa.string()), width, "0")
    return pc.binary_join_element_wise(pa.scalar(prefix), text, "")


def clipped_day_time(hour: FloatArray, day: int) -> IntArray:
    """Hours of a day as microseconds since the world's start, kept within the day."""
    inside = np.clip(hour, 0.0, 23.999)
    return np.asarray(day * DAY_US + (inside * 3_600_000_000).astype(np.int64))
