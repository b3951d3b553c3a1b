"""Nothing in, states of made customers out: nobody, the usual kinds, and the extremes that a shop's log may hold.

A model is asked about them before it may answer anybody. They go the way of real ones: events, a log, the fold.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import numpy as np

from features.arrays import FloatArray
from features.events.schema import Event
from features.log.sqlite import SqliteEventLog
from features.online.live import LiveStates, NobodyStored
from features.state.batch import StateBatch
from features.vocabulary import Channel, EventKind

NOW: Final = datetime(2024, 3, 1, 12, tzinfo=UTC)
_LATER_DAYS: Final = (0.0, 3.0, 45.0, 400.0)
"""How long after NOW each customer is asked about: fresh, and silent for longer and longer."""
_DAY: Final = timedelta(days=1)


def sample_customers(product_ids: Sequence[str] = ()) -> tuple[StateBatch, FloatArray]:
    """States (n,) and the moments (n,), in seconds since the epoch, at which to ask; they buy some of `product_ids`."""
    ids = list(product_ids[:4]) + list(product_ids[-2:]) or ["product"]
    states = [StateBatch.empty(1)]
    with TemporaryDirectory(prefix="omni-samples-") as folder:
        log = SqliteEventLog(Path(folder) / "events.db")
        try:
            histories = dict(_histories(ids))
            log.append_events([event for events in histories.values() for event in events])
            live = LiveStates(NobodyStored(), log)
            states += [found.state for name in histories if (found := live.get(name)) is not None]
        finally:
            log.close()
    together = StateBatch.concat(states)
    every = np.tile(np.arange(len(together)), len(_LATER_DAYS))
    later_s = np.repeat([days * _DAY.total_seconds() for days in _LATER_DAYS], len(together))
    return together.take(every), NOW.timestamp() + later_s


def _histories(ids: Sequence[str]) -> Iterator[tuple[str, list[Event]]]:
    """A customer's name and their events."""
    one, many = ids[0], [ids[i % len(ids)] for i in range(120)]
    yield "once", [_bought("once", 0, 30, one, 4.0)]
    yield "just now", [_bought("just now", 0, 0, one, 4.0)]
    yield "long ago", [_bought("long ago", 0, 20 * 365, one, 4.0)]
    yield "gave nothing", [_bought("gave nothing", 0, 10, one, 0.0)]
    yield "gave a fortune", [_bought("gave a fortune", i, 10 + i, one, 1e9, quantity=1e6) for i in range(3)]
    yield "every week", [_bought("every week", i, 7 * (120 - i), name, 3.0 + i % 5) for i, name in enumerate(many)]
    yield "all at once", [_bought("all at once", i, 2, name, 3.0) for i, name in enumerate(many)]
    yield "mailed", [_event("mailed", i, 200 - i, EventKind.SEND, Channel.EMAIL) for i in range(150)]
    yield "of all sorts", list(_of_all_sorts("of all sorts", ids))
    yield (
        "under contract",
        [_event("under contract", 0, 300, EventKind.SUBSCRIBE, Channel.WEB, product_id="plan", value=20.0)],
    )


def _of_all_sorts(name: str, ids: Sequence[str]) -> Iterator[Event]:
    for i, channel in enumerate(Channel):
        yield _event(name, 2 * i, 60 - i, EventKind.VISIT, channel)
        yield _event(name, 2 * i + 1, 50 - i, EventKind.PURCHASE, channel, product_id=ids[i % len(ids)], value=5.0)
    for i, kind in enumerate((EventKind.SEND, EventKind.OPEN, EventKind.CLICK, EventKind.SEND, EventKind.IGNORE)):
        yield _event(name, 100 + i, 20 - i, kind, Channel.EMAIL)
    yield _event(name, 200, 1, EventKind.ADD_TO_CART, Channel.APP, product_id=ids[0], quantity=1.0)


def _bought(name: str, place: int, days_ago: float, product_id: str, value: float, quantity: float = 1.0) -> Event:
    fields: dict[str, Any] = {"product_id": product_id, "value": value, "quantity": quantity}
    return _event(name, place, days_ago, EventKind.PURCHASE, Channel.STORE, **fields)


def _event(name: str, place: int, days_ago: float, kind: EventKind, channel: Channel, **fields: Any) -> Event:
    return Event.model_validate(
        {
            "event_id": f"{name}-{place}",
            "occurred_at": NOW - days_ago * _DAY,
            "kind": kind.value,
            "channel": channel.value,
            "customer_id": name,
            **fields,
        }
    )
