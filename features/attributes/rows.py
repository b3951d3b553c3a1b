"""Events as tables in; what they say of attributes, and rows of states with that in front of their bytes, out."""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from features.arrays import FloatArray, IntArray
from features.attributes.declared import declared
from features.attributes.values import NOTHING_SAID, merged, prefix, values_said
from features.events.payload import OTHERS_ID
from features.vocabulary import Columns, EventKind

_STATE: Final = "state"


def profile_column(events: pa.Table) -> pa.Array | pa.ChunkedArray:
    """Of every event what it says of the customer, JSON: the properties of their own `profile` events, else null.

    What somebody else with a common address said is not said of them.
    """
    is_profile = pc.equal(events[Columns.KIND].cast(pa.string()), EventKind.PROFILE.value)
    if Columns.EVENT_ID in events.column_names:
        is_profile = pc.and_(is_profile, pc.invert(pc.starts_with(events[Columns.EVENT_ID], OTHERS_ID)))
    return pc.if_else(is_profile, events[Columns.PROPERTIES], pa.scalar(None, pa.string()))


def said(events: pa.Table) -> list[tuple[int, tuple[float, float, float]]]:
    """What events say: the row of each, and the value (code, value, moment), in the events' order."""
    if Columns.PROFILE in events.column_names:
        texts = events[Columns.PROFILE]
    elif Columns.PROPERTIES in events.column_names and events.num_rows:
        texts = profile_column(events)
    else:
        return []
    if texts.null_count == len(texts):
        return []
    rows = np.flatnonzero(pc.is_valid(texts).to_numpy(zero_copy_only=False))
    places = pa.array(rows)
    micros = events[Columns.OCCURRED_AT].take(places).cast(pa.timestamp("us", tz="UTC")).cast(pa.int64()).to_pylist()
    known = declared()
    return [
        (row, value)
        for row, text, at_us in zip(rows.tolist(), texts.take(places).to_pylist(), micros, strict=True)
        for value in values_said(text, at_us / 1e6, known)
    ]


def with_values(states: pa.Table, values: Mapping[str, FloatArray]) -> pa.Table:
    """State rows with the values (m, 3) of the customers who have some in front of their bytes."""
    if not any(len(each) for each in values.values()):
        return states
    names = states[Columns.CUSTOMER_ID].to_pylist()
    return in_front(states, [prefix(values.get(name, NOTHING_SAID)) for name in names])


