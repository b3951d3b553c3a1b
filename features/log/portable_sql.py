"""SQL of the event log that SQLite and PostgreSQL both understand: a connection in, counts, notes and rows out."""

import hashlib
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Final, Protocol

from features.errors import StoreError
from features.log.batches import Batch
from features.log.tables import COLUMNS, hash_table, rows_to_table

logger = logging.getLogger(__name__)

LAYOUT: Final = "layout"
CURRENT_LAYOUT: Final = "2"
"""Of the log's tables; raised where an older log cannot be read any more."""
CURRENCY: Final = "currency"
"""Note of the currency that values are counted in; empty as long as no value named one."""
TRIED: Final = "tried"
"""Note that is written to see whether the log can be written to."""
NOT_LOOKED: Final = "?"
COUNT: Final = "count"
"""Note of how many events there are."""
CONTENT: Final = "content"
"""Note of the sum of their hashes."""
_LOOKUPS: Final = (1, 8, 64, 512)
"""Values per statement: few sizes, so that each is prepared once."""
INSERTS: Final = (64, 32, 16, 8, 4, 2, 1)
"""Rows per statement: a thread gives up its turn at every one."""


class Answer(Protocol):
    """The rows that a statement found."""

    def fetchone(self) -> Any:
        """The next row; None after the last one."""

    def fetchall(self) -> list[Any]:
        """All rows that are left."""


class Connection(Protocol):
    """One connection; a parameter is written `?`."""

    def execute(self, query: str, parameters: Sequence[Any] = ..., /) -> Answer:
        """Run one statement."""


def last_seq(connection: Connection) -> int:
    """The seq of the newest event, 0 without one."""
    return int(connection.execute("SELECT coalesce(max(seq), 0) FROM events").fetchone()[0])


def count(connection: Connection) -> int:
    """How many events there are, as the last write noted it."""
    return int(get_meta(connection, COUNT, "0"))


def fingerprint(connection: Connection) -> str:
    """16 hexadecimal digits of the content; neither the order of the events nor the database changes it."""
    state = f"{get_meta(connection, COUNT, '0')}:{get_meta(connection, CONTENT, '0')}"
    return hashlib.sha256(state.encode()).hexdigest()[:16]


def added_content(connection: Connection, batch: Batch, before: int, appended: int) -> int:
    """What an append adds to the content hash, the sum of the events' hashes: neither order nor batches change it.

    `batch` is what was asked to be appended after seq `before`, `appended` how many of its events were new.
    """
    if appended == len(batch):
        return batch.content()
    query = f"SELECT {COLUMNS} FROM events e JOIN customers c USING (customer_key) WHERE seq > ?"
    return hash_table(rows_to_table(connection.execute(query, (before,)).fetchall()))


def note_currency(connection: Connection) -> str:
    """The currency that values are counted in, "" without any; of a log without this note the one that most values have."""
    noted = get_meta(connection, CURRENCY, NOT_LOOKED)
    if noted != NOT_LOOKED:
        return noted
    query = (
        "SELECT currency FROM events WHERE value IS NOT NULL AND currency IS NOT NULL"
        " GROUP BY currency ORDER BY count(*) DESC, currency"
    )
    currencies = [str(row[0]) for row in connection.execute(query).fetchall()]
    if len(currencies) > 1:
        logger.warning(
            "The event log holds values in %s. From now on %s counts: others are converted by rates.csv in OMNI_HOME, or count"
            " as no money where it has no rate of them. Then run: omni features build --force",
            ", ".join(currencies),
            currencies[0],
        )
    put_meta(connection, CURRENCY, currencies[0] if currencies else "")
    return currencies[0] if currencies else ""


def check_layout(connection: Connection, place: str) -> None:
    """Raises StoreError for a log of another version of this software."""
    if get_meta(connection, LAYOUT, "1") != CURRENT_LAYOUT:
        raise StoreError(
            f"The event log {place} was made by another version of Omni.",
            repair="Move it and OMNI_HOME/feast away, ingest the sources again and run: omni features build --force",
        )


def get_metas(connection: Connection, names: Sequence[str]) -> dict[str, str]:
    """Those of some notes that there are."""
    query = f"SELECT name, value FROM meta WHERE name IN ({', '.join('?' * len(names))})"
    return {str(name): str(value) for name, value in connection.execute(query, tuple(names)).fetchall()}


def get_meta(connection: Connection, name: str, default: str) -> str:
    """A note that the log keeps of itself."""
    row = connection.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
    return default if row is None else str(row[0])


def put_meta(connection: Connection, name: str, value: object) -> None:
    """Keep a note, in place of the one before."""
    put_metas(connection, {name: value})


def put_metas(connection: Connection, notes: Mapping[str, object]) -> None:
    """Keep notes, each in place of the one before."""
    rows = ", ".join(["(?, ?)"] * len(notes))
    statement = f"INSERT INTO meta VALUES {rows} ON CONFLICT (name) DO UPDATE SET value = excluded.value"
    connection.execute(statement, [part for name, value in notes.items() for part in (name, str(value))])


def note_regrouped(connection: Connection, names: Iterable[str], seq: int) -> None:
    """Keep for customers that their state from before a log row is of other events than they have now."""
    statement = (
        "INSERT INTO regrouped (customer_id, seq) VALUES (?, ?)"
        " ON CONFLICT (customer_id) DO UPDATE SET seq = excluded.seq"
    )
    for name in sorted(names):
        connection.execute(statement, (name, seq))


def select_in(connection: Connection, statement: str, values: Iterable[Any]) -> list[Any]:
    """Run `statement IN (values)`, a few hundred at a time; values are scalars, or tuples for several columns."""
    rows: list[Any] = []
    waiting = iter(values)
    while part := list(islice(waiting, _LOOKUPS[-1])):
        size = next(size for size in _LOOKUPS if size >= len(part))
        part += [part[-1]] * (size - len(part))  # to be among some is no other for who is named twice
        if isinstance(part[0], tuple):
            row = f"({', '.join('?' * len(part[0]))})"
            query, parameters = f"VALUES {', '.join([row] * size)}", [field for value in part for field in value]
        else:
            query, parameters = ", ".join("?" * size), part
        answer = connection.execute(f"{statement} IN ({query})", parameters)
        rows += answer.fetchall() if statement.startswith("SELECT") else []
    return rows


def insert_all(
    connection: Connection, table: str, rows: Iterable[Sequence[Any]], rest: str = "", sizes: Sequence[int] = INSERTS
) -> None:
    """Insert rows, many with each statement; `table` names the columns as well, and `rest` is what follows the values."""
    for part in in_parts(rows, sizes):
        values = ", ".join([f"({', '.join('?' * len(part[0]))})"] * len(part))
        connection.execute(f"INSERT INTO {table} VALUES {values}{rest}", [field for row in part for field in row])


def in_parts(items: Iterable[Any], sizes: Sequence[int]) -> Iterator[list[Any]]:
    """Items in their order, in parts of the given sizes (largest first, the last one 1)."""
    waiting = iter(items)
    while whole := list(islice(waiting, sizes[0])):
        start = 0
        for size in sizes:
            while len(whole) - start >= size:
                yield whole[start : start + size]
                start += size
