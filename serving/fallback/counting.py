"""Events of a timeline or a log in, in batches; what was sold where, what was sent and answered, who came back, counted out.

Off the hot path, once for all workers: the timeline once per build, and then what is newer in the log (`census.py`).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from features.arrays import FloatArray, IntArray
from features.errors import StoreError
from features.events.hashing import hash_texts
from features.vocabulary import CONTACT_KINDS, DAY_S, RESPONSE_KINDS, Columns, EventKind
from serving.fallback.population import EVERYWHERE, HORIZON_DAYS, PLACE, ChurnRate, Contacts, Sales

HALF_LIFE_DAYS: Final = 14.0
"""How fast a sale stops making a product popular, as popularity within a category fades for models."""
MAX_PAIRS: Final = 1_000_000
"""Products times places that are held; beyond that those that sold least are let go."""
_BATCH: Final = 65_536
_COLUMNS: Final = (
    *(Columns.CUSTOMER_ID, Columns.OCCURRED_AT, Columns.KIND, Columns.CHANNEL),
    *(Columns.PRODUCT_ID, Columns.STORE_ID),
)


def timeline_batches(timeline: Path) -> Iterator[pa.Table]:
    """What is counted of a timeline. Raises StoreError for a file that cannot be used."""
    try:
        file = pq.ParquetFile(timeline)
        for batch in file.iter_batches(columns=list(_COLUMNS), batch_size=_BATCH, use_threads=False):
            yield pa.Table.from_batches([batch])
    except (OSError, ValueError, KeyError, pa.ArrowException) as error:
        said = next(iter(str(error).splitlines()), type(error).__name__)
        raise StoreError(f"{timeline} cannot be used ({said}).", repair="Run: omni features build --force") from error


@dataclass(frozen=True, eq=False)
class Counts:
    """What was counted so far, in a form that lies in a file as it is."""

    origin_s: float
    """The moment whose sales weigh one, seconds since the epoch."""
    newest_s: float = -np.inf
    """The newest moment that was counted."""
    sales: Sales = field(default_factory=Sales)
    contacts: Contacts = field(default_factory=dict)


class Counting:
    """Adds events to counts. Sums fade by being weighed with what is later: only their proportions are ever looked at."""

    def __init__(self, begun: Counts) -> None:
        self._origin_s = begun.origin_s
        self._newest_s = begun.newest_s
        self._products = _Numbers(begun.sales.names)
        self._places = _Numbers(pa.array(list(begun.sales.places) or [EVERYWHERE], pa.string()))
        self._sold: list[tuple[IntArray, FloatArray]] = [(begun.sales.pairs, begun.sales.weights)]
        self._contacts = dict(begun.contacts)

    def add(self, events: pa.Table) -> None:
        """Count events: columns of a timeline, or of a log."""
        if not events.num_rows:
            return
        self._newest_s = max(self._newest_s, pc.max(_seconds(events)).as_py())
        kind, channel = (_words(events, name) for name in (Columns.KIND, Columns.CHANNEL))
        self._count_contacts(kind, channel)
        product = _words(events, Columns.PRODUCT_ID)
        bought = pc.and_(pc.equal(kind, EventKind.PURCHASE.value), pc.fill_null(pc.not_equal(product, ""), False))
        if not pc.any(bought).as_py():
            return
        moment_s = _seconds(events).filter(bought).to_numpy()
        weight = np.exp2((moment_s - self._origin_s) / (HALF_LIFE_DAYS * DAY_S))
        products = self._products.of(product.filter(bought))
        pairs = [products]
        weights = [weight]
        for prefix, column in (("channel", channel), ("store", _words(events, Columns.STORE_ID))):
            places = self._places.of(pc.binary_join_element_wise(prefix, column.filter(bought), ":"))
            known = places >= 0
            pairs.append(places[known] * PLACE + products[known])
            weights.append(weight[known])
        self._sold.append(_summed(np.concatenate(pairs), np.concatenate(weights)))

    def counts(self) -> Counts:
        """Everything, as of now."""
        if len(self._sold) > 1:
            pairs, weights = (np.concatenate(part) for part in zip(*self._sold, strict=True))
            pairs, weights = _summed(pairs, weights)
            if len(pairs) > MAX_PAIRS:
                kept = np.sort(np.argpartition(-weights, MAX_PAIRS)[:MAX_PAIRS])
                pairs, weights = pairs[kept], weights[kept]
            self._sold = [(pairs, weights)]
        places = {name: number for number, name in enumerate(self._places.words.to_pylist())}
        sales = Sales(self._products.words, places, *self._sold[0])
        return Counts(self._origin_s, self._newest_s, sales, dict(self._contacts))

    def _count_contacts(self, kind: Any, channel: Any) -> None:
        for counted in (*CONTACT_KINDS, *RESPONSE_KINDS):
            for row in pc.value_counts(channel.filter(pc.equal(kind, counted.value))).to_pylist():
                key = row["values"], counted.value
                self._contacts[key] = self._contacts.get(key, 0) + row["counts"]


@dataclass(frozen=True)
class Buyers:
    """When customers, by a hash of their names (n,), first and last bought, in seconds since the epoch."""

    name: NDArray[np.uint64]
    first_s: FloatArray
    last_s: FloatArray

    @classmethod
    def of(cls, events: pa.Table, customer: str) -> "Buyers":
        """The buyers among events whose column `customer` says whose they are."""
        bought = pc.equal(_words(events, Columns.KIND), EventKind.PURCHASE.value)
        encoded = _one(pc.dictionary_encode(_words(events, customer).filter(bought)))
        rows = pc.fill_null(encoded.indices, -1).to_numpy(zero_copy_only=False).astype(np.int64)
        moment_s = _seconds(events).filter(bought).to_numpy()[rows >= 0]
        names = hash_texts(encoded.dictionary.to_pylist())
        return cls(names[rows[rows >= 0]], moment_s, moment_s)._merged()

    @classmethod
    def together(cls, parts: "Sequence[Buyers]") -> "Buyers":
        """Those of all parts."""
        columns = (
            np.concatenate([np.empty(0, kind), *(getattr(part, name) for part in parts)])
            for name, kind in (("name", np.uint64), ("first_s", np.float64), ("last_s", np.float64))
        )
        return cls(*columns)._merged()

    def churn(self, now_s: float) -> ChurnRate | None:
        """The rate over the horizon that ends now; None where nobody had bought before it."""
        since_s = now_s - HORIZON_DAYS * DAY_S
        had_bought = self.first_s < since_s
        if not had_bought.any():
            return None
        left = had_bought & (self.last_s < since_s)
        return ChurnRate(HORIZON_DAYS, int(had_bought.sum()), int(left.sum()))

    def _merged(self) -> "Buyers":
        names, row = np.unique(self.name, return_inverse=True)
        first, last = np.full(len(names), np.inf), np.full(len(names), -np.inf)
        np.minimum.at(first, row, self.first_s)
        np.maximum.at(last, row, self.last_s)
        return Buyers(names, first, last)


def _words(events: pa.Table, name: str) -> Any:
    return events[name].cast(pa.string())


def _seconds(events: pa.Table) -> Any:
    moments = events[Columns.OCCURRED_AT].cast(pa.timestamp("us", tz="UTC")).cast(pa.int64())
    return pc.divide(moments.cast(pa.float64()), 1e6)


def _one(column: Any) -> Any:
    """A column in one piece."""
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


class _Numbers:
    """Words as their numbers, new ones getting the next; those that there were before are looked up where they lie."""

    def __init__(self, before: pa.StringArray) -> None:
        self._before = before
        self._new: dict[str, int] = {}

    @property
    def words(self) -> pa.StringArray:
        """All words, each in the row of its number."""
        return pa.concat_arrays([self._before, pa.array(list(self._new), pa.string())]) if self._new else self._before

    def of(self, words: Any) -> IntArray:
        """Numbers (m,); -1 for none."""
        encoded = _one(pc.dictionary_encode(words))
        found = pc.index_in(encoded.dictionary, value_set=self._before)
        known = pc.fill_null(found, -1).to_numpy(zero_copy_only=False).astype(np.int64)
        for place in np.flatnonzero(known < 0).tolist():
            known[place] = self._new.setdefault(encoded.dictionary[place].as_py(), len(self._before) + len(self._new))
        codes = pc.fill_null(encoded.indices, -1).to_numpy(zero_copy_only=False).astype(np.int64)
        numbers: IntArray = np.append(known, -1)[codes]
        return numbers


def _summed(keys: IntArray, weights: FloatArray) -> tuple[IntArray, FloatArray]:
    """Each key once, ascending, with the sum of its weights."""
    unique, row = np.unique(keys, return_inverse=True)
    return unique, np.bincount(row, weights, len(unique)).astype(np.float64)
