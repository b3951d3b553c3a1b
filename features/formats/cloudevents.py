"""CloudEvents 1.0 come in; events go out. Pure.

An event of ours lies in `data`, under our own column names; what it leaves out is taken from the envelope: `source` and `id`
together are its event_id, `time` its moment, `subject` its customer, and the last word of `type` its kind (`shop.purchase`,
`com.example.order.placed`). A type without such a word is skipped and counted by its name.

https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md
"""

import base64
import binascii
import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

import pyarrow as pa

from features.events.rules import EVENT_COLUMNS
from features.formats.reading import Meaning, Record, UnreadableError, said, text
from features.ids import joined_ids
from features.vocabulary import Channel, Columns, EventKind

WORDS: Final[dict[str, EventKind]] = {
    "product.viewed": EventKind.VIEW,
    "cart.item_added": EventKind.ADD_TO_CART,
    "cart.item_removed": EventKind.REMOVE_FROM_CART,
    "order.placed": EventKind.PURCHASE,
    "order.completed": EventKind.PURCHASE,
    "order.paid": EventKind.PURCHASE,
    "order.returned": EventKind.RETURN,
    "order.refunded": EventKind.RETURN,
}
"""What the last two words of a type mean, where the last one alone is no kind of ours."""


def records(item: Any) -> Iterator[Any]:
    """One item is one CloudEvent."""
    yield item


def read(record: Record) -> Meaning:
    """What a CloudEvent means. Raises UnreadableError for one that cannot be used."""
    for name in ("id", "source", "type"):
        if not isinstance(record.get(name), str) or not record[name]:
            raise UnreadableError(name, "is missing: a CloudEvent has specversion, id, source and type.")
    data = _data(record)
    kind = data.get(Columns.KIND) or _kind(record["type"])
    if kind is None:
        return Meaning(skipped=record["type"])
    unknown = sorted(set(data) - set(EVENT_COLUMNS))
    properties = data.get(Columns.PROPERTIES)
    properties = {**{name: data[name] for name in unknown}, **(properties if isinstance(properties, Mapping) else {})}
    ours = {name: value for name, value in data.items() if name in EVENT_COLUMNS and value is not None}
    envelope = said(
        event_id=joined_ids([pa.array([record["source"]]), pa.array([record["id"]])])[0].as_py(),
        occurred_at=record.get("time"),
        kind=kind,
        channel=Channel.WEB.value,
        customer_id=None if Columns.IDENTIFIERS in ours else text(record.get("subject"), "subject"),
    )
    return Meaning(({**envelope, **ours, **said(properties=properties)},))


def _kind(written: str) -> str | None:
    words = written.lower().replace("-", "_").split(".")
    if words[-1] in set(EventKind):
        return words[-1]
    kind = WORDS.get(".".join(words[-2:]))
    return None if kind is None else kind.value


def _data(record: Record) -> Record:
    data = record.get("data")
    if data is None and isinstance(record.get("data_base64"), str):
        try:
            data = json.loads(base64.b64decode(record["data_base64"], validate=True))
        except (ValueError, binascii.Error) as error:
            raise UnreadableError("data_base64", "holds no JSON: send the event as JSON.") from error
    if data is None:
        return {}
    if not isinstance(data, Mapping):
        raise UnreadableError("data", "is no JSON object: send the event's fields in one.")
    return data
