"""Other tools' records in, fields of events out: a module and a table of words each; the same for files and for live traffic.

Pure, without pandas or DuckDB, because the workers of the service import it.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from features.formats import cloudevents, ga4, messages, segment
from features.formats.reading import Meaning, Record, UnreadableError

__all__ = ["FORMATS", "Format", "Meaning", "Record", "UnreadableError"]


@dataclass(frozen=True)
class Format:
    """How one kind of record is read: `records` takes the records out of an item, `read` says what one of them means."""

    title: str
    records: Callable[[Any], Iterator[Any]]
    read: Callable[[Record], Meaning]


FORMATS: Final[dict[str, Format]] = {
    "segment": Format("calls of Segment, RudderStack and others of that spec", segment.records, segment.read),
    "ga4": Format("rows of GA4's export to BigQuery, or of its Measurement Protocol", ga4.records, ga4.read),
    "messages": Format(
        "webhooks of SendGrid, Mailgun, Postmark, Amazon SES, Braze, Iterable and Customer.io",
        messages.records,
        messages.read,
    ),
    "cloudevents": Format("CloudEvents 1.0 with our fields in their data", cloudevents.records, cloudevents.read),
}
