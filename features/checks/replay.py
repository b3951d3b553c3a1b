"""A customer who was put together from several comes in; their states as they were live, at moments of then, go out."""

from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from features.arrays import IntArray
from features.events.schema import EVENT_SCHEMA
from features.identity.history import connected
from features.log.engines import open_log
from features.log.event_log import EventLog
from features.log.sqlite import SqliteEventLog
from features.settings import Settings
from features.state.batch import StateBatch
from features.state.fold import fold_customer
from features.vocabulary import Columns


def put_together(settings: Settings) -> set[str]:
    """Customers of the last build whose past was several customers' once."""
    if not settings.epochs_path.exists():
        return set()
    return set(pq.read_table(settings.epochs_path, columns=[Columns.CUSTOMER_ID])[Columns.CUSTOMER_ID].to_pylist())


def relive(settings: Settings, customer_id: str, stops_us: IntArray) -> StateBatch:
    """The states at ascending `stops_us` (n,), microseconds since 1970, of whoever the customer was by then.

    Everything that everybody did who ever had an identifier in common with them is told to an empty log up to each stop.
    """
    log = open_log(settings)
    try:
        events, rules = _of_all_around(log, customer_id), log.identity().rules
    finally:
        log.close()
    times = events[Columns.OCCURRED_AT].cast(pa.int64()).to_numpy()
    states = []
    with TemporaryDirectory() as folder:
        scratch = SqliteEventLog(Path(folder) / "events.db", rules)
        try:
            for before, stop in pairwise([-(2**62), *stops_us.tolist()]):
                scratch.append(events.filter(pa.array((times > before) & (times <= stop))))
                name = _name_then(settings, customer_id, stop, scratch)
                states.append(fold_customer(scratch.customer_events(name)))
        finally:
            scratch.close()
    return StateBatch.concat(states)


def _of_all_around(log: EventLog, customer_id: str) -> pa.Table:
    """Events, in order of time, of all customers who are connected to this one, by shared identifiers too."""
    stored = {kept.sighting.key: kept for kept in log.identity().sightings()}
    for part in connected(kept.sighting for kept in stored.values()):
        names = {stored[sighting.key].customer_id for sighting in part}
        if customer_id in names:
            tables = [_own_events(log, name) for name in sorted(names)]
            order = [(Columns.OCCURRED_AT, "ascending"), (Columns.SEQ, "ascending")]
            events = pa.concat_tables(tables).combine_chunks().sort_by(order)
            return events.select(EVENT_SCHEMA.names)
    return EVENT_SCHEMA.empty_table()


def _own_events(log: EventLog, name: str) -> pa.Table:
    """A customer's events without what counts for them by an address of others."""
    events, (keys, _) = log.customer_events(name), log.identity().possessions(name)
    own = pc.is_in(events[Columns.CUSTOMER_KEY], value_set=pa.array(keys, pa.int64()))
    return events.filter(own).select([*EVENT_SCHEMA.names, Columns.SEQ])


def _name_then(settings: Settings, customer_id: str, stop_us: int, scratch: EventLog) -> str:
    """The name that the owner of the customer's events had at a moment."""
    at = pa.scalar(stop_us, pa.timestamp("us", tz="UTC"))
    epochs = pq.read_table(settings.epochs_path, filters=[(Columns.CUSTOMER_ID, "=", customer_id)])
    by_then = epochs.filter(pc.less_equal(epochs[Columns.OCCURRED_AT], at))
    begun = by_then.filter(pc.not_equal(by_then[Columns.WRITTEN], 0))  # the epochs that had begun
    newest = pc.max(begun[Columns.EPOCH]).as_py()
    ids = by_then.filter(pc.equal(by_then[Columns.EPOCH], newest))[Columns.EVENT_ID].to_pylist()
    rows = pa.concat_tables(scratch.read())
    owners = dict(zip(rows[Columns.EVENT_ID].to_pylist(), rows[Columns.RESOLVED_CUSTOMER_ID].to_pylist(), strict=True))
    return next(str(owners[event_id]) for event_id in ids if event_id in owners)
