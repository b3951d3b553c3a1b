"""What others said for a customer's addresses: the history of identities in, timeline rows of the customers it counts for out.

An event is in the timeline of its own customer. Where it speaks for an address (identity/addresses.py), a row under the
name of everybody else who has the address stands beside it: kind, channel and answers are the event's, and nothing else.
"""

from collections.abc import Sequence
from typing import Final

import pyarrow as pa

from features.identity.addresses import Consent
from features.identity.history import History
from features.log.tables import READ_SCHEMA
from features.vocabulary import Columns

NOBODYS_KEY: Final = -1
"""In place of the sighting of such rows: they are nobody's own."""


SPAN: Final = ("regrouped", "from_us")
"""Columns of `epoch_rows` that say of an epoch how it began."""


def current_rows(history: History) -> pa.Table:
    """Rows, in READ_SCHEMA, that count for customers as they are now."""
    return _rows([(name, consent) for name, consents in history.consents.items() for consent in consents])


def epoch_rows(history: History) -> pa.Table:
    """Rows, in READ_SCHEMA with `epoch` and SPAN, that count in epochs of customers who were put together."""
    listed = [
        (name, number, epoch, consent)
        for name, epochs in history.epochs.items()
        for number, epoch in enumerate(epochs)
        for consent in epoch.consents
    ]
    rows = _rows([(name, consent) for name, _, _, consent in listed])
    added = {
        Columns.EPOCH: pa.array([number for _, number, _, _ in listed], pa.int64()),
        "regrouped": pa.array([epoch.regrouped for _, _, epoch, _ in listed], pa.bool_()),
        "from_us": pa.array([epoch.from_us for _, _, epoch, _ in listed], pa.int64()),
    }
    for column, values in added.items():
        rows = rows.append_column(column, values)
    return rows


def _rows(listed: Sequence[tuple[str, Consent]]) -> pa.Table:
    values = {
        Columns.EVENT_ID: [consent.event_id for _, consent in listed],
        Columns.OCCURRED_AT: [consent.at_us for _, consent in listed],
        Columns.KIND: [consent.kind for _, consent in listed],
        Columns.CHANNEL: [consent.channel for _, consent in listed],
        Columns.PROPERTIES: [consent.properties for _, consent in listed],
        Columns.SEQ: [consent.seq for _, consent in listed],
        Columns.RESOLVED_CUSTOMER_ID: [name for name, _ in listed],
        Columns.CUSTOMER_KEY: [NOBODYS_KEY] * len(listed),
    }
    columns = [pa.array(values.get(field.name, [None] * len(listed)), field.type) for field in READ_SCHEMA]
    return pa.Table.from_arrays(columns, schema=READ_SCHEMA)
