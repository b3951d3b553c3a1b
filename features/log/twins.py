"""Events that are to be appended come in; the share that the log seems to hold already, under another id, goes out."""

from collections.abc import Iterable
from typing import Any, Final, Protocol

import pyarrow as pa

from features.log.event_log import EventLog
from features.vocabulary import Columns

_LOOKED_AT: Final = 200
_SAME: Final = (Columns.OCCURRED_AT, Columns.KIND, Columns.CHANNEL, Columns.PRODUCT_ID, Columns.QUANTITY, Columns.VALUE)
"""What a second export of the same sale says again, whatever its status is by now."""


class Batches(Protocol):
    """Where the events lie."""

    def head(self) -> pa.Table:
        """Some of the first events (EVENT_SCHEMA)."""


def twin_share(log: EventLog, batches: Batches) -> float:
    """The share, among some of the events, of those of which the log holds an equal one under another id, and not them."""
    if not log.last_seq():
        return 0.0
    events = batches.head()
    step = max(1, events.num_rows // _LOOKED_AT)
    looked_at = events.take(pa.array(range(0, events.num_rows, step), pa.int64())).to_pylist()
    twins = sum(_has_twin(log, event) for event in looked_at)
    return twins / len(looked_at) if looked_at else 0.0


def _has_twin(log: EventLog, event: dict[str, Any]) -> bool:
    customer = log.resolve(event[Columns.CUSTOMER_ID], dict(event[Columns.IDENTIFIERS] or ()))
    if customer is None:
        return False
    kept: Iterable[dict[str, Any]] = log.customer_events(customer).to_pylist()
    same = [row[Columns.EVENT_ID] for row in kept if all(row[name] == event[name] for name in _SAME)]
    return bool(same) and event[Columns.EVENT_ID] not in same
