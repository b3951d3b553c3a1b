"""Several tables that wait to be appended come in; each one's own result goes out, after one transaction for all of them.

Commits are what an append waits for (the disk), so tables that arrive together share one.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

import pyarrow as pa

from features.errors import StoreError

if TYPE_CHECKING:
    from features.log.sqlite import AppendResult

Transaction = Callable[[], AbstractContextManager[object]]
"""Opens a write transaction, or within one a part of it that can be taken back by itself."""


class Appends(Protocol):
    """The one thing needed of the event log."""

    def append(self, table: pa.Table) -> "AppendResult":
        """Keep the rows of a valid table (EVENT_SCHEMA) in one transaction."""


class _MixedError(Exception):
    """Some rows are duplicates or erased: whose they are is only known one table at a time."""


def append_together(
    log: Appends, transaction: Transaction, tables: Sequence[pa.Table]
) -> "list[AppendResult | Exception]":
    """What `log.append` of each table answers or raises, one after the other, but on disk all at once.

    Of an event in two of the tables the first one is new and the second a duplicate. An error in one table leaves the
    others; an error of the transaction itself is raised, and then nothing is promised about any of them.
    """
    with transaction():
        if len(tables) > 1:
            found = _append_as_one(log, transaction, tables)
            if found:
                return found
        return [_append_one(log, table) for table in tables]


def _append_as_one(
    log: Appends, transaction: Transaction, tables: Sequence[pa.Table]
) -> "list[AppendResult | Exception]":
    """The usual case in one go: every row is new, so the seqs follow each other. Empty, with nothing done, otherwise."""
    try:
        with transaction():
            whole = log.append(pa.concat_tables(tables).combine_chunks())
            if whole.duplicates or whole.erased:
                raise _MixedError
    except Exception:  # noqa: BLE001 - which table it comes from is found out one by one
        return []
    results: list[AppendResult | Exception] = []
    last_seq = whole.last_seq - whole.appended
    for table in tables:
        last_seq += table.num_rows
        results.append(replace(whole, appended=table.num_rows, last_seq=last_seq))
    return results


def _append_one(log: Appends, table: pa.Table) -> "AppendResult | Exception":
    try:
        return log.append(table)
    except StoreError:  # the disk or the server, not this table: SQLite may have ended the whole transaction
        raise
    except Exception as error:  # noqa: BLE001 - it is the answer to this table alone
        return error
