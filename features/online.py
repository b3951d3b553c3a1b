"""A customer's id in, the state that Feast wrote for them out: the hot path's reader, which does not import Feast.

Feast's own read costs milliseconds and ten seconds of import; this one reads the same rows of its SQLite online store
and is tested equal to `get_online_features`. What Feast leaves to the caller is done here: a row that is older than its
view's ttl does not exist, and the two views of a customer always belong together.
"""

import sqlite3
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from features import fold_kernel as kernel
from features.clock import Clock
from features.errors import MissingError, OmniError, StoreError
from features.settings import Settings
from features.state import StateBatch, decode_one
from features.value_codec import decode_value, entity_key, entity_value
from features.views import CUSTOMER_PRODUCTS, CUSTOMER_STATE, PRODUCT_STATE, View
from features.vocabulary import Columns

_TORN_READS: Final = 20
"""How often a customer between the writes of their two rows is read again, a millisecond apart."""


@dataclass(frozen=True)
class OnlineState:
    """What the online store holds of one customer."""

    state: StateBatch
    """The state, n = 1."""
    last_seq: int
    """The newest log row that is folded in."""
    updated_at: datetime
    """When the row was written, aware UTC, to the second."""


@dataclass(frozen=True)
class ProductTable:
    """The newest state of every product; all columns have one entry per product."""

    product_id: NDArray[np.object_]
    price: NDArray[np.float64]  # NaN where unknown
    category: NDArray[np.object_]  # str or None
    popularity: NDArray[np.float64]  # (n, 3), see product_state.POPULARITY, as of `at_s`
    sales: NDArray[np.float64]  # (n, 3), see product_state.SALES
    at_s: NDArray[np.float64]  # seconds since the epoch

    def __len__(self) -> int:
        return len(self.product_id)


