"""Rejected rows come in as they are found; one Parquet file of them goes out, which a later run of the same source replaces."""

import hashlib
import logging
import re
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from features import atomic
from features.events.schema import REJECTED_SCHEMA
from features.identity.identifiers import Identifiers

_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"")
_NUMBERS = re.compile(r"\d[\d.,:TZ+-]*")

logger = logging.getLogger(__name__)


class RejectedFile:
    """Rejected rows as they come, in a file that appears under its name only when it is whole."""

    def __init__(self, path: Path, identifiers: Identifiers) -> None:
        self.path = path
        self._identifiers = identifiers
        self.rows = 0
        self.fields: Counter[str] = Counter()
        self.reasons: Counter[str] = Counter()
        """By field and what is wrong with it, without the value in question."""
        self._part: Path | None = None
        self._writer: pq.ParquetWriter | None = None

    def add(self, table: pa.Table) -> None:
        if table.num_rows == 0:
            return
        if self._writer is None:
            self._part = atomic.part_of(self.path)
            self._writer = pq.ParquetWriter(self._part, REJECTED_SCHEMA, write_page_checksum=True)
        self._writer.write_table(self._without_secrets(table))
        self.rows += table.num_rows
        self.fields.update(table.column("field").to_pylist())
        pairs = zip(table.column("field").to_pylist(), table.column("reason").to_pylist(), strict=True)
        self.reasons.update(f"{field}: {without_values(str(reason))}" for field, reason in pairs)

    def finish(self) -> None:
        """Put the file in its place; with nothing rejected, take the one of an earlier run away."""
        if self._writer is None or self._part is None:
            self.path.unlink(missing_ok=True)
            return
        self._writer.close()
        self._writer = None
        atomic.put_in_place(self._part, self.path)
        logger.warning("%d rows were rejected; the reasons are in %s", self.rows, self.path)

    def _without_secrets(self, table: pa.Table) -> pa.Table:
        """Where addresses are only kept as hashes, so they are here, and the row as it came is not kept."""
        if not self._identifiers.key:
            return table
        place = table.schema.get_field_index("source_row")
        hidden = pa.nulls(table.num_rows, pa.string())
        return self._identifiers.kept_table(table).set_column(place, table.schema.field(place), hidden)

    def discard(self) -> None:
        """Leave nothing half written behind."""
        if self._writer is not None and self._part is not None:
            self._writer.close()
            self._part.unlink(missing_ok=True)


def without_values(reason: str) -> str:
    """A reason without the value it is about, so that equal ones are counted together and none tells of a person."""
    return _NUMBERS.sub("…", _QUOTED.sub("…", reason))


def file_name(source: str) -> str:
    """A name for the rejected rows of a file: readable, and different for files of one name in two folders."""
    digest = hashlib.sha256(str(Path(source).resolve()).encode()).hexdigest()[:8]
    return f"{re.sub(r'[^A-Za-z0-9._-]+', '-', Path(source).name)}-{digest}"