class SaidSoFar:
    """What the events of a timeline say of attributes, as of the rows of states that are folded from it, piece by piece.

    A profile event that says nothing else leaves the fold where it was, and has no row of its own there: it is given one here.
    """

    def __init__(self, timeline: pa.Table, customers: IntArray) -> None:
        """`customers` (n,) numbers whose each event is; the timeline is sorted by them, and theirs by time."""
        self._prefixes: list[bytes] = [b""]
        of_event: list[tuple[int, int, int]] = []
        values: FloatArray = NOTHING_SAID
        for row, value in said(timeline):
            customer = int(customers[row])
            begun = bool(of_event) and of_event[-1][0] == customer
            values = merged(values if begun else NOTHING_SAID, [value])
            of_event.append((customer, round(value[2] * 1e6), row))
            self._prefixes.append(prefix(values))
        of = np.array(of_event, np.int64).reshape(-1, 3)
        self._customers, self._micros, rows = of.T
        self._moments = np.unique(self._micros)
        self._keys = self._key(self._customers, self._micros)
        self._seqs = _column(timeline, Columns.SEQ, 0)[rows]
        self._has_row = _column(timeline, Columns.WRITTEN, 1)[rows] != 0
        self._next = 0
        self._carried: pa.Table | None = None
        self._carried_of: IntArray = np.empty(0, np.int64)

    def before(self, states: pa.Table, customers: IntArray) -> pa.Table:
        """The next state rows of `customers` (n,) with what was said up to each row's moment in front of their bytes."""
        if not len(self._keys):
            return states
        customers = customers.astype(np.int64)
        end = int(np.searchsorted(self._keys, self._key(customers[-1:], _micros(states)[-1:])[0], side="right"))
        added, added_of = self._rows_of_their_own(states, customers, end)
        self._carried, self._carried_of = states.slice(len(states) - 1), customers[-1:]
        return self._with_values(pa.concat_tables([states, added]), np.concatenate([customers, added_of]))

    def rest(self) -> pa.Table | None:
        """Rows of what was said after the last row of all; None where that is nothing."""
        if self._carried is None or self._next == len(self._keys):
            return None
        none = self._carried.slice(0, 0)
        return self._with_values(*self._rows_of_their_own(none, self._carried_of[:0], len(self._keys)))

    def _rows_of_their_own(self, states: pa.Table, customers: IntArray, end: int) -> tuple[pa.Table, IntArray]:
        """Rows, and whose, of the moments before place `end` of which there is none: a copy of the row before each."""
        said_at = np.arange(self._next, end)
        self._next = end
        if self._carried is not None:
            states = pa.concat_tables([self._carried, states])
        customers, micros = np.concatenate([self._carried_of, customers]), _micros(states)
        base = np.searchsorted(self._key(customers, micros), self._keys[said_at], side="right") - 1
        wanted = (base >= 0) & self._has_row[said_at]
        wanted[wanted] = customers[base[wanted]] == self._customers[said_at[wanted]]
        wanted[wanted] = micros[base[wanted]] < self._micros[said_at[wanted]]
        wanted[:-1] &= self._keys[said_at[:-1]] != self._keys[said_at[1:]]
        said_at, base = said_at[wanted], base[wanted]
        rows = states.take(pa.array(base))
        moments = pa.array(self._micros[said_at]).cast(pa.timestamp("us", tz="UTC"))
        seqs = pa.array(np.maximum(rows["last_seq"].to_numpy(), self._seqs[said_at]))
        return _set(_set(rows, Columns.EVENT_TIMESTAMP, moments), "last_seq", seqs), customers[base]

    def _with_values(self, states: pa.Table, customers: IntArray) -> pa.Table:
        micros = _micros(states)
        order = np.lexsort((micros, customers))
        if (np.diff(order) != 1).any():
            states, customers, micros = states.take(pa.array(order)), customers[order], micros[order]
        place = np.searchsorted(self._keys, self._key(customers, micros + 1), side="left")
        theirs = (place > 0) & (self._customers[place - 1] == customers)
        if not theirs.any():
            return states
        prefixes = pa.array(self._prefixes, pa.binary())
        return in_front(states, prefixes.take(pa.array(np.where(theirs, place, 0))))

    def _key(self, customers: IntArray, micros: IntArray) -> IntArray:
        """One number by which customers, and their moments within, are in order: as many moments as lie before."""
        keys: IntArray = customers * (len(self._moments) + 1) + np.searchsorted(self._moments, micros, side="left")
        return keys


def in_front(states: pa.Table, prefixes: pa.Array | Sequence[bytes]) -> pa.Table:
    """State rows (n) with bytes (n,) in front of theirs."""
    if not isinstance(prefixes, pa.Array):
        prefixes = pa.array(prefixes, pa.binary())
    return _set(states, _STATE, pc.binary_join_element_wise(prefixes, states[_STATE], b""))


def _set(rows: pa.Table, name: str, values: pa.Array | pa.ChunkedArray) -> pa.Table:
    place = rows.column_names.index(name)
    return rows.set_column(place, rows.schema.field(place), values)


def _micros(states: pa.Table) -> IntArray:
    micros: IntArray = states[Columns.EVENT_TIMESTAMP].cast(pa.int64()).to_numpy()
    return micros


def _column(timeline: pa.Table, name: str, default: int) -> IntArray:
    if name not in timeline.column_names:
        return np.full(timeline.num_rows, default)
    return np.asarray(timeline[name].to_numpy(), np.int64)