class OnlineReader:
    """Reads Feast's SQLite online store; safe to use from several threads, each of which has its own connection."""

    def __init__(self, settings: Settings, clock: Clock | None = None) -> None:
        if settings.online_store != "sqlite":
            raise OmniError(
                f"The reader of the online store {settings.online_store!r} is not there yet.",
                repair="Set OMNI_ONLINE_STORE to 'sqlite'.",
            )
        self._path = settings.online_db_path
        self._clock = clock or Clock.from_settings(settings)
        self._local = threading.local()

    def read_state(self, customer_id: str, products: bool = True) -> OnlineState | None:
        """The stored state, or None where there is none, where it is older than its ttl, or where it is half written.

        None is always safe: whoever asks folds the customer's events from the log instead. Without `products` the
        sequence, the habits and the cart are empty. Raises MissingError where there is no online store.
        """
        for attempt in range(_TORN_READS):
            if attempt:
                time.sleep(0.001)
            state_row, products_row = self._read_rows(customer_id, products)
            if state_row is None:
                return None
            # Both rows are written with the same seq, the products first, in two transactions.
            if products_row is None or products_row.fields["products_seq"] == state_row.fields["last_seq"]:
                return self._online_state(state_row, products_row)
        return None

    def read_states(self, customer_ids: Sequence[str], products: bool = True) -> dict[str, OnlineState]:
        """The stored states of those customers who have one."""
        found = ((customer_id, self.read_state(customer_id, products)) for customer_id in customer_ids)
        return {customer_id: state for customer_id, state in found if state is not None}

    def last_seqs(self, customer_ids: Sequence[str]) -> dict[str, int]:
        """The newest folded log row of those customers who have a state."""
        query = f"SELECT value FROM {CUSTOMER_STATE.table} WHERE entity_key = ? AND feature_name = 'last_seq'"
        seqs = {}
        for customer_id in customer_ids:
            for (value,) in self._query(query, (entity_key(CUSTOMER_STATE.join_key, customer_id),)):
                seqs[customer_id] = int(decode_value(value, "int64"))
        return seqs

    def read_products(self) -> ProductTable:
        """The newest state of every product that the view's ttl lets count."""
        types = dict(PRODUCT_STATE.fields)
        oldest = (self._clock.now() - PRODUCT_STATE.ttl).timestamp()
        rows: dict[str, dict[str, Any]] = {}
        query = f"SELECT entity_key, feature_name, value, event_ts FROM {PRODUCT_STATE.table}"
        for key, name, value, stored in self._query(query, ()):
            at = _from_feast(stored).timestamp()
            if name in types and at >= oldest:
                rows.setdefault(entity_value(key), {"at": at})[name] = decode_value(value, types[name])
        values = list(rows.values())
        return ProductTable(
            product_id=np.array(list(rows), dtype=object),
            price=np.array([row[Columns.PRICE] for row in values], dtype=np.float64),
            category=np.array([row[Columns.CATEGORY] for row in values], dtype=object),
            popularity=np.array([row["popularity"] for row in values], dtype=np.float64).reshape(-1, 3),
            sales=np.array([row["sales"] for row in values], dtype=np.float64).reshape(-1, 3),
            at_s=np.array([row["at"] for row in values], dtype=np.float64),
        )

    def close(self) -> None:
        """Close this thread's connection; the next read opens it again."""
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is not None:
            connection.close()
            self._local.connection = None

    def _read_rows(self, customer_id: str, products: bool) -> tuple["_Row | None", "_Row | None"]:
        """The rows of both views, from one snapshot of the database."""
        key = entity_key(CUSTOMER_STATE.join_key, customer_id)
        if not products:
            return self._row(CUSTOMER_STATE, self._query(_SELECT_STATE, (key,))), None
        found = self._query(_SELECT_BOTH, (key, key))
        return (
            self._row(CUSTOMER_STATE, [row for row in found if row[0] in _TYPES[CUSTOMER_STATE.name]]),
            self._row(CUSTOMER_PRODUCTS, [row for row in found if row[0] in _TYPES[CUSTOMER_PRODUCTS.name]]),
        )

    def _row(self, view: View, found: Sequence[tuple[Any, ...]]) -> "_Row | None":
        types = _TYPES[view.name]
        fields = {name: decode_value(value, types[name]) for name, value, _, _ in found if name in types}
        if len(fields) < len(types):
            return None
        _, _, event_at, written_at = found[0]
        return _Row(fields, _from_feast(event_at), _from_feast(written_at))

    def _online_state(self, state: "_Row", products: "_Row | None") -> OnlineState | None:
        now = self._clock.now()
        if now - state.event_at > CUSTOMER_STATE.ttl:
            return None
        if products is not None and now - products.event_at > CUSTOMER_PRODUCTS.ttl:
            products = None
        fields = state.fields | (products.fields if products else {})
        return OnlineState(_to_state(fields), int(state.fields["last_seq"]), state.written_at)

    def _query(self, query: str, parameters: tuple[object, ...]) -> list[tuple[Any, ...]]:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        try:
            if connection is None:
                connection = self._local.connection = _connect(self._path)
            return connection.execute(query, parameters).fetchall()
        except sqlite3.OperationalError as error:
            self.close()
            raise MissingError(
                f"The online store {self._path} cannot be read ({error}).", repair="Run `omni features build`."
            ) from error


@dataclass(frozen=True)
class _Row:
    fields: dict[str, Any]
    event_at: datetime
    written_at: datetime


def _select(view: View) -> str:
    return f"SELECT feature_name, value, event_ts, created_ts FROM {view.table} WHERE entity_key = ?"


_SELECT_STATE: Final = _select(CUSTOMER_STATE)
_SELECT_BOTH: Final = f"{_SELECT_STATE} UNION ALL {_select(CUSTOMER_PRODUCTS)}"
_TYPES: Final = {view.name: dict(view.fields) for view in (CUSTOMER_STATE, CUSTOMER_PRODUCTS)}
"""Types of the fields, by view and name; no name is in both views."""


def _connect(path: Path) -> sqlite3.Connection:
    # Not mode=ro: a reader of a write-ahead log may have to make its shared-memory file.
    connection = sqlite3.connect(f"{path.as_uri()}?mode=rw", uri=True, check_same_thread=False, timeout=10.0)
    connection.execute("PRAGMA query_only=1")
    return connection


def _from_feast(stored: int) -> datetime:
    """Feast writes naive UTC as if it were local time, in whole seconds; this undoes it the way its own reader does."""
    return datetime.fromtimestamp(stored).replace(tzinfo=UTC)  # noqa: DTZ006


def _to_state(fields: dict[str, Any]) -> StateBatch:
    if len(fields["scalars"]) != len(kernel.SCALARS):
        raise StoreError(
            "The online store holds states of another version.", repair="Run `omni features build --force`."
        )
    return decode_one(fields)
