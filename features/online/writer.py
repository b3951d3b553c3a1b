"""Writes of the online store without Feast: rows of views in; the keys, values and times that Feast would write out.

Feast's own write costs a Protobuf message a value and a statement a field, and its import three hundred megabytes. What
is here leaves the same rows behind (tested against `write_to_online_store`), in one transaction for all of them.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

import pyarrow as pa

from features.clock import Clock
from features.online.feast_codec import encode_value
from features.settings import Settings
from features.views import CUSTOMER_PRODUCTS, CUSTOMER_STATE, PRODUCT_SALES, View
from features.vocabulary import Columns


class OnlineRow(NamedTuple):
    """One row of a view as it is stored."""

    entity: str
    event_us: int
    """When it was true, microseconds since the epoch."""
    values: list[object]
    """By field, in the view's order; None for a null."""
    stored: list[bytes]
    """The same as `feast.types.Value` messages."""


class OnlineSink(Protocol):
    """What takes rows: one of the engines."""

    def write(self, written: Sequence[tuple[View, Sequence[OnlineRow]]]) -> None:
        """Put rows of views in the place of what is stored, in that order."""

    def close(self) -> None:
        """Let go of connections; the next write makes new ones."""


class OnlineWriter:
    """Writes Feast's online store, SQLite or Redis as the settings say; safe to use from several threads."""

    def __init__(self, settings: Settings, clock: Clock | None = None) -> None:
        self._sink = _open_sink(settings, clock or Clock.from_settings(settings))

    def write_online(self, states: pa.Table, products: pa.Table) -> None:
        """Write the same customers' rows of both views (as `encoding.encode` makes them), replacing what is there.

        Times are not compared: the caller passes states that are at least as new as the stored ones.
        """
        # The products first, with the same seq: by that `OnlineReader` tells a customer who is half written.
        self.write((CUSTOMER_PRODUCTS, products), (CUSTOMER_STATE, states))

    def write_products(self, blocks: pa.Table) -> None:
        """Write rows of product blocks (as `ProductBlocks.rows` makes them), replacing what is there."""
        self.write((PRODUCT_SALES, blocks))

    def write(self, *tables: tuple[View, pa.Table]) -> None:
        """Write rows of views: the columns of each view with its key and the moment when the row was true."""
        self._sink.write([(view, list(_rows(view, table))) for view, table in tables])

    def close(self) -> None:
        """Let go of connections; the next write makes new ones."""
        self._sink.close()


def _rows(view: View, table: pa.Table) -> Iterator[OnlineRow]:
    types = [dtype for _, dtype in view.fields]
    columns = [table[name].to_pylist() for name, _ in view.fields]
    moments = table[Columns.EVENT_TIMESTAMP].cast(pa.timestamp("us", tz="UTC")).cast(pa.int64()).to_pylist()
    for entity, event_us, *values in zip(table[view.join_key].to_pylist(), moments, *columns, strict=True):
        stored = [encode_value(value, dtype) for value, dtype in zip(values, types, strict=True)]
        yield OnlineRow(entity, event_us, values, stored)


def _open_sink(settings: Settings, clock: Clock) -> OnlineSink:
    if settings.online_store == "redis":
        from features.online.redis_sink import RedisSink

        return RedisSink(settings)
    from features.online.sqlite_sink import SqliteSink

    return SqliteSink(settings, clock)
