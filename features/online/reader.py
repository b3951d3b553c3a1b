"""The hot path's reader of online states: a customer's id in, the state that Feast wrote for them out; without Feast.

Feast's own read costs milliseconds and ten seconds of import; this one reads the same rows of its online store and is
tested equal to `get_online_features`. What Feast leaves to the caller is done here: a row that is older than its view's
ttl does not exist, and the two views of a customer always belong together.
"""

import logging
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple

from features.clock import Clock
from features.errors import UnreadableError
from features.online.source import OnlineSource, StoredRow
from features.settings import Settings
from features.state.batch import StateBatch
from features.state.encoding import decode_many, decode_one
from features.state.product_blocks import ProductBlocks
from features.views import CUSTOMER_PRODUCTS, CUSTOMER_STATE, CUSTOMER_VIEWS, PRODUCT_SALES

logger = logging.getLogger(__name__)

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


class Folded(NamedTuple):
    """How far a customer's state goes."""

    last_seq: int
    """The newest log row that is folded in."""
    event_at: datetime
    """When they last did something, aware UTC, to the second or finer."""


class OnlineReader:
    """Reads Feast's online store, SQLite or Redis as the settings say; safe to use from several threads."""

    def __init__(self, settings: Settings, clock: Clock | None = None, timeout_s: float | None = None) -> None:
        """`timeout_s` is how long a read waits for a server; None: as long as the engine's own code says."""
        self._clock = clock or Clock.from_settings(settings)
        self._source = open_source(settings, self._clock, timeout_s)

    def read_state(self, customer_id: str, products: bool = True) -> OnlineState | None:
        """The stored state, or None where there is none, where it is older than its ttl, or where it is half written.

        None is always safe: whoever asks folds the customer's events from the log instead. Without `products` the
        sequence, the habits and the cart are empty. Raises MissingError where there is no online store, StoreError where
        it does not answer.
        """
        for attempt in range(_TORN_READS):
            if attempt:
                time.sleep(0.001)
            try:
                state_row, products_row = self._read_rows(customer_id, products)
                if state_row is None:
                    return None
                if _belong_together(state_row, products_row):
                    fields = self._fields(state_row, products_row)
                    if fields is None:
                        return None
                    return OnlineState(decode_one(fields), int(state_row.fields["last_seq"]), state_row.written_at)
            except UnreadableError as error:  # of one customer: the stream writes a new row at their next event
                logger.warning("A customer is folded from the log instead: %s", error)
                return None
        return None

    def read_states(self, customer_ids: Sequence[str], products: bool = True) -> dict[str, OnlineState]:
        """The stored states of those customers who have one."""
        states = ((customer_id, self.read_state(customer_id, products)) for customer_id in customer_ids)
        return {customer_id: state for customer_id, state in states if state is not None}

    def read_batch(self, customer_ids: Sequence[str]) -> tuple[list[str], StateBatch]:
        """Those of the customers of whom `read_state` has something, and their states (n,) in that order.

        In one go, as far as nothing is damaged or half written.
        """
        fields: dict[str, Mapping[str, Any]] = {}
        rest: list[str] = []
        try:
            rows = self._source.read_many(CUSTOMER_VIEWS, customer_ids)
            for customer_id in customer_ids:
                state_row, products_row = rows.get(customer_id, (None, None))
                if state_row is None:
                    continue
                if not _belong_together(state_row, products_row):
                    rest.append(customer_id)
                elif of_one := self._fields(state_row, products_row):
                    fields[customer_id] = of_one
            batch = decode_many(list(fields.values()))
        except UnreadableError:  # one of them: who that is, is found out one by one
            fields, rest = {}, list(customer_ids)
            batch = StateBatch.empty(0)
        singly = self.read_states(rest)
        if singly:
            batch = StateBatch.concat([batch, *(found.state for found in singly.values())])
        return [*fields, *singly], batch

    def folded(self, customer_ids: Sequence[str]) -> dict[str, Folded]:
        """How far those customers are folded who have a state."""
        try:
            found = self._source.read_field(CUSTOMER_STATE, "last_seq", customer_ids)
        except UnreadableError:
            found = {}
            for customer_id in customer_ids:  # whose row is damaged has no state, and nobody else is held up by that
                with suppress(UnreadableError):
                    found |= self._source.read_field(CUSTOMER_STATE, "last_seq", [customer_id])
        return {customer_id: Folded(*values) for customer_id, values in found.items()}

    def read_products(self) -> ProductBlocks:
        """How much every product sold, as far as it is folded in; some milliseconds for a hundred thousand products.

        No row is too old: what it holds has faded. Raises as `read_state` does, and StoreError where a row is damaged.
        """
        return ProductBlocks.of_rows((key, row.fields) for key, row in self._source.read_all(PRODUCT_SALES))

    def close(self) -> None:
        """Let go of connections; the next read makes new ones."""
        self._source.close()

    def _read_rows(self, customer_id: str, products: bool) -> tuple[StoredRow | None, StoredRow | None]:
        """The rows of both views, as they are at one moment."""
        if products:
            state, of_products = self._source.read(CUSTOMER_VIEWS, customer_id)
            return state, of_products
        return self._source.read((CUSTOMER_STATE,), customer_id)[0], None

    def _fields(self, state: StoredRow, products: StoredRow | None) -> dict[str, Any] | None:
        """What both rows say, as far as they are not older than their ttl."""
        now = self._clock.now()
        if now - state.event_at > CUSTOMER_STATE.ttl:
            return None
        if products is None or now - products.event_at > CUSTOMER_PRODUCTS.ttl:
            return state.fields
        return state.fields | products.fields


def _belong_together(state: StoredRow, products: StoredRow | None) -> bool:
    """Whether no write is under way between the two rows: both are written with the same seq, the products first."""
    return products is None or bool(products.fields["products_seq"] == state.fields["last_seq"])


def open_source(settings: Settings, clock: Clock, timeout_s: float | None = None) -> OnlineSource:
    """The online store that `settings` name; `timeout_s` is how long a read waits for a server."""
    if settings.online_store == "redis":
        from features.online.redis import RedisSource

        return RedisSource(settings, clock, timeout_s)
    from features.online.sqlite import SqliteSource

    return SqliteSource(settings)
